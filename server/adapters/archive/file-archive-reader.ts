import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ArchiveLimits, ArchiveManifest, BlobFormat } from "../../domain/blob.ts";
import { NotFound } from "../../domain/errors.ts";
import type { ArchiveCheck, ArchiveReader, PackedFile } from "../../domain/ports/archive-reader.ts";
import type { StoredItem } from "../../domain/ports/blob-store.ts";
import { isSha256 } from "../../domain/sha256.ts";
import { orUndefined, storageError } from "../../domain/storage-error.ts";
import { beginCheck, type Draft } from "./archive-check.ts";
import { readEntry } from "./canonical-entry.ts";
import { packReadOnly } from "./canonical-tar.ts";
import { tellFormat } from "./format.ts";

/** The paths of the archives asked about last are kept in memory, up to this many paths together. */
const CACHED_PATHS = 200_000;

interface Contents {
  readonly files: ReadonlySet<string>;
  readonly folders: ReadonlySet<string>;
}

interface Sidecar {
  readonly version: number;
  readonly manifest: ArchiveManifest;
  readonly files: readonly string[];
  readonly folders: readonly string[];
}

/** Canonical tars as `archives/<digest>.tar`, each with its contents in `<digest>.json`; half-made ones in `archives/tmp`. One for each data folder. */
export class FileArchiveReader implements ArchiveReader {
  readonly version = 1;
  readonly limits: ArchiveLimits;
  readonly #archives: string;
  readonly #temporary: string;
  readonly #contents = new Map<string, Contents>();
  #ready: Promise<void> | undefined;

  /** `directory` is the server's data folder. */
  constructor({ directory, limits }: { directory: string; limits: ArchiveLimits }) {
    this.limits = limits;
    this.#archives = join(directory, "archives");
    this.#temporary = join(this.#archives, "tmp");
  }

  detect(head: Uint8Array): BlobFormat {
    return tellFormat(head);
  }

  async begin(format: Exclude<BlobFormat, "RAW">, upload?: string): Promise<ArchiveCheck> {
    try {
      await this.#prepared();
      return await beginCheck(format, {
        limits: this.limits,
        path: join(this.#temporary, `${randomUUID()}.tar`),
        upload,
        keep: (sha256, draft) => this.#keep(sha256, draft),
      });
    } catch (error) {
      throw storageError(error, "preparing to check an archive");
    }
  }

  async has(sha256: string, path: string, kind: "file" | "folder"): Promise<boolean> {
    const contents = await this.#read(sha256);
    const names = path.split("/").filter((part) => part !== "" && part !== ".");
    if (names.length === 0) return kind === "folder";
    return (kind === "file" ? contents.files : contents.folders).has(names.join("/"));
  }

  async readFile(sha256: string, path: string, mostBytes: number): Promise<Uint8Array | undefined> {
    if (!(await this.has(sha256, path, "file"))) return undefined;
    const tar = await this.canonicalTar(sha256);
    if (tar === undefined) throw new NotFound("archive", sha256, "upload it again");
    return await readEntry(tar, path, mostBytes);
  }

  async canonicalTar(sha256: string): Promise<string | undefined> {
    const sidecar = await this.#sidecar(sha256);
    // Made by older rules: it must be derived anew.
    if (sidecar?.version !== this.version) return undefined;
    const path = this.#pathOf(sha256, "tar");
    const file = await orUndefined(open(path, "r"), "ENOENT");
    await file?.close();
    return file === undefined ? undefined : path;
  }

  pack(files: readonly PackedFile[]): AsyncIterable<Uint8Array> {
    return packReadOnly(files);
  }

  async remove(sha256: string): Promise<void> {
    this.#contents.delete(sha256);
    await rm(this.#pathOf(sha256, "tar"), { force: true });
    await rm(this.#pathOf(sha256, "json"), { force: true });
  }

  async *list(): AsyncGenerator<StoredItem> {
    await this.#prepared();
    for (const name of await readdir(this.#archives)) {
      const sha256 = name.replace(/\.(tar|json)$/, "");
      if (!isSha256(sha256)) continue;
      const stats = await orUndefined(stat(join(this.#archives, name)), "ENOENT");
      if (stats !== undefined) yield { sha256, time: stats.mtime };
    }
  }

  async #keep(sha256: string, draft: Draft): Promise<void> {
    const { path, manifest, files, folders } = draft;
    const sidecar: Sidecar = { version: this.version, manifest, files, folders };
    const sidecarPath = `${path}.json`;
    try {
      await using file = await open(sidecarPath, "wx", 0o600);
      await file.writeFile(JSON.stringify(sidecar));
      await file.datasync();
      await rename(sidecarPath, this.#pathOf(sha256, "json"));
      // Last, since it is what tells that the archive is kept.
      await rename(path, this.#pathOf(sha256, "tar"));
      await using folder = await open(this.#archives, "r");
      await folder.sync();
    } catch (error) {
      await rm(sidecarPath, { force: true });
      throw storageError(error, "keeping a checked archive");
    }
    this.#contents.delete(sha256);
  }

  async #read(sha256: string): Promise<Contents> {
    const cached = this.#contents.get(sha256);
    // Taken out and put in again: a Map's order is then that of use.
    this.#contents.delete(sha256);
    const contents = cached ?? (await this.#load(sha256));
    this.#contents.set(sha256, contents);
    let paths = 0;
    for (const held of this.#contents.values()) paths += held.files.size + held.folders.size;
    for (const [digest, held] of this.#contents) {
      if (paths <= CACHED_PATHS || digest === sha256) break;
      this.#contents.delete(digest);
      paths -= held.files.size + held.folders.size;
    }
    return contents;
  }

  async #load(sha256: string): Promise<Contents> {
    const sidecar = await this.#sidecar(sha256);
    if (sidecar === undefined) throw new NotFound("archive", sha256, "upload it again");
    return { files: new Set(sidecar.files), folders: new Set(sidecar.folders) };
  }

  async #sidecar(sha256: string): Promise<Sidecar | undefined> {
    const text = await orUndefined(readFile(this.#pathOf(sha256, "json"), "utf8"), "ENOENT");
    return text === undefined ? undefined : JSON.parse(text);
  }

  #pathOf(sha256: string, extension: "tar" | "json"): string {
    if (!isSha256(sha256))
      throw new NotFound("archive", JSON.stringify(sha256), "a digest is 64 lower-case hex digits");
    return join(this.#archives, `${sha256}.${extension}`);
  }

  /** Once only: later on, what lies in the temporary folder belongs to checks in progress. */
  async #prepared(): Promise<void> {
    this.#ready ??= this.#prepare();
    try {
      await this.#ready;
    } catch (error) {
      this.#ready = undefined;
      throw error;
    }
  }

  /** What a killed server left half-made is of no use to anyone. */
  async #prepare(): Promise<void> {
    await mkdir(this.#temporary, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#temporary)) await rm(join(this.#temporary, name), { force: true });
  }
}
