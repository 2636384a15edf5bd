import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { Entry, fromRandomAccessReaderPromise, type ZipFile } from "yauzl";
import type { ArchiveLimits } from "../../domain/blob.ts";
import { BadArchive } from "../../domain/errors.ts";
import type { ArchiveEntry } from "./archive-entry.ts";
import { ByteReader } from "./byte-reader.ts";
import { refuse } from "./entry-name.ts";
import { FileWindow, WindowReader } from "./file-window.ts";
import { exceedsRatio } from "./gzip.ts";
import { inflateAtOnce, inflateRaw } from "./inflate.ts";
import { findDirectory, type ZipDirectory } from "./zip-ends.ts";
import {
  checkDescriptor,
  checkLocalHeader,
  hiddenBytes,
  STORED,
  type ZipRecord,
  zipRecord,
} from "./zip-record.ts";

const PIECE_BYTES = 256 * 1024;
/** Entries up to these sizes are decompressed in one go: a stream for each costs twenty times as much. */
const SMALL_COMPRESSED_BYTES = 64 * 1024;
const SMALL_BYTES = 512 * 1024;

/**
 * The entries of a zip, in the order of their data. The central directory is the truth; everything that a reader of local
 * headers would take differently is refused: the entries must cover the file from its first byte to the directory.
 */
export async function* readZip(path: string, limits: ArchiveLimits): AsyncGenerator<ArchiveEntry> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const { size } = await handle.stat();
  const file = new FileWindow(handle, size);
  const directory = await findDirectory(file);
  if (directory.entries > limits.maxEntries) {
    throw new BadArchive(
      "too-many-entries",
      `the zip has ${directory.entries} entries; at most ${limits.maxEntries} files and folders are allowed`,
    );
  }
  const options = { decodeStrings: false, autoClose: false, validateEntrySizes: false };
  const zip = await library(fromRandomAccessReaderPromise(new WindowReader(file), size, options));
  const records = await readRecords(zip, directory, limits);
  let position = 0;
  let output = 0;
  for (const [index, record] of records.entries()) {
    if (record.offset !== position) throw hiddenBytes(record.name);
    const next = records[index + 1]?.offset ?? directory.start;
    const start = await openData(file, zip, record, next, limits);
    output += record.size;
    // Early, from the sizes it claims: they are held to them while the data is read.
    if (exceedsRatio(output, size, limits)) {
      throw refuse(
        "ratio",
        `brings ${size} uploaded bytes to ${output}, more than the ${limits.maxRatio}-fold that is allowed`,
        record.name,
      );
    }
    yield {
      name: record.name,
      kind: record.kind,
      size: record.size,
      executable: record.executable,
      mtimeSeconds: record.mtimeSeconds,
      content: contentOf(file, record, start),
    };
    position = next;
  }
  if (position !== directory.start)
    throw new BadArchive("overlap", "the zip has bytes that belong to no entry; pack it again");
}

async function readRecords(
  zip: ZipFile,
  directory: ZipDirectory,
  limits: ArchiveLimits,
): Promise<ZipRecord[]> {
  const records: ZipRecord[] = [];
  let bytes = 0;
  const entries = zip.eachEntry();
  for (;;) {
    const next: IteratorResult<Entry> = await library(entries.next());
    if (next.done === true) break;
    const entry = next.value;
    const extra = entry.fileNameLength + entry.extraFieldLength + entry.fileCommentLength;
    if (extra > limits.maxHeaderBytes) {
      throw refuse(
        "header-size",
        `has headers of more than ${limits.maxHeaderBytes} bytes, the most that is allowed`,
        entry.fileNameRaw,
      );
    }
    bytes += 46 + extra;
    records.push(zipRecord(entry));
  }
  if (directory.start + bytes !== directory.end) {
    throw new BadArchive("ambiguous", "the zip's directory has bytes that belong to no entry; pack it again");
  }
  return records.sort((a, b) => a.offset - b.offset);
}

/** Checks what stands before and behind the data; answers where the data starts. */
async function openData(
  file: FileWindow,
  zip: ZipFile,
  record: ZipRecord,
  next: number,
  limits: ArchiveLimits,
): Promise<number> {
  // The library asks for no more than these two; keeping its whole entries would hold every header in memory.
  const place = Object.assign(new Entry(), {
    relativeOffsetOfLocalHeader: record.offset,
    compressedSize: record.compressedSize,
  });
  const local = await library(zip.readLocalFileHeaderPromise(place), record.name);
  if (local.fileNameLength + local.extraFieldLength > limits.maxHeaderBytes) {
    throw refuse(
      "header-size",
      `has headers of more than ${limits.maxHeaderBytes} bytes, the most that is allowed`,
      record.name,
    );
  }
  checkLocalHeader(record, local);
  const end = local.fileDataStart + record.compressedSize;
  if (end > next || next - end > 24) throw hiddenBytes(record.name);
  checkDescriptor(record, await file.read(end, next - end));
  return local.fileDataStart;
}

async function* contentOf(file: FileWindow, record: ZipRecord, start: number): AsyncGenerator<Uint8Array> {
  const input = new ByteReader(file.range(start, start + record.compressedSize));
  const refuseSize = () =>
    refuse("size", `has another size than the ${record.size} bytes it claims`, record.name);
  let size = 0;
  let checksum = 0;
  const isSmall = record.compressedSize <= SMALL_COMPRESSED_BYTES && record.size <= SMALL_BYTES;
  const plain =
    record.method === STORED ? pieces(input) : isSmall ? inflateAtOnce(input, record) : inflateRaw(input);
  for await (const piece of named(plain, record.name)) {
    size += piece.length;
    if (size > record.size) throw refuseSize();
    checksum = crc32(piece, checksum);
    yield piece;
  }
  if (size !== record.size) throw refuseSize();
  if (checksum !== record.crc) throw refuse("checksum", "has a wrong checksum; pack it again", record.name);
  if ((await input.some(1)) !== undefined)
    throw refuse("ambiguous", "has bytes behind the end of its compressed data", record.name);
}

async function* pieces(input: ByteReader): AsyncGenerator<Uint8Array> {
  for (let piece = await input.some(PIECE_BYTES); piece !== undefined; piece = await input.some(PIECE_BYTES))
    yield piece;
}

/** Decompression does not know whose bytes are damaged. */
async function* named(source: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  try {
    yield* source;
  } catch (error) {
    throw error instanceof BadArchive
      ? refuse(error.metadata.rule ?? "", `cannot be read: ${error.message}`, name)
      : error;
  }
}

/** The library's errors are about the archive, unless the system's own code says otherwise. */
async function library<T>(work: Promise<T>, name = ""): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Error) || error instanceof BadArchive || "code" in error) throw error;
    const message = `the zip is damaged: ${error.message}; pack it again`;
    throw name === "" ? new BadArchive("header", message) : refuse("header", message, name);
  }
}
