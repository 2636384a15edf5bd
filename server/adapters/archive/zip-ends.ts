import { BadArchive } from "../../domain/errors.ts";
import type { FileWindow } from "./file-window.ts";

const END_SIGNATURE = 0x06054b50;
const END64_LOCATOR_SIGNATURE = 0x07064b50;
const END64_SIGNATURE = 0x06064b50;
const END_BYTES = 22;
const END64_LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const MAX_COMMENT_BYTES = 0xffff;

/** Where the central directory lies, in one reading. */
export interface ZipDirectory {
  readonly start: number;
  readonly end: number;
  readonly entries: number;
}

/**
 * Finds the central directory and refuses a zip in which another reader could find another: a second end record, bytes
 * behind it, a directory that does not reach to its end record, zip64 values that contradict the plain ones.
 */
export async function findDirectory(file: FileWindow): Promise<ZipDirectory> {
  const tailBytes = END64_BYTES + END64_LOCATOR_BYTES + END_BYTES + MAX_COMMENT_BYTES;
  const tailStart = Math.max(0, file.size - tailBytes);
  const tail = await file.read(tailStart, file.size - tailStart);
  const at = tail.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  if (at === -1 || at + END_BYTES > tail.length) {
    throw new BadArchive("truncated", "the zip has no end record; check that the whole file was sent");
  }
  if (tail.readUInt16LE(at + 20) !== tail.length - at - END_BYTES) {
    throw new BadArchive(
      "trailing-bytes",
      "the zip does not end where its end record says; send it without bytes added or cut off",
    );
  }
  const plain = {
    disks: tail.readUInt16LE(at + 4) + tail.readUInt16LE(at + 6),
    entriesHere: tail.readUInt16LE(at + 8),
    entries: tail.readUInt16LE(at + 10),
    bytes: tail.readUInt32LE(at + 12),
    start: tail.readUInt32LE(at + 16),
  };
  const locatorAt = at - END64_LOCATOR_BYTES;
  const hasZip64 = locatorAt >= 0 && tail.readUInt32LE(locatorAt) === END64_LOCATOR_SIGNATURE;
  const end = hasZip64 ? readZip64(tail, tailStart, locatorAt, plain) : { ...plain, end: tailStart + at };
  if (end.disks !== 0 || end.entriesHere !== end.entries) {
    throw new BadArchive("ambiguous", "the zip is part of a set over several files; pack it as one");
  }
  if (end.start + end.bytes !== end.end) {
    throw new BadArchive(
      "ambiguous",
      "the zip's directory does not lie right before its end record; send it without bytes put in front (no self-extracting archives)",
    );
  }
  return { start: end.start, end: end.end, entries: end.entries };
}

type EndRecord = { disks: number; entriesHere: number; entries: number; bytes: number; start: number };

function readZip64(
  tail: Buffer,
  tailStart: number,
  locatorAt: number,
  plain: EndRecord,
): EndRecord & { end: number } {
  const at = locatorAt - END64_BYTES;
  if (
    at < 0 ||
    tail.readUInt32LE(at) !== END64_SIGNATURE ||
    whole(tail, at + 4) !== END64_BYTES - 12 ||
    whole(tail, locatorAt + 8) !== tailStart + at ||
    tail.readUInt32LE(locatorAt + 4) !== 0 ||
    tail.readUInt32LE(locatorAt + 16) > 1
  ) {
    throw new BadArchive("ambiguous", "the zip's zip64 end record is not where it should be; pack it again");
  }
  const record = {
    disks: tail.readUInt32LE(at + 16) + tail.readUInt32LE(at + 20),
    entriesHere: whole(tail, at + 24),
    entries: whole(tail, at + 32),
    bytes: whole(tail, at + 40),
    start: whole(tail, at + 48),
  };
  const agrees = (value: number, short: number, unset: number) => short === unset || short === value;
  if (
    !agrees(record.entries, plain.entries, 0xffff) ||
    !agrees(record.bytes, plain.bytes, 0xffffffff) ||
    !agrees(record.start, plain.start, 0xffffffff)
  ) {
    throw new BadArchive("ambiguous", "the zip's two end records contradict each other; pack it again");
  }
  return { ...record, end: tailStart + at };
}

function whole(buffer: Buffer, at: number): number {
  const value = Number(buffer.readBigUInt64LE(at));
  if (!Number.isSafeInteger(value))
    throw new BadArchive("size", "the zip's end record holds an impossible size");
  return value;
}

export function looksLikeZip(head: Uint8Array): boolean {
  const signature = head.length < 4 ? 0 : Buffer.from(head.subarray(0, 4)).readUInt32LE(0);
  return signature === 0x04034b50 || signature === END_SIGNATURE;
}
