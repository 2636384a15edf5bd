/**
 * Tar headers in the one form that the server unpacks, and that the Python client writes, too: it keeps a project packed like
 * this as it came, where it has to write any other tar a second time.
 */

const BLOCK = 512;
const MAX_NAME_BYTES = 100;
const MAX_OCTAL_SIZE = 0o77777777777;
/** 1980, the first year that zip files can name: programs that zip their own project fail on anything earlier. */
const FIXED_TIME = Date.UTC(1980, 0, 1) / 1000;

export const TAR_END: Uint8Array = new Uint8Array(2 * BLOCK);

export interface TarEntry {
  readonly path: string;
  readonly isFolder: boolean;
  readonly executable: boolean;
  /** 0 for a folder. */
  readonly size: number;
}

/** The header of an entry; before it an extended one that holds what does not fit. */
export function tarHeader({ path, isFolder, executable, size }: TarEntry): Uint8Array {
  const records: string[] = [];
  const name = cutName(path);
  if (name !== path) records.push(paxRecord("path", path));
  if (size > MAX_OCTAL_SIZE) records.push(paxRecord("size", String(size)));
  const type = isFolder ? "5" : "0";
  const mode = executable ? 0o755 : 0o644;
  const block = headerBlock({ name, type, mode, size: size > MAX_OCTAL_SIZE ? 0 : size, time: FIXED_TIME });
  if (records.length === 0) return block;
  const payload = Buffer.from(records.join(""));
  const extended = { name: "PaxHeader", type: "x", mode: 0o644, size: payload.length, time: 0 };
  return Buffer.concat([headerBlock(extended), payload, tarPadding(payload.length), block]);
}

/** What fills the last block of so many bytes. */
export function tarPadding(size: number): Uint8Array {
  return TAR_END.subarray(0, (BLOCK - (size % BLOCK)) % BLOCK);
}

/** The longest beginning of the path that fits the name field without cutting a character. */
function cutName(path: string): string {
  const bytes = Buffer.from(path);
  if (bytes.length <= MAX_NAME_BYTES) return path;
  let end = MAX_NAME_BYTES;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.toString("utf8", 0, end);
}

/** The length counts itself, so a digit more may need a digit more. */
function paxRecord(key: string, value: string): string {
  const rest = Buffer.byteLength(key) + Buffer.byteLength(value) + 3;
  let length = rest + 1;
  while (String(length).length + rest !== length) length = String(length).length + rest;
  return `${length} ${key}=${value}\n`;
}

interface Fields {
  readonly name: string;
  readonly type: string;
  readonly mode: number;
  readonly size: number;
  readonly time: number;
}

function headerBlock({ name, type, mode, size, time }: Fields): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0);
  block.write(octal(mode, 7), 100);
  block.write(octal(0, 7), 108);
  block.write(octal(0, 7), 116);
  block.write(octal(size, 11), 124);
  block.write(octal(time, 11), 136);
  // The checksum counts itself as spaces.
  block.write(" ".repeat(8), 148);
  block.write(type, 156);
  block.write("ustar\x0000", 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)} `, 148);
  return block;
}

function octal(value: number, digits: number): string {
  return `${value.toString(8).padStart(digits, "0")}\0`;
}
