import { rm } from "node:fs/promises";
import type { ArchiveLimits, ArchiveManifest, BlobFormat } from "../../domain/blob.ts";
import { BadArchive } from "../../domain/errors.ts";
import type { ArchiveCheck, CheckedArchive } from "../../domain/ports/archive-reader.ts";
import type { ArchiveEntry } from "./archive-entry.ts";
import { ByteReader } from "./byte-reader.ts";
import { CanonicalTar } from "./canonical-tar.ts";
import { ChunkPipe } from "./chunk-pipe.ts";
import { gunzip } from "./gzip.ts";
import { Inventory } from "./inventory.ts";
import { readTar } from "./tar-reader.ts";
import { UploadMirror } from "./upload-mirror.ts";
import { looksLikeZip } from "./zip-ends.ts";
import { readZip } from "./zip-reader.ts";

/** A canonical tar that is not kept yet, and what is in it. */
export interface Draft {
  readonly path: string;
  readonly manifest: ArchiveManifest;
  readonly files: readonly string[];
  readonly folders: readonly string[];
}

export interface CheckOptions {
  readonly limits: ArchiveLimits;
  /** A new file for the canonical tar; removed with the check. */
  readonly path: string;
  /** Where the upload lies whole by the end of the check, for good; undefined where it does not. */
  readonly upload: string | undefined;
  readonly keep: (sha256: string, draft: Draft) => Promise<void>;
}

export async function beginCheck(
  format: Exclude<BlobFormat, "RAW">,
  options: CheckOptions,
): Promise<ArchiveCheck> {
  const { path, upload } = options;
  if (format === "ZIP") return new ZipCheck(await CanonicalTar.create(path), options);
  // Compressed, it cannot be the canonical tar.
  const original =
    format === "TAR" && upload !== undefined ? { path: upload, mirror: new UploadMirror() } : undefined;
  return new TarCheck(await CanonicalTar.create(path, original), format, options, original?.mirror);
}

/** Checks a tar while it arrives: each write settles once its bytes are parsed and rewritten. */
class TarCheck implements ArchiveCheck {
  readonly #pipe = new ChunkPipe();
  readonly #options: CheckOptions;
  readonly #tar: CanonicalTar;
  readonly #done: Promise<Draft>;
  #isOver = false;

  constructor(
    tar: CanonicalTar,
    format: "TAR" | "TAR_GZ",
    options: CheckOptions,
    mirror: UploadMirror | undefined,
  ) {
    this.#options = options;
    this.#tar = tar;
    const { limits } = options;
    const uploaded = new ByteReader(mirror === undefined ? this.#pipe : mirror.watch(this.#pipe));
    const plain = format === "TAR" ? uploaded : new ByteReader(gunzip(uploaded, limits));
    this.#done = rewrite(readTar(plain, limits), tar, options).finally(() => plain.close());
    // Whoever writes next learns of a failure; nobody may be waiting just now.
    this.#done.catch((error: unknown) => this.#pipe.close(error));
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#pipe.write(chunk);
  }

  async finish(_path: string, signal?: AbortSignal): Promise<CheckedArchive> {
    signal?.throwIfAborted();
    this.#pipe.end();
    const draft = await this.#done;
    await this.#tar[Symbol.asyncDispose]();
    this.#isOver = true;
    return new RewrittenArchive(draft, this.#options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#pipe.close(new Error("the check was given up"));
    // The parser may still be writing; its file must not be closed and removed under it.
    await Promise.allSettled([this.#done]);
    await this.#tar[Symbol.asyncDispose]();
    await rm(this.#options.path, { force: true });
  }
}

/** A zip tells what is in it at its end, so the check waits for its last byte. */
class ZipCheck implements ArchiveCheck {
  readonly #options: CheckOptions;
  readonly #tar: CanonicalTar;
  #head: Uint8Array = new Uint8Array(0);
  #isOver = false;

  constructor(tar: CanonicalTar, options: CheckOptions) {
    this.#tar = tar;
    this.#options = options;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#head.length >= 4) return;
    this.#head = Buffer.concat([this.#head, chunk.subarray(0, 4)]);
    if (this.#head.length >= 4 && !looksLikeZip(this.#head)) {
      throw new BadArchive(
        "format",
        "declared zip, but the bytes do not begin like one; name the format that it is",
      );
    }
  }

  async finish(path: string, signal?: AbortSignal): Promise<CheckedArchive> {
    const draft = await rewrite(readZip(path, this.#options.limits), this.#tar, this.#options, signal);
    await this.#tar[Symbol.asyncDispose]();
    this.#isOver = true;
    return new RewrittenArchive(draft, this.#options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    await this.#tar[Symbol.asyncDispose]();
    await rm(this.#options.path, { force: true });
  }
}

class RewrittenArchive implements CheckedArchive {
  readonly #draft: Draft;
  readonly #options: CheckOptions;

  constructor(draft: Draft, options: CheckOptions) {
    this.#draft = draft;
    this.#options = options;
  }

  get manifest(): ArchiveManifest {
    return this.#draft.manifest;
  }

  keep(sha256: string): Promise<void> {
    return this.#options.keep(sha256, this.#draft);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Gone already where it was kept.
    await rm(this.#draft.path, { force: true });
  }
}

async function rewrite(
  entries: AsyncIterable<ArchiveEntry>,
  tar: CanonicalTar,
  { limits, path }: CheckOptions,
  signal?: AbortSignal,
): Promise<Draft> {
  const inventory = new Inventory(limits, { foldNames: true });
  for await (const entry of entries) {
    signal?.throwIfAborted();
    const admission = inventory.admit(entry);
    for (const folder of admission.newFolders) await tar.folder(folder, 0);
    if (entry.kind === "file") {
      await tar.file({ ...entry, path: admission.path }, abortable(entry.content, signal));
      continue;
    }
    if (admission.isNew) await tar.folder(admission.path, entry.mtimeSeconds);
    for await (const piece of entry.content) {
      if (piece.length > 0) throw new Error(`the folder ${admission.path} has content`);
    }
  }
  await tar.end();
  return {
    path,
    manifest: inventory.manifest(tar.bytes),
    files: inventory.paths("file"),
    folders: inventory.paths("folder"),
  };
}

async function* abortable(
  content: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for await (const piece of content) {
    signal?.throwIfAborted();
    yield piece;
  }
}
