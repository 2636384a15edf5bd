import { crc32 } from "node:zlib";
import type { Entry, ExtraField, LocalFileHeader } from "yauzl";
import { parseExtraFields } from "yauzl";
import type { BadArchive } from "../../domain/errors.ts";
import { saneMtime } from "./archive-entry.ts";
import { decodeName, refuse } from "./entry-name.ts";

export const STORED = 0;
const DEFLATED = 8;
const FLAG_ENCRYPTED = 0x2041;
const FLAG_DESCRIPTOR = 0x0008;
const FLAG_UTF8 = 0x0800;
/** How hard deflate tried: of no consequence to a reader. */
const FLAGS_EFFORT = 0x0006;
const FLAGS_KNOWN = FLAGS_EFFORT | FLAG_DESCRIPTOR | FLAG_UTF8;
/** The last version of the format's description; beyond it nothing is defined. */
const MAX_VERSION = 63;
const ZIP64_FIELD = 0x0001;
const UNICODE_PATH_FIELD = 0x7075;
const UNSET = 0xffffffff;

/** What the central directory says of an entry, checked as far as it can be without its data. */
export interface ZipRecord {
  readonly name: string;
  readonly nameRaw: Uint8Array;
  readonly kind: "file" | "folder";
  readonly executable: boolean;
  readonly mtimeSeconds: number;
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly compressedSize: number;
  readonly size: number;
  readonly offset: number;
}

export function zipRecord(entry: Entry): ZipRecord {
  const flags = entry.generalPurposeBitFlag;
  const name = zipName(entry);
  if ((flags & FLAG_ENCRYPTED) !== 0)
    throw refuse("encrypted", "is encrypted; pack without a password", name);
  if ((flags & ~FLAGS_KNOWN) !== 0)
    throw refuse("header", `has unknown flags (${flags.toString(16)}); pack it again`, name);
  if ((entry.versionNeededToExtract & 0xff) > MAX_VERSION) {
    throw refuse("header", "needs a version of the zip format that does not exist; pack it again", name);
  }
  if (entry.compressionMethod !== STORED && entry.compressionMethod !== DEFLATED) {
    throw refuse(
      "compression",
      `is compressed by method ${entry.compressionMethod}; pack with deflate or without compression`,
      name,
    );
  }
  const kind = zipKind(entry, name);
  if (kind === "folder" && entry.uncompressedSize > 0) {
    throw refuse("size", `is a folder of ${entry.uncompressedSize} bytes; a folder has no content`, name);
  }
  if (entry.compressionMethod === STORED && entry.compressedSize !== entry.uncompressedSize) {
    throw refuse("size", "is stored as it is, but has two sizes", name);
  }
  return {
    name,
    nameRaw: Uint8Array.from(entry.fileNameRaw),
    kind,
    executable: ((entry.externalFileAttributes >>> 16) & 0o111) !== 0,
    mtimeSeconds: saneMtime(entry.getLastModDate({ timezone: "UTC" }).getTime() / 1000),
    flags,
    method: entry.compressionMethod,
    crc: entry.crc32,
    compressedSize: entry.compressedSize,
    size: entry.uncompressedSize,
    offset: entry.relativeOffsetOfLocalHeader,
  };
}

/**
 * Names without the UTF-8 flag are code page 437 by the letter, but macOS and Info-ZIP write UTF-8 there; what is neither
 * flagged, ASCII nor UTF-8 needs Info-ZIP's Unicode field.
 */
function zipName(entry: Entry): string {
  const raw = entry.fileNameRaw;
  const unicode = unicodePath(onlyField(entry.extraFields, UNICODE_PATH_FIELD, raw), raw);
  onlyField(entry.extraFields, ZIP64_FIELD, raw);
  const isFlagged = (entry.generalPurposeBitFlag & FLAG_UTF8) !== 0;
  const isUtf8 = isFlagged || Buffer.from(raw.toString("utf8")).equals(raw);
  if (unicode === undefined || isUtf8) {
    const name = decodeName(raw);
    if (unicode !== undefined && unicode !== name)
      throw refuse("ambiguous", `has a second name, "${unicode}"`, name);
    return name;
  }
  return unicode;
}

function unicodePath(field: ExtraField | undefined, raw: Buffer): string | undefined {
  if (field === undefined) return undefined;
  if (field.data.length < 6 || field.data[0] !== 1 || field.data.readUInt32LE(1) !== crc32(raw)) {
    throw refuse("ambiguous", "has a Unicode name that belongs to another name; pack it again", raw);
  }
  return decodeName(field.data.subarray(5));
}

function onlyField(fields: readonly ExtraField[], id: number, name: Uint8Array): ExtraField | undefined {
  const found = fields.filter((field) => field.id === id);
  if (found.length > 1) throw refuse("ambiguous", "has the same extra field twice; pack it again", name);
  return found[0];
}

/** The mode's file type in the upper half of the attributes, whatever system claims to have made it. */
function zipKind(entry: Entry, name: string): "file" | "folder" {
  const kind = name.endsWith("/") ? "folder" : "file";
  const type = (entry.externalFileAttributes >>> 16) & 0o170000;
  if (type === 0o120000)
    throw refuse(
      "link",
      "is a symbolic link; only files and folders are allowed: pack what it points to",
      name,
    );
  if (type !== 0 && type !== 0o100000 && type !== 0o040000) {
    throw refuse(
      "device",
      "is a device, pipe or socket; only files and folders are allowed: leave it out",
      name,
    );
  }
  if (type === (kind === "file" ? 0o040000 : 0o100000)) {
    throw refuse(
      "file-named-as-folder",
      "is a file by its name and a folder by its attributes, or the other way round",
      name,
    );
  }
  return kind;
}

/** The header before the data must tell the same as the central directory: some readers believe one, some the other. */
export function checkLocalHeader(record: ZipRecord, local: LocalFileHeader): void {
  const { name } = record;
  const differs = (what: string) =>
    refuse("ambiguous", `has one ${what} in the zip's directory and another before its data`, name);
  if (!local.fileName.equals(record.nameRaw)) throw differs("name");
  if (((local.generalPurposeBitFlag ^ record.flags) & ~FLAGS_EFFORT) !== 0) throw differs("set of flags");
  if (local.compressionMethod !== record.method) throw differs("compression method");
  const sizes = localSizes(local, name);
  // With a descriptor behind the data, zeros before it mean "see there".
  const mayBeUnset = (record.flags & FLAG_DESCRIPTOR) !== 0;
  const same = (value: number, expected: number) => value === expected || (mayBeUnset && value === 0);
  if (!same(local.crc32, record.crc)) throw differs("checksum");
  if (!same(sizes.compressed, record.compressedSize) || !same(sizes.plain, record.size))
    throw differs("size");
}

function localSizes(local: LocalFileHeader, name: string): { compressed: number; plain: number } {
  let fields: readonly ExtraField[];
  try {
    fields = parseExtraFields(local.extraField);
  } catch (error) {
    throw refuse(
      "header",
      `has damaged extra fields (${error instanceof Error ? error.message : String(error)})`,
      name,
    );
  }
  const unicode = onlyField(fields, UNICODE_PATH_FIELD, local.fileName);
  if (unicode !== undefined) unicodePath(unicode, local.fileName);
  const zip64 = onlyField(fields, ZIP64_FIELD, local.fileName)?.data;
  let at = 0;
  const read = (short: number): number => {
    if (short !== UNSET || zip64 === undefined) return short;
    if (zip64.length < at + 8) throw refuse("header", "has a zip64 field that is too short", name);
    at += 8;
    return Number(zip64.readBigUInt64LE(at - 8));
  };
  const plain = read(local.uncompressedSize);
  return { plain, compressed: read(local.compressedSize) };
}

/** The 12 to 24 bytes behind the data that repeat checksum and sizes; nothing else may stand there. */
export function checkDescriptor(record: ZipRecord, gap: Buffer): void {
  const { name } = record;
  if ((record.flags & FLAG_DESCRIPTOR) === 0) {
    if (gap.length > 0) throw hiddenBytes(name);
    return;
  }
  const isSigned = gap.length === 16 || gap.length === 24;
  const isWide = gap.length === 20 || gap.length === 24;
  if (!isSigned && !isWide && gap.length !== 12) throw hiddenBytes(name);
  const at = isSigned ? 4 : 0;
  const size = (index: number) =>
    isWide ? Number(gap.readBigUInt64LE(at + 4 + 8 * index)) : gap.readUInt32LE(at + 4 + 4 * index);
  if (
    (isSigned && gap.readUInt32LE(0) !== 0x08074b50) ||
    gap.readUInt32LE(at) !== record.crc ||
    size(0) !== record.compressedSize ||
    size(1) !== record.size
  ) {
    throw refuse(
      "ambiguous",
      "has other sizes or another checksum behind its data than in the zip's directory",
      name,
    );
  }
}

export function hiddenBytes(name: string): BadArchive {
  return refuse(
    "overlap",
    "overlaps its neighbour or is followed by bytes that belong to no entry; pack it again",
    name,
  );
}
