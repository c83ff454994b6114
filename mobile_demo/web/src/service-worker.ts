/**
 * Keeps the page for visits without a connection. The engine keeps the weights in another cache.
 * A new version waits until the page asks it to take over, so that no visit mixes two.
 */

export {};

declare const self: ServiceWorkerGlobalScope;
/** The build puts its list of files here, and a name that changes with any of them. */
declare const __BUILD__: { version: string; files: string[] };

const BUILD = __BUILD__;
const PREFIX = "bitnet-onnx-page-";
const CACHE = PREFIX + BUILD.version;

self.addEventListener("install", (event) => {
  const fill = async () => {
    const cache = await caches.open(CACHE);
    // Names in assets/ hold a hash, so the HTTP cache may answer; its other files may be old.
    const fresh = (file: string): RequestCache =>
      file.startsWith("assets/") ? "default" : "reload";
    await cache.addAll(BUILD.files.map((file) => new Request(file, { cache: fresh(file) })));
  };
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => {
  const clean = async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
    }
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

self.addEventListener("message", (event) => {
  if (event.data === "take over") void self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const scope = self.registration.scope;
  const url = new URL(request.url);
  if (request.method !== "GET" || !url.href.startsWith(scope)) return;
  const path = url.pathname.slice(new URL(scope).pathname.length);
  if (path.startsWith("model/")) return;
  event.respondWith(answer(request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  return (await cache.match(request, { ignoreSearch: true })) ?? fetch(request);
}
