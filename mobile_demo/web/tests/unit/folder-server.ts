/** A `fetch` that serves the artifact and can be told to misbehave; the model behind it. */

import * as ort from "onnxruntime-web";
import { openArtifact } from "../../engine/src/artifact/artifact.ts";
import { MemoryStore } from "../../engine/src/artifact/store.ts";
import { Model } from "../../engine/src/model/model.ts";
import type { Ort } from "../../engine/src/model/runtime.ts";
import { Session } from "../../engine/src/model/session.ts";
import { Tokenizer } from "../../engine/src/text/tokenizer.ts";
import { artifactFiles } from "../fixtures.ts";

export class FolderServer {
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly requests: { name: string; range: string | null }[] = [];
  online = true;
  ranges = true;
  /** Break the connection after this many bytes of a file, this many times. */
  cut: { name: string; after: number; times: number } | undefined;

  constructor(files = artifactFiles()) {
    this.files = files;
  }

  readonly fetch: typeof fetch = (input, init) => {
    const name = decodeURIComponent(String(input).split("/").at(-1)!);
    const range = new Headers(init?.headers).get("range");
    this.requests.push({ name, range });
    if (!this.online) return Promise.reject(new TypeError("Failed to fetch"));
    const bytes = this.files.get(name);
    if (!bytes) return Promise.resolve(new Response("", { status: 404 }));
    const start = this.ranges && range ? Number(/bytes=(\d+)-/.exec(range)?.[1]) : 0;
    const status = start ? 206 : 200;
    return Promise.resolve(new Response(this.#body(name, bytes.subarray(start)), { status }));
  };

  requested(name: string): (string | null)[] {
    return this.requests.filter((request) => request.name === name).map(({ range }) => range);
  }

  #body(name: string, bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
    const { cut } = this;
    const breaks = cut?.name === name && cut.times-- > 0 ? cut.after : Infinity;
    let sent = 0;
    return new ReadableStream(
      {
        pull(controller) {
          const end = Math.min(sent + 65536, bytes.length, breaks);
          if (sent < end) controller.enqueue(bytes.slice(sent, end));
          else if (sent === bytes.length) controller.close();
          else controller.error(new TypeError("network error"));
          sent = end;
        },
      },
      { highWaterMark: 0 }, // an error would drop what waits
    );
  }
}

/** The whole engine under Node, on onnxruntime-web's WASM. */
export async function openModel(): Promise<{ model: Model; session: Session }> {
  ort.env.wasm.numThreads = 1;
  const artifact = await openArtifact("http://here/", {
    store: new MemoryStore(),
    fetch: new FolderServer().fetch,
  });
  const session = await Session.create(ort as Ort, artifact.manifest, artifact.files);
  return { model: new Model(artifact, new Tokenizer(artifact.files), session, 1), session };
}
