import type { ArchiveLimits } from "../../domain/blob.ts";
import type { ArtifactReader } from "../../domain/ports/archive-reader.ts";
import { ByteReader } from "./byte-reader.ts";
import { Inventory } from "./inventory.ts";
import { readTar } from "./tar-reader.ts";

/** Artifacts come out of a sandbox: the tar is as hostile as an upload, and is read by the same rules. */
export class TarArtifactReader implements ArtifactReader {
  readonly #limits: ArchiveLimits;

  /** `maxContentBytes` and `maxEntries` cap what one task may leave behind. */
  constructor(limits: ArchiveLimits) {
    this.#limits = limits;
  }

  async read(
    tar: AsyncIterable<Uint8Array>,
    keep: (path: string, content: AsyncIterable<Uint8Array>, executable: boolean) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void> {
    // A task writes to a filesystem that tells A from a; both are its results.
    const inventory = new Inventory(this.#limits, { foldNames: false });
    const input = new ByteReader(untilAborted(tar, signal));
    try {
      for await (const entry of readTar(input, this.#limits)) {
        const { path } = inventory.admit(entry);
        if (entry.kind === "file") await keep(path, entry.content, entry.executable);
      }
    } finally {
      await input.close();
    }
  }
}

async function* untilAborted(
  source: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    signal?.throwIfAborted();
    yield chunk;
  }
}
