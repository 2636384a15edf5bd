import { createHash } from "node:crypto";
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pack as createPack, type Header, type Pack } from "tar-stream";
import { BadSource } from "./errors.ts";
import type { Progress } from "./upload.ts";
import { CHUNK_BYTES, readFileFrom, type UploadSource } from "./upload-source.ts";
import { type WalkedEntry, walkFolder } from "./walk.ts";

/** 1980, the first year that zip files can name: programs that zip their own project fail on anything earlier. */
const FIXED_TIME = new Date("1980-01-01T00:00:00Z");

export interface PackedFolder extends UploadSource, AsyncDisposable {
  readonly files: number;
  /** Bytes in the files themselves. */
  readonly contentBytes: number;
}

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

type EntryHeader = Pick<Header, "name" | "type" | "mode" | "uid" | "gid" | "mtime">;

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
    const tar = createPack();
    const [contentBytes, drained] = await Promise.all([
      addEntries(tar, folder, entries, options),
      drain(tar, output),
    ]);
    return { ...drained, contentBytes };
  } finally {
    await output.close();
  }
}

/** Writes and digests what the packer makes, gathered: it hands out headers of 512 bytes. */
async function drain(tar: Pack, output: FileHandle): Promise<{ sha256: string; sizeBytes: number }> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  const flush = async () => {
    await output.writeFile(Buffer.concat(waiting));
    waiting = [];
    waitingBytes = 0;
  };
  // Typed as unknown by the package; a packer hands out buffers only.
  for await (const chunk of tar as AsyncIterable<Buffer>) {
    hash.update(chunk);
    sizeBytes += chunk.length;
    waiting.push(chunk);
    waitingBytes += chunk.length;
    if (waitingBytes >= CHUNK_BYTES) await flush();
  }
  if (waiting.length > 0) await flush();
  return { sha256: hash.digest("hex"), sizeBytes };
}

async function addEntries(
  tar: Pack,
  folder: string,
  entries: readonly WalkedEntry[],
  options: PackOptions,
): Promise<number> {
  let files = 0;
  let bytes = 0;
  try {
    for (const entry of entries) {
      options.signal?.throwIfAborted();
      const header: EntryHeader = {
        name: entry.isFolder ? `${entry.path}/` : entry.path,
        type: entry.isFolder ? "directory" : "file",
        mode: entry.executable ? 0o755 : 0o644,
        uid: 0,
        gid: 0,
        mtime: FIXED_TIME,
      };
      if (entry.isFolder) await addFolder(tar, header);
      else {
        bytes += await addFile(tar, header, entry.file, folder);
        files += 1;
        options.onProgress?.({ phase: "packing", files, bytes, done: false });
      }
    }
    tar.finalize();
    return bytes;
  } catch (error) {
    tar.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

function addFolder(tar: Pack, header: EntryHeader): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  tar.entry(header, (error) => (error ? reject(error) : resolve()));
  return promise;
}

/** Copies exactly the size that the header promised: a file may change while it is read. */
async function addFile(tar: Pack, header: EntryHeader, file: string, folder: string): Promise<number> {
  const refuse = (problem: string) => new BadSource(folder, [{ path: header.name, problem }]);
  const changed = () => refuse("changed while it was packed; try again");
  const input = await open(file).catch((error: Error) => {
    throw refuse(`cannot be read: ${error.message}`);
  });
  try {
    const { size } = await input.stat();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sink = tar.entry({ ...header, size }, (error) => (error ? reject(error) : resolve()));
    // The callback tells the same; without a listener the event would end the process.
    sink.on("error", reject);
    // Also when writing stops before it is awaited.
    promise.catch(() => undefined);
    for (let position = 0; position < size; ) {
      const length = Math.min(CHUNK_BYTES, size - position);
      const { buffer, bytesRead } = await input.read(Buffer.allocUnsafe(length), 0, length, position);
      if (bytesRead === 0) throw changed();
      position += bytesRead;
      if (!sink.write(buffer.subarray(0, bytesRead))) {
        await Promise.race([promise, new Promise<void>((room) => sink.once("drain", () => room()))]);
      }
    }
    sink.end(undefined);
    await promise;
    if ((await input.stat()).size !== size) throw changed();
    return size;
  } finally {
    await input.close();
  }
}
