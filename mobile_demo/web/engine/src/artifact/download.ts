/**
 * One file from the server or from the store, whole and with the right sha256, or an EngineError.
 *
 * A file is stored in pieces under `<sha256>/<offset>`. What arrived before a connection broke is
 * kept, and the next try asks for the rest with a Range header.
 */

import { EngineError } from "../errors.ts";
import type { FileEntry } from "./manifest.ts";
import type { Store } from "./store.ts";
import { megabytes } from "./units.ts";

const PIECE = 4 << 20;
const TRIES = 3;
const PAUSE = 400; // milliseconds before the second try, twice that before the third
const REPLACE = "Copy or export the model again, then download it again.";
const AGAIN = "Check the connection and try again; what has arrived is kept.";

export interface Source {
  url: string;
  store: Store;
  fetch: typeof fetch;
  signal?: AbortSignal | undefined;
  /** Bytes of this file that are here; fewer again where a file must be fetched once more. */
  onBytes?: (count: number) => void;
  /** Called once, when the store is full. */
  onFull?: () => void;
}

export async function download(entry: FileEntry, source: Source): Promise<Uint8Array<ArrayBuffer>> {
  const file = new Download(entry, source);
  await file.restore();
  const trusted = file.received === 0;
  await file.receive();
  if (await file.isRight()) return file.bytes;
  await file.forget();
  if (!trusted) {
    // The damage may be in what was stored: ask the server once more.
    await file.receive();
    if (await file.isRight()) return file.bytes;
    await file.forget();
  }
  throw new EngineError(
    "corrupt",
    `${file.name} on the server is corrupt: its sha256 differs from the manifest's.`,
    REPLACE,
  );
}

class Download {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly name: string;
  received = 0;
  #stored = 0;
  #storing = true;
  readonly #entry: FileEntry;
  readonly #source: Source;

  constructor(entry: FileEntry, source: Source) {
    this.#entry = entry;
    this.#source = source;
    this.name = source.url.slice(source.url.lastIndexOf("/") + 1);
    try {
      this.bytes = new Uint8Array(entry.size);
    } catch {
      throw new EngineError(
        "memory",
        `${this.name} needs ${megabytes(entry.size)} at once, more than this browser gives.`,
        "Close other tabs, or take a smaller model.",
      );
    }
  }

  async restore(): Promise<void> {
    while (this.received < this.bytes.length) {
      const piece = await this.#source.store.get(this.#key(this.received));
      if (!piece?.length || this.received + piece.length > this.bytes.length) break;
      this.bytes.set(piece, this.received);
      this.received += piece.length;
    }
    this.#stored = this.received;
    this.#source.onBytes?.(this.received);
  }

  /** Fetch what is missing; several tries, as long as the server can be reached at all. */
  async receive(): Promise<void> {
    for (let attempt = 1; this.received < this.bytes.length; attempt++) {
      try {
        await this.#request();
      } catch (error) {
        await this.#keep();
        this.#source.signal?.throwIfAborted();
        if (error instanceof EngineError) throw error;
        if (attempt === TRIES) throw this.#interrupted();
      }
      if (this.received < this.bytes.length) {
        if (attempt === TRIES) throw this.#interrupted();
        await new Promise((resolve) => setTimeout(resolve, PAUSE * attempt));
      }
    }
  }

  async isRight(): Promise<boolean> {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", this.bytes));
    return (
      Array.from(digest, (x) => x.toString(16).padStart(2, "0")).join("") === this.#entry.sha256
    );
  }

  async forget(): Promise<void> {
    const { store } = this.#source;
    for (const key of await store.keys()) {
      if (key.startsWith(`${this.#entry.sha256}/`)) await store.delete(key);
    }
    this.received = this.#stored = 0;
    this.#source.onBytes?.(0);
  }

  async #request(): Promise<void> {
    const headers: HeadersInit = this.received ? { Range: `bytes=${this.received}-` } : {};
    const { url, signal } = this.#source;
    // The store keeps the bytes, so the HTTP cache need not.
    const response = await this.#source.fetch(url, {
      headers,
      cache: "no-store",
      signal: signal ?? null,
    });
    if (response.status === 416) {
      throw new EngineError(
        "corrupt",
        `${this.name} on the server is shorter than the manifest's ${this.bytes.length} bytes.`,
        REPLACE,
      );
    }
    if (!response.ok || !response.body) {
      throw new EngineError(
        "download",
        `The server answered ${response.status} for ${this.name}.`,
        "Check that the whole artifact folder is there, then try again.",
      );
    }
    if (response.status !== 206 && this.received) await this.forget();
    for await (const chunk of chunks(response.body)) {
      if (this.received + chunk.length > this.bytes.length) {
        throw new EngineError(
          "corrupt",
          `${this.name} on the server is longer than the manifest's ${this.bytes.length} bytes.`,
          REPLACE,
        );
      }
      this.bytes.set(chunk, this.received);
      this.received += chunk.length;
      this.#source.onBytes?.(this.received);
      if (this.received - this.#stored >= PIECE) await this.#keep();
    }
    await this.#keep();
  }

  async #keep(): Promise<void> {
    if (!this.#storing || this.received === this.#stored) return;
    const piece = this.bytes.slice(this.#stored, this.received);
    this.#storing = await this.#source.store.put(this.#key(this.#stored), piece);
    if (this.#storing) this.#stored = this.received;
    else this.#source.onFull?.();
  }

  #key(offset: number): string {
    return `${this.#entry.sha256}/${offset}`;
  }

  #interrupted(): EngineError {
    const [here, all] = [this.received, this.bytes.length].map(megabytes);
    return new EngineError(
      "download",
      `The download of ${this.name} broke off at ${here} of ${all}.`,
      AGAIN,
    );
  }
}

/** Safari's streams are not async iterables yet. */
async function* chunks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
