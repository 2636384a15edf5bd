import { BadArchive } from "../../domain/errors.ts";
import { refuse, shown } from "./entry-name.ts";

export const BLOCK = 512;
/** Largest size the octal field of a header holds; beyond it comes base-256 or a PAX record. */
export const MAX_OCTAL_SIZE = 0o77777777777;

export interface TarHeader {
  readonly name: Uint8Array;
  /** The type flag as a character; "\0" is what tar was before types. */
  readonly type: string;
  readonly size: number;
  readonly mode: number;
  readonly mtimeSeconds: number;
}

const TYPE_NAMES: Readonly<Record<string, readonly [rule: string, noun: string, advice: string]>> = {
  "1": ["link", "a hard link", "pack with --hard-dereference"],
  "2": ["link", "a symbolic link", "pack what it points to (tar -h)"],
  "3": ["device", "a character device", "leave it out"],
  "4": ["device", "a block device", "leave it out"],
  "6": ["fifo", "a named pipe", "leave it out"],
  S: ["sparse", "a sparse file", "pack without --sparse"],
  D: ["entry-type", "an incremental dump", "pack without --incremental"],
  M: ["entry-type", "part of a file split over volumes", "pack into one file"],
  V: ["entry-type", "a volume label", "pack without --label"],
};

const UNUSED_NUMBERS: readonly (readonly [what: string, start: number])[] = [
  ["user id", 108],
  ["group id", 116],
  ["device number", 329],
  ["device number", 337],
];

/** Refuses everything but files and folders. */
export function kindOf(
  type: string,
  name: string,
  marks: { isLink?: boolean; isSparse?: boolean },
): "file" | "folder" {
  if (marks.isSparse) throw refuse("sparse", "is a sparse file; pack without --sparse", name);
  if (marks.isLink && type !== "1" && type !== "2") {
    throw refuse("link", "has the target of a link, but is none; pack it again", name);
  }
  if (type === "0") return "file";
  if (type === "5") return "folder";
  // Before type 5 existed, a folder was told by its trailing slash.
  if (type === "\0") return name.endsWith("/") ? "folder" : "file";
  const [rule, noun, advice] = TYPE_NAMES[type] ?? ["entry-type", `of type "${shown(type)}"`, "leave it out"];
  throw refuse(rule, `is ${noun}; only files and folders are allowed: ${advice}`, name);
}

export function isZeroBlock(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** Whether these bytes begin with a tar header whose checksum holds. */
export function looksLikeTar(head: Uint8Array): boolean {
  if (head.length < BLOCK || isZeroBlock(head.subarray(0, BLOCK))) return false;
  return octal(head.subarray(148, 156)) === checksum(head);
}

/** Reads one header block, refusing what two tar readers could read differently. */
export function decodeHeader(block: Uint8Array): TarHeader {
  const name = upToNul(block.subarray(0, 100));
  if (octal(block.subarray(148, 156)) !== checksum(block)) {
    throw new BadArchive(
      "checksum",
      "the tar is damaged or not a tar: a header's checksum is wrong; pack it again and check that the whole file was sent",
      shown(name),
    );
  }
  const magic = String.fromCharCode(...block.subarray(257, 263));
  const isUstar = magic === "ustar\0";
  if (!isUstar && magic !== "ustar " && magic !== "\0\0\0\0\0\0") {
    throw refuse("header", "has a header of no known tar format", name);
  }
  // Where the format defines no prefix, some readers use these bytes as one and others do not.
  if (!isZeroBlock(block.subarray(isUstar ? 500 : 345))) {
    throw refuse("header", "has bytes in its header where its tar format has none", name);
  }
  const prefix = isUstar ? upToNul(block.subarray(345, 500)) : new Uint8Array(0);
  const field = (what: string, start: number, end: number): number => {
    const value = number(block.subarray(start, end));
    if (value === undefined) throw refuse("header", `has a ${what} that is no number`, name);
    return value;
  };
  // Nobody needs owners and devices, but readers that look at them stop where they do not parse.
  for (const [what, start] of UNUSED_NUMBERS) field(what, start, start + 8);
  const size = field("size", 124, 136);
  if (size < 0) throw refuse("header", "has a negative size", name);
  return {
    name: prefix.length > 0 ? Buffer.concat([prefix, Buffer.from("/"), name]) : name,
    type: String.fromCharCode(block[156] ?? 0),
    size,
    mode: field("mode", 100, 108),
    mtimeSeconds: field("time", 136, 148),
  };
}

export function upToNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end === -1 ? bytes : bytes.subarray(0, end);
}

function checksum(block: Uint8Array): number {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += block[i] ?? 0;
  return sum;
}

/** Octal digits, or base-256 behind a first byte of 0x80 (0xff for what is negative); undefined when it is neither. */
function number(field: Uint8Array): number | undefined {
  // How far before 1970 a file was changed is of no interest.
  if (field[0] === 0xff) return -1;
  if (field[0] !== 0x80) return octal(field);
  let value = 0;
  for (const byte of field.subarray(1)) value = value * 256 + byte;
  return Number.isSafeInteger(value) ? value : undefined;
}

/** An empty field is 0; digits may stand between padding, but nothing may follow them. */
function octal(field: Uint8Array): number | undefined {
  const text = /^ *([0-7]*)[ \0]*$/.exec(String.fromCharCode(...field));
  if (text === null) return undefined;
  return text[1] === undefined || text[1] === "" ? 0 : Number.parseInt(text[1], 8);
}
