/** Download, store, resume, check: what can go wrong between a server and a whole model. */

import { expect, test } from "vitest";
import { type Artifact, openArtifact } from "../../src/engine/artifact.ts";
import { EngineError } from "../../src/engine/errors.ts";
import { parseManifest } from "../../src/engine/manifest.ts";
import { MemoryStore } from "../../src/engine/store.ts";
import { artifactFiles, cases } from "../fixtures.ts";
import { FolderServer } from "./folder-server.ts";

const DATA = "model.onnx_data";
const manifest = new TextDecoder().decode(artifactFiles().get("manifest.json"));

function open(server: FolderServer, store = new MemoryStore()): Promise<Artifact> {
  return openArtifact("http://here/model", { store, fetch: server.fetch });
}

/** Compared as buffers: `toEqual` looks at each of a million bytes. */
function isWhole(artifact: Artifact, server: FolderServer): boolean {
  return [...artifact.files].every(
    ([name, bytes]) => Buffer.compare(bytes, server.files.get(name)!) === 0,
  );
}

function changed(change: (fields: Record<string, unknown>) => void): string {
  const fields = JSON.parse(manifest) as Record<string, unknown>;
  change(fields);
  return JSON.stringify(fields);
}

test("files come whole, with progress, and the second time from the store", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore()];
  const seen: number[] = [];
  const first = await openArtifact("http://here/model/", {
    store,
    fetch: server.fetch,
    onProgress: (received, total) => seen.push(received / total),
  });
  expect(isWhole(first, server)).toBe(true);
  expect(seen.at(-1)).toBe(1);
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  expect(first.kept).toBe(true);
  const second = await open(server, store);
  expect(isWhole(second, server)).toBe(true);
  expect(server.requested(DATA)).toEqual([null]);
});

test("without a connection the last visit's model is there", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore()];
  await open(server, store);
  server.online = false;
  expect(isWhole(await open(server, store), server)).toBe(true);
  await expect(open(server)).rejects.toThrow(/none is stored here/);
});

test("a server that fails is as none: the last visit's model is there", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore()];
  await open(server, store);
  server.files.delete("manifest.json");
  expect((await open(server, store)).manifest).toEqual(parseManifest(manifest));
  await expect(open(server)).rejects.toThrow(/answered 404 for manifest.json/);
});

test("a newer model whose download fails leaves the last visit's", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore()];
  await open(server, store);
  const newer = manifest.replace(parseManifest(manifest).files[DATA]!.sha256, "0".repeat(64));
  server.files.set("manifest.json", new TextEncoder().encode(newer));
  await expect(open(server, store)).rejects.toThrow(/is corrupt/);
  server.online = false;
  expect((await open(server, store)).manifest).toEqual(parseManifest(manifest));
});

test("models in two folders are both kept", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore()];
  const options = { store, fetch: server.fetch };
  await openArtifact("http://here/one", options);
  const name = "generation_config.json";
  const text = new TextEncoder().encode("{}");
  const sha256 = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
  server.files.set(name, text);
  server.files.set(
    "manifest.json",
    new TextEncoder().encode(
      changed(
        (fields) => ((fields["files"] as Record<string, unknown>)[name] = { size: 2, sha256 }),
      ),
    ),
  );
  await openArtifact("http://here/two", options);
  server.online = false;
  await openArtifact("http://here/one", options);
  await openArtifact("http://here/two", options);
});

test("a broken connection is resumed within one visit", async () => {
  const server = new FolderServer();
  server.cut = { name: DATA, after: 300_000, times: 2 };
  expect(isWhole(await open(server), server)).toBe(true);
  expect(server.requested(DATA)).toEqual([null, "bytes=300000-", "bytes=600000-"]);
});

test("a broken download is a sentence, and the next visit goes on where it stopped", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore()];
  server.cut = { name: DATA, after: 100_000, times: 3 };
  await expect(open(server, store)).rejects.toThrow(/broke off at 0.3 MB of 1.2 MB/);
  expect(isWhole(await open(server, store), server)).toBe(true);
  expect(server.requested(DATA).at(-1)).toBe("bytes=300000-");
});

test("a server without ranges starts again", async () => {
  const server = new FolderServer();
  server.ranges = false;
  server.cut = { name: DATA, after: 300_000, times: 1 };
  expect(isWhole(await open(server), server)).toBe(true);
});

test("damage in the store is mended from the server", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore()];
  const { manifest } = await open(server, store);
  const key = `${manifest.files[DATA]!.sha256}/0`;
  const piece = (await store.get(key))!.slice();
  piece[1000]! ^= 1;
  await store.put(key, piece);
  expect(isWhole(await open(server, store), server)).toBe(true);
});

test("damage on the server is a sentence, and nothing of it is kept", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore()];
  server.files.get(DATA)![5]! ^= 1;
  await expect(open(server, store)).rejects.toThrow(/model.onnx_data on the server is corrupt/);
  const { sha256 } = parseManifest(manifest).files[DATA]!;
  expect((await store.keys()).filter((key) => key.startsWith(sha256))).toEqual([]);
});

test("a file that is longer or missing is a sentence", async () => {
  const server = new FolderServer();
  server.files.set(DATA, new Uint8Array(2_000_000));
  await expect(open(server)).rejects.toThrow(/longer than the manifest's 1205760 bytes/);
  server.files.delete(DATA);
  await expect(open(server)).rejects.toThrow(/answered 404 for model.onnx_data/);
});

test("a full store does not stop the visit", async () => {
  const artifact = await open(new FolderServer(), new MemoryStore(200_000));
  expect(artifact.kept).toBe(false);
});

test("a newer model that finds no room has that of the earlier one the next time", async () => {
  const [server, store] = [new FolderServer(), new MemoryStore(1_600_000)];
  expect((await open(server, store)).kept).toBe(true);
  const bytes = server.files.get(DATA)!;
  bytes[5]! ^= 1;
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  const { sha256 } = parseManifest(manifest).files[DATA]!;
  const newer = manifest.replace(sha256, Buffer.from(digest).toString("hex"));
  server.files.set("manifest.json", new TextEncoder().encode(newer));
  expect((await open(server, store)).kept).toBe(false);
  expect((await open(server, store)).kept).toBe(true);
});

test("pieces of another model are dropped", async () => {
  const store = new MemoryStore();
  await store.put("0123/0", new Uint8Array(3));
  await open(new FolderServer(), store);
  expect(await store.keys()).not.toContain("0123/0");
});

test.each([
  ["{", /not JSON/],
  ["[]", /not an object/],
  [changed((fields) => (fields["format_version"] = 3)), /is 3, expected 1 to 2/],
  [changed((fields) => delete fields["format_version"]), /format_version is undefined/],
  [changed((fields) => (fields["new"] = 1)), /the field new is unknown/],
  [changed((fields) => delete fields["head"]), /the field head is missing/],
  [changed((fields) => (fields["head"] = "int3")), /head is "int3"/],
  [changed((fields) => (fields["linears"] = "int2")), /linears is "int2"/],
  [changed((fields) => (fields["vocab_size"] = 0)), /vocab_size is 0/],
  [changed((fields) => (fields["target"] = "native")), /a library that browsers cannot load/],
  [changed((fields) => (fields["files"] = {})), /files must list model.onnx/],
  [changed((fields) => Object.assign(fields["files"]!, { "../x": {} })), /"..\/x"/],
])("a manifest that is refused (%#)", (text, sentence) => {
  expect(() => parseManifest(text)).toThrow(sentence);
});

test("Python refuses the same manifests", () => {
  for (const { text, refused } of cases.manifests) {
    if (refused) expect(() => parseManifest(text), text).toThrow(EngineError);
    else expect(() => parseManifest(text), text).not.toThrow();
  }
  expect(cases.manifests.filter(({ refused }) => refused).length).toBeGreaterThan(100);
});
