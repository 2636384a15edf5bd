import { createHash } from "node:crypto";
import { type FileHandle, mkdtemp, open, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { ProjectDescription, ProjectFile } from "@longshore/proto/longshore/v1/task_service";
import { BadSource } from "./errors.ts";
import { TAR_END, tarHeader, tarPadding } from "./tar-header.ts";
import type { Progress } from "./upload.ts";
import { CHUNK_BYTES, readFileFrom, type UploadSource } from "./upload-source.ts";
import { type WalkedEntry, walkFolder } from "./walk.ts";

export interface PackedFolder extends UploadSource, AsyncDisposable {
  readonly files: number;
  /** Bytes in the files themselves. */
  readonly contentBytes: number;
  /** What the server is told of it before it is sent. */
  readonly project: ProjectDescription;
}

const REQUIREMENTS = "requirements.txt";
/** The server takes far fewer lines. */
const MOST_REQUIREMENTS_BYTES = 2 ** 19;

export interface PackOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/**
 * Packs a folder as a plain tar into a temporary file, which disposing removes. The same files give the same bytes on every
 * machine (names sorted; owners, times and all of the mode but "executable" fixed), so that a project sent before is not
 * sent again. Not compressed: the bytes of a compressor change with its version.
 */
export async function packFolder(folder: string, options: PackOptions = {}): Promise<PackedFolder> {
  return packEntries(folder, await walkFolder(folder, options.signal), options);
}

/** Packs one file alone, under `name`. */
export async function packFile(file: string, name: string, options: PackOptions = {}): Promise<PackedFolder> {
  return packEntries(file, [{ path: name, file, isFolder: false, executable: false }], options);
}

async function packEntries(
  source: string,
  entries: readonly WalkedEntry[],
  options: PackOptions,
): Promise<PackedFolder> {
  const temporary = await mkdtemp(join(tmpdir(), "longshore-"));
  const release = () => rm(temporary, { recursive: true, force: true });
  try {
    const path = join(temporary, "project.tar");
    const files = entries.filter((entry) => !entry.isFolder).length;
    const written = await writeTar(path, source, entries, options);
    options.onProgress?.({ phase: "packing", files, bytes: written.contentBytes, done: true });
    return {
      ...written,
      project: await describe(entries, written),
      files,
      format: "tar",
      read: (offset) => readFileFrom(path, offset),
      [Symbol.asyncDispose]: release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

async function describe(
  entries: readonly WalkedEntry[],
  { sizeBytes, contentBytes }: WrittenTar,
): Promise<ProjectDescription> {
  const paths = (folders: boolean) =>
    entries.filter(({ isFolder }) => isFolder === folders).map(({ path }) => path);
  const requirements: ProjectFile[] = [];
  for (const { path, file, isFolder } of entries) {
    if (isFolder || basename(path) !== REQUIREMENTS || (await stat(file)).size > MOST_REQUIREMENTS_BYTES)
      continue;
    requirements.push({ path, content: await readFile(file) });
  }
  return {
    files: paths(false),
    folders: paths(true),
    contentBytes: BigInt(contentBytes),
    archiveBytes: BigInt(sizeBytes),
    requirements,
  };
}

interface WrittenTar {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly contentBytes: number;
}

async function writeTar(
  path: string,
  folder: string,
  entries: readonly WalkedEntry[],
  options: PackOptions,
): Promise<WrittenTar> {
  const output = await open(path, "wx", 0o600);
  try {
    const tar = new TarFile(output);
    let files = 0;
    let contentBytes = 0;
    for (const entry of entries) {
      options.signal?.throwIfAborted();
      if (entry.isFolder) await tar.write(tarHeader({ ...entry, size: 0 }));
      else {
        contentBytes += await addFile(tar, entry, folder);
        files += 1;
        options.onProgress?.({ phase: "packing", files, bytes: contentBytes, done: false });
      }
    }
    await tar.write(TAR_END);
    return { ...(await tar.finish()), contentBytes };
  } finally {
    await output.close();
  }
}

/** Writes and digests, gathered: headers have 512 bytes, and so have many files. */
class TarFile {
  readonly #output: FileHandle;
  readonly #hash = createHash("sha256");
  readonly #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #buffered = 0;
  #sizeBytes = 0;

  constructor(output: FileHandle) {
    this.#output = output;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#buffered + bytes.length > this.#buffer.length) await this.#flush();
    if (bytes.length >= this.#buffer.length) return this.#put(bytes);
    this.#buffer.set(bytes, this.#buffered);
    this.#buffered += bytes.length;
  }

  async finish(): Promise<{ sha256: string; sizeBytes: number }> {
    await this.#flush();
    return { sha256: this.#hash.digest("hex"), sizeBytes: this.#sizeBytes };
  }

  async #flush(): Promise<void> {
    await this.#put(this.#buffer.subarray(0, this.#buffered));
    this.#buffered = 0;
  }

  async #put(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    await this.#output.writeFile(bytes);
    this.#sizeBytes += bytes.length;
  }
}

/** Copies exactly the size that the header promised: a file may change while it is read. */
async function addFile(tar: TarFile, entry: WalkedEntry, folder: string): Promise<number> {
  const refuse = (problem: string) => new BadSource(folder, [{ path: entry.path, problem }]);
  const changed = () => refuse("changed while it was packed; try again");
  const input = await open(entry.file).catch((error: Error) => {
    throw refuse(`cannot be read: ${error.message}`);
  });
  try {
    const { size } = await input.stat();
    await tar.write(tarHeader({ ...entry, size }));
    const piece = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size));
    for (let position = 0; position < size; ) {
      const { bytesRead } = await input.read(piece, 0, Math.min(piece.length, size - position), position);
      if (bytesRead === 0) throw changed();
      position += bytesRead;
      await tar.write(piece.subarray(0, bytesRead));
    }
    if ((await input.stat()).size !== size) throw changed();
    await tar.write(tarPadding(size));
    return size;
  } finally {
    await input.close();
  }
}
