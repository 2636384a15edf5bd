import { SystemFault } from "#server/domain/errors.ts";
import type { EnvironmentStore, StoredEnvironment } from "#server/domain/ports/environment-store.ts";

/** Environments by their size alone; the tar's bytes are kept as they came. */
export class MemoryEnvironmentStore implements EnvironmentStore {
  readonly #stored = new Map<string, StoredEnvironment>();
  readonly tars = new Map<string, Buffer>();
  /** Calls `remove` got, in order. */
  readonly removed: string[] = [];

  list(): readonly StoredEnvironment[] {
    return [...this.#stored.values()];
  }

  has(id: string): boolean {
    return this.#stored.has(id);
  }

  folder(id: string): string {
    return `/fake/environments/${id}/content`;
  }

  async keep(id: string, tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<StoredEnvironment> {
    const parts: Uint8Array[] = [];
    for await (const part of tar) parts.push(Buffer.from(part));
    signal.throwIfAborted();
    const bytes = Buffer.concat(parts);
    this.tars.set(id, bytes);
    const stored = { id, sizeBytes: bytes.length, fileCount: 1, useTime: new Date() };
    this.#stored.set(id, stored);
    return stored;
  }

  async touch(id: string, time: Date): Promise<void> {
    const stored = this.#stored.get(id);
    if (stored === undefined) throw new SystemFault(`there is no environment ${id}`);
    this.#stored.set(id, { ...stored, useTime: time });
  }

  async remove(id: string): Promise<void> {
    this.removed.push(id);
    this.#stored.delete(id);
    this.tars.delete(id);
  }
}
