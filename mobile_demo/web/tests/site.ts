/**
 * `bitnet-onnx web` on a copy of the artifact, and proxies before it that break things as a network
 * does. Each proxy is another origin, with its own storage.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const ROOT = resolve(import.meta.dirname, "../../..");

/** One is enough for many sites: Python takes a while to start. */
export class Server {
  /** A copy, which a test may damage. */
  readonly artifact: string;
  port = 0;
  readonly #source: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "bitnet-onnx-web-"));
  #process: ChildProcess | undefined;

  constructor(source: string) {
    this.#source = source;
    this.artifact = join(this.#folder, "artifact");
    this.mend();
  }

  mend(): void {
    cpSync(this.#source, this.artifact, { recursive: true });
  }

  async start(): Promise<void> {
    const python = process.env["PYTHON"] ?? "python3";
    const command = ["-m", "bitnet_onnx", "web", this.artifact, "--port", "0"];
    this.#process = spawn(python, command, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
    const [line] = (await once(createInterface(this.#process.stdout!), "line")) as [string];
    this.port = Number(new URL(line).port);
  }

  stop(): void {
    this.#process?.kill("SIGINT");
    rmSync(this.#folder, { recursive: true });
  }
}

export class Site {
  url = "";
  /** Without the headers that give a page threads. */
  isolated = true;
  /** Ends the connection after this many bytes of a file, this many times. */
  cut: { name: string; after: number; times: number } | undefined;
  /** Changes the text of a file. */
  readonly replaced = new Map<string, (text: string) => string>();
  readonly requests: string[] = [];
  readonly server: Server;
  readonly #proxy = createServer((from, to) => this.#pass(from, to));
  readonly #sockets = new Set<Socket>();

  constructor(server: Server) {
    this.server = server;
    this.#proxy.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  async start(): Promise<void> {
    this.#proxy.listen(0, "localhost");
    await once(this.#proxy, "listening");
    this.url = `http://localhost:${(this.#proxy.address() as AddressInfo).port}/`;
  }

  /** From now on nothing answers on the port. */
  offline(): void {
    this.#proxy.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #pass(from: IncomingMessage, to: ServerResponse): void {
    const { method, url = "/" } = from;
    this.requests.push(url);
    const name = url.split("/").at(-1)!;
    const change = this.replaced.get(name);
    const headers = { ...from.headers };
    // The server's tag is that of the unchanged file.
    if (change) delete headers["if-none-match"];
    const onward = request({
      port: this.server.port,
      host: "127.0.0.1",
      method,
      path: url,
      headers,
    });
    onward.on("error", () => to.destroy());
    onward.on("response", (answer) => {
      const { "content-length": length, ...fields } = answer.headers;
      if (!this.isolated) {
        delete fields["cross-origin-opener-policy"];
        delete fields["cross-origin-embedder-policy"];
      }
      if (change) return void this.#change(answer, to, fields, change);
      to.writeHead(
        answer.statusCode!,
        length === undefined ? fields : { ...fields, "content-length": length },
      );
      const cut = this.cut?.name === name && this.cut.times-- > 0 ? this.cut.after : Infinity;
      let sent = 0;
      answer.on("data", (chunk: Buffer) => {
        to.write(chunk.subarray(0, Math.max(0, cut - sent)), () => sent >= cut && to.destroy());
        sent += chunk.length;
      });
      answer.on("end", () => sent < cut && to.end());
    });
    from.pipe(onward);
  }

  async #change(
    answer: IncomingMessage,
    to: ServerResponse,
    fields: IncomingMessage["headers"],
    change: (text: string) => string,
  ): Promise<void> {
    const chunks: Buffer[] = [];
    delete fields.etag;
    for await (const chunk of answer) chunks.push(chunk as Buffer);
    to.writeHead(answer.statusCode!, fields);
    to.end(change(Buffer.concat(chunks).toString()));
  }
}
