/** Registers the service worker, and offers a newer version without forcing it. */

import { notify } from "./notices.ts";

export async function prepareOffline(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  // Where there was one before, a new one is an update, and this page is the old one.
  const controlled = navigator.serviceWorker.controller !== null;
  navigator.serviceWorker.oncontrollerchange = () => {
    if (controlled) location.reload();
  };
  const registration = await navigator.serviceWorker.register("./service-worker.js", {
    type: "module",
    updateViaCache: "none",
  });
  if (!controlled) return;
  watch(registration.waiting ?? registration.installing);
  registration.onupdatefound = () => watch(registration.installing);
}

function watch(worker: ServiceWorker | null): void {
  if (!worker) return;
  if (worker.state === "installed") offer(worker);
  else worker.onstatechange = () => watch(worker);
}

function offer(worker: ServiceWorker): void {
  notify("update", "A newer version of this page is ready.", [
    { label: "Reload", act: () => worker.postMessage("take over") },
    { label: "Later", act: () => undefined },
  ]);
}
