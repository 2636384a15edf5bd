import { randomUUID } from "node:crypto";
import type { ArchiveManifest, BlobFormat } from "../domain/blob.ts";
import { SystemFault } from "../domain/errors.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { BlobStore } from "../domain/ports/blob-store.ts";
import { Intake } from "./intake.ts";

/** Derives the canonical tar of a stored blob anew: it was collected, the rules have changed, or the blob came in as raw bytes. */
export class RecheckArchive {
  readonly #blobs: BlobStore;
  readonly #archives: ArchiveReader;

  constructor({ blobs, archives }: { blobs: BlobStore; archives: ArchiveReader }) {
    this.#blobs = blobs;
    this.#archives = archives;
  }

  /** Path of the canonical tar of a stored archive, made anew where it is gone. Throws BadArchive, NotFound. */
  async canonicalTar(sha256: string, format: BlobFormat, signal?: AbortSignal): Promise<string> {
    const kept = await this.#archives.canonicalTar(sha256);
    if (kept !== undefined) return kept;
    await this.recheck(sha256, format, signal);
    const made = await this.#archives.canonicalTar(sha256);
    if (made === undefined)
      throw new SystemFault(`the canonical tar of ${sha256} is gone right after it was made`);
    return made;
  }

  /** Checks the stored bytes as an archive and keeps what is derived from them. Throws BadArchive, NotFound. */
  async recheck(
    sha256: string,
    format: BlobFormat | null,
    signal?: AbortSignal,
  ): Promise<{ format: BlobFormat; manifest: ArchiveManifest }> {
    const declared = format === "RAW" ? null : format;
    await using intake = new Intake({ archives: this.#archives, declared, mustBeArchive: true });
    // A zip is read at random, and a store need not keep its blobs as files.
    await using copy = await this.#blobs.stage(`recheck ${randomUUID()}`);
    try {
      for await (const chunk of this.#blobs.read(sha256, 0, signal)) {
        await intake.take(chunk);
        if (declared === "ZIP" || declared === null) await copy.append(chunk);
      }
      if (intake.digest() !== sha256) throw new SystemFault(`the stored bytes of blob ${sha256} are damaged`);
      const checked = await intake.finish(copy.path, signal);
      if (checked === undefined)
        throw new SystemFault(`blob ${sha256} was checked as an archive, but as none`);
      await using archive = checked;
      await archive.keep(sha256);
      return { format: intake.format ?? "RAW", manifest: archive.manifest };
    } finally {
      await copy.discard();
    }
  }
}
