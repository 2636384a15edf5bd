import { DamagedJournal } from "#server/domain/journal.ts";
import type { JournalSource } from "#server/domain/ports/engine.ts";

/** A journal in memory, with the behaviour of the file: append-only, readable at any place, telling of growth. */
export class MemoryJournal implements JournalSource {
  #bytes = Buffer.alloc(4096);
  #length = 0;
  readonly #watchers = new Set<() => void>();

  append(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#length + bytes.length));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    for (const tell of this.#watchers) tell();
  }

  /** What only a hostile writer does. */
  truncate(length: number): void {
    this.#length = length;
    for (const tell of this.#watchers) tell();
  }

  async size(): Promise<number> {
    return this.#length;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (offset > this.#length)
      throw new DamagedJournal(`the file shrank to ${this.#length} bytes`, this.#length);
    return Uint8Array.from(this.#bytes.subarray(offset, Math.min(this.#length, offset + length)));
  }

  async *changes(signal: AbortSignal): AsyncGenerator<void> {
    let grown = true;
    let wake = Promise.withResolvers<void>();
    const tell = () => {
      grown = true;
      wake.resolve();
    };
    this.#watchers.add(tell);
    signal.addEventListener("abort", tell, { once: true });
    try {
      while (!signal.aborted) {
        if (grown) {
          grown = false;
          yield;
        } else {
          wake = Promise.withResolvers();
          await wake.promise;
        }
      }
    } finally {
      this.#watchers.delete(tell);
      signal.removeEventListener("abort", tell);
    }
  }
}
