import { createHash } from "node:crypto";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { extract } from "tar-stream";
import { FileArchiveReader } from "#server/adapters/archive/file-archive-reader.ts";
import {
  type ArchiveLimits,
  type ArchiveManifest,
  type BlobFormat,
  DEFAULT_ARCHIVE_LIMITS,
} from "#server/domain/blob.ts";
import { BadArchive } from "#server/domain/errors.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

export interface Unpacked {
  readonly type: string;
  readonly mode: number;
  readonly mtime: number;
  readonly content: string;
}

export type Verdict =
  | {
      readonly accepted: true;
      readonly manifest: ArchiveManifest;
      readonly entries: ReadonlyMap<string, Unpacked>;
      readonly tar: Buffer;
      /** The canonical tar and the upload are one file. */
      readonly isUpload: boolean;
    }
  | { readonly accepted: false; readonly rule: string; readonly entry: string; readonly message: string };

/** An archive reader on a folder of its own, asked the way an upload asks it. */
export class ArchiveLab implements AsyncDisposable {
  readonly #folder: TemporaryFolder;
  readonly reader: FileArchiveReader;

  static async open(limits: Partial<ArchiveLimits> = {}): Promise<ArchiveLab> {
    return new ArchiveLab(await TemporaryFolder.create(), { ...DEFAULT_ARCHIVE_LIMITS, ...limits });
  }

  private constructor(folder: TemporaryFolder, limits: ArchiveLimits) {
    this.#folder = folder;
    this.reader = new FileArchiveReader({ directory: folder.path, limits });
  }

  /** `cut` is the size of the chunks; `shared` lends the upload to the reader. Whatever the verdict, no half-made file may stay behind. */
  async judge(
    bytes: Uint8Array,
    format: Exclude<BlobFormat, "RAW">,
    cut = 2 ** 20,
    { shared = false } = {},
  ): Promise<Verdict> {
    const verdict = await this.#judge(bytes, format, cut, shared).catch((error: unknown): Verdict => {
      if (!(error instanceof BadArchive)) throw error;
      const { rule = "", entry = "" } = error.metadata;
      return { accepted: false, rule, entry, message: error.message };
    });
    const left = await readdir(this.#folder.at("archives", "tmp"));
    if (left.length > 0) throw new Error(`temporary files were left behind: ${left.join(", ")}`);
    return verdict;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }

  async #judge(
    bytes: Uint8Array,
    format: Exclude<BlobFormat, "RAW">,
    cut: number,
    shared: boolean,
  ): Promise<Verdict> {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const path = this.#folder.at("upload");
    // A new file each time: what was shared before must not change.
    await rm(path, { force: true });
    await using check = await this.reader.begin(format, shared ? path : undefined);
    for (let at = 0; at < bytes.length; at += cut) await check.write(bytes.subarray(at, at + cut));
    await writeFile(path, bytes);
    await using archive = await check.finish(path);
    await archive.keep(sha256);
    const canonical = await this.reader.canonicalTar(sha256);
    if (canonical === undefined) throw new Error("what was kept is not there");
    const tar = await readFile(canonical);
    const isUpload = (await stat(canonical)).ino === (await stat(path)).ino;
    return { accepted: true, manifest: archive.manifest, entries: await unpack(tar), tar, isUpload };
  }
}

/** Reads a canonical tar with a library that had no part in writing it. */
export async function unpack(tar: Uint8Array): Promise<Map<string, Unpacked>> {
  const entries = new Map<string, Unpacked>();
  const extraction = extract();
  extraction.end(tar);
  for await (const entry of extraction) {
    const { name, type, mode = 0, mtime = new Date(0) } = entry.header;
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry) {
      if (chunk instanceof Uint8Array) chunks.push(chunk);
    }
    if (entries.has(name)) throw new Error(`the canonical tar holds ${name} twice`);
    entries.set(name, {
      type: type ?? "",
      mode,
      mtime: mtime.getTime() / 1000,
      content: Buffer.concat(chunks).toString("latin1"),
    });
  }
  return entries;
}
