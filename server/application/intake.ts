import { createHash } from "node:crypto";
import type { BlobFormat } from "../domain/blob.ts";
import { BadArchive } from "../domain/errors.ts";
import type { ArchiveCheck, ArchiveReader, CheckedArchive } from "../domain/ports/archive-reader.ts";

/** Enough for ArchiveReader.detect to tell every format. */
const HEAD_BYTES = 4096;

const FORMAT_NAMES: Readonly<Record<BlobFormat, string>> = {
  RAW: "raw bytes",
  TAR: "tar",
  TAR_GZ: "tar.gz",
  ZIP: "zip",
};

/** Bytes on their way in, from whichever source: hashed, their format told, and checked while they pass. */
export class Intake implements AsyncDisposable {
  readonly #archives: ArchiveReader;
  readonly #declared: BlobFormat | null;
  readonly #mustBeArchive: boolean;
  readonly #upload: string | undefined;
  readonly #hash = createHash("sha256");
  #bytes = 0;
  #head: Uint8Array[] = [];
  #headBytes = 0;
  #format: BlobFormat | undefined;
  #check: ArchiveCheck | undefined;

  /** `upload`: where all that is taken lies as well, by the time of `finish`; see ArchiveReader.begin. */
  constructor(options: {
    archives: ArchiveReader;
    declared: BlobFormat | null;
    mustBeArchive: boolean;
    upload?: string;
  }) {
    this.#archives = options.archives;
    this.#upload = options.upload;
    this.#declared = options.declared;
    this.#mustBeArchive = options.mustBeArchive;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Undefined until enough has come to tell. */
  get format(): BlobFormat | undefined {
    return this.#format;
  }

  /** Digest of what has come so far. */
  digest(): string {
    return this.#hash.copy().digest("hex");
  }

  /** Settles once the bytes are parsed. Throws BadArchive. */
  async take(chunk: Uint8Array): Promise<void> {
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
    if (this.#format !== undefined) {
      await this.#check?.write(chunk);
      return;
    }
    this.#head.push(chunk);
    this.#headBytes += chunk.length;
    if (this.#headBytes >= HEAD_BYTES) await this.#begin();
  }

  /** All bytes have come; answers the checked archive, or undefined for raw bytes. Throws BadArchive. */
  async finish(path: string, signal?: AbortSignal): Promise<CheckedArchive | undefined> {
    if (this.#format === undefined) await this.#begin();
    return this.#check?.finish(path, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#check?.[Symbol.asyncDispose]();
  }

  async #begin(): Promise<void> {
    const head = Buffer.concat(this.#head);
    this.#head = [];
    const format = this.#declared === "RAW" ? "RAW" : this.#tell(head);
    this.#format = format;
    if (format === "RAW") return;
    this.#check = await this.#archives.begin(format, this.#upload);
    await this.#check.write(head);
  }

  #tell(head: Uint8Array): BlobFormat {
    const told = this.#archives.detect(head);
    const declared = this.#declared ?? told;
    if (told !== declared && told !== "RAW") {
      throw new BadArchive(
        "format",
        `declared ${FORMAT_NAMES[declared]}, but the bytes are a ${FORMAT_NAMES[told]}; declare what it is, or nothing`,
      );
    }
    if (declared === "RAW" && this.#mustBeArchive) {
      throw new BadArchive(
        "format",
        this.#bytes === 0
          ? "the archive is empty: no bytes were sent"
          : "the bytes are neither a tar, a tar.gz nor a zip; pack the project as one of them",
      );
    }
    return declared;
  }
}
