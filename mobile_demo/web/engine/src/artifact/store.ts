/**
 * Where downloaded bytes stay between visits: small pieces under string keys.
 * Knows nothing of models. Pieces, not files, so that a download can resume where it stopped.
 */

export interface Store {
  get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** False where there is no room; whatever was stored before stays. */
  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<boolean>;
  delete(key: string): Promise<void>;
  keys(): Promise<string[]>;
}

/** The browser's Cache Storage, which pages, workers and tabs share. */
export class CacheStore implements Store {
  readonly #name: string;
  readonly #root: string;

  constructor(name = "bitnet-onnx-weights") {
    this.#name = name;
    this.#root = new URL(`/${name}/`, location.origin).href;
  }

  async get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const found = await (await caches.open(this.#name)).match(this.#root + key);
      return found && new Uint8Array(await found.arrayBuffer());
    } catch {
      return undefined; // storage is switched off
    }
  }

  async put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    try {
      await (await caches.open(this.#name)).put(this.#root + key, new Response(bytes));
      return true;
    } catch {
      return false; // QuotaExceededError, or a private window that stores nothing
    }
  }

  async delete(key: string): Promise<void> {
    try {
      await (await caches.open(this.#name)).delete(this.#root + key);
    } catch {
      // Storage is switched off: there is nothing.
    }
  }

  async keys(): Promise<string[]> {
    try {
      const requests = await (await caches.open(this.#name)).keys();
      return requests.map((request) => request.url.slice(this.#root.length));
    } catch {
      return [];
    }
  }
}

/** Keeps nothing beyond its own life: for pages without Cache Storage, and for tests. */
export class MemoryStore implements Store {
  readonly #pieces = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #room: number;

  constructor(room = Infinity) {
    this.#room = room;
  }

  get(key: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return Promise.resolve(this.#pieces.get(key));
  }

  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    const held = [...this.#pieces.values()].reduce((sum, piece) => sum + piece.length, 0);
    const fits = held + bytes.length <= this.#room;
    if (fits) this.#pieces.set(key, bytes.slice());
    return Promise.resolve(fits);
  }

  delete(key: string): Promise<void> {
    this.#pieces.delete(key);
    return Promise.resolve();
  }

  keys(): Promise<string[]> {
    return Promise.resolve([...this.#pieces.keys()]);
  }
}

/** Cache Storage exists only in secure contexts. */
export function defaultStore(): Store {
  return typeof caches === "undefined" ? new MemoryStore() : new CacheStore();
}
