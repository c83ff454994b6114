/**
 * How much memory the WebAssembly runtime holds. It does not export its memory, so this remembers
 * every memory that is made: call `watchMemory` before the runtime is loaded.
 */

const memories: WeakRef<WebAssembly.Memory>[] = [];

export function watchMemory(): void {
  WebAssembly.Memory = class extends WebAssembly.Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      memories.push(new WeakRef(this));
    }
  };
}

/** Bytes, of all runtimes in this thread. */
export function usedMemory(): number {
  return memories.reduce((sum, memory) => sum + (memory.deref()?.buffer.byteLength ?? 0), 0);
}
