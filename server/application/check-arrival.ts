import { randomUUID } from "node:crypto";
import type { ArchiveManifest, BlobFormat } from "../domain/blob.ts";
import { DigestMismatch } from "../domain/errors.ts";
import type { ArchiveReader } from "../domain/ports/archive-reader.ts";
import type { Arrival } from "../domain/ports/blob-addresses.ts";
import type { BlobStore } from "../domain/ports/blob-store.ts";
import { Intake } from "./intake.ts";

/** Reads what a client sent to an address by itself, and takes it into the store when it is what was announced. */
export class CheckArrival {
  readonly #blobs: BlobStore;
  readonly #archives: ArchiveReader;

  constructor({ blobs, archives }: { blobs: BlobStore; archives: ArchiveReader }) {
    this.#blobs = blobs;
    this.#archives = archives;
  }

  /** Undefined when it is gone, or is being sent anew. Throws DigestMismatch and BadArchive. */
  async take(
    arrival: Arrival,
    signal: AbortSignal,
  ): Promise<{ format: BlobFormat; manifest: ArchiveManifest | null } | undefined> {
    const { sha256, sizeBytes, format } = arrival.ticket;
    const again = "it was removed: check the digest and send the right bytes to a new address";
    if (arrival.sizeBytes !== sizeBytes)
      throw new DigestMismatch(
        `${arrival.sizeBytes} bytes came where size_bytes announced ${sizeBytes}; ${again}`,
      );
    await using sealed = await arrival.seal();
    if (sealed === undefined) return undefined;
    await using intake = new Intake({ archives: this.#archives, declared: format, mustBeArchive: false });
    await using copy = await this.#blobs.stage(`check ${randomUUID()}`);
    try {
      // A zip is read at random, and the store need not keep its blobs as files; until its format is told, it may be one.
      let early: Uint8Array[] = [];
      for await (const chunk of sealed.read(signal)) {
        await intake.take(chunk);
        if (intake.format === undefined) early.push(chunk);
        else {
          if (intake.format === "ZIP") for (const part of [...early, chunk]) await copy.append(part);
          early = [];
        }
      }
      for (const part of early) await copy.append(part);
      const digest = intake.digest();
      if (intake.bytes !== sizeBytes || digest !== sha256)
        throw new DigestMismatch(`the bytes have the SHA-256 ${digest}, not ${sha256}; ${again}`);
      await using archive = await intake.finish(copy.path, signal);
      await archive?.keep(sha256);
      await sealed.accept(sha256);
      return { format: intake.format ?? "RAW", manifest: archive?.manifest ?? null };
    } finally {
      await copy.discard();
    }
  }
}
