import { type FileHandle, open } from "node:fs/promises";
import { EarlySync } from "../../domain/early-sync.ts";
import type { PackedFile } from "../../domain/ports/archive-reader.ts";
import { storageError } from "../../domain/storage-error.ts";
import { BLOCK, MAX_OCTAL_SIZE } from "./tar-header.ts";

const BUFFER_BYTES = 256 * 1024;
const MAX_NAME_BYTES = 100;
const ZEROS = new Uint8Array(2 * BLOCK);

interface Header {
  readonly path: string;
  readonly kind: "file" | "folder";
  readonly size: number;
  readonly executable: boolean;
  readonly mtimeSeconds: number;
  /** Mode 0444: nobody may write to it. */
  readonly readOnly?: boolean;
}

/**
 * Writes the one form that is ever unpacked: ustar without prefixes, files and folders only, every folder before what lies
 * in it, owner 0, modes 0644 and 0755; a PAX header with `path` or `size` only where ustar cannot hold them.
 */
export class CanonicalTar implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #early: EarlySync;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #buffered = 0;
  #written = 0;

  static async create(path: string): Promise<CanonicalTar> {
    return new CanonicalTar(await open(path, "wx", 0o600));
  }

  private constructor(file: FileHandle) {
    this.#file = file;
    this.#early = new EarlySync(() => file.datasync());
  }

  get bytes(): number {
    return this.#written + this.#buffered;
  }

  async folder(path: string, mtimeSeconds: number): Promise<void> {
    await this.#write(header({ path, kind: "folder", size: 0, executable: true, mtimeSeconds }));
  }

  /** `content` yields exactly `size` bytes. */
  async file(entry: Omit<Header, "kind">, content: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#write(header({ ...entry, kind: "file" }));
    const start = this.bytes;
    for await (const piece of content) await this.#write(piece);
    if (this.bytes - start !== entry.size) {
      throw new Error(`${entry.path} gave ${this.bytes - start} bytes in place of ${entry.size}`);
    }
    await this.#write(ZEROS.subarray(0, padding(entry.size)));
  }

  /** Ends the archive and makes it durable. */
  async end(): Promise<void> {
    await this.#write(ZEROS);
    await this.#flush();
    await this.#guard(this.#early.settled());
    await this.#guard(this.#file.datasync());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#buffered + bytes.length > BUFFER_BYTES) await this.#flush();
    if (bytes.length >= BUFFER_BYTES) return this.#put(bytes);
    this.#buffer.set(bytes, this.#buffered);
    this.#buffered += bytes.length;
  }

  async #flush(): Promise<void> {
    await this.#put(this.#buffer.subarray(0, this.#buffered));
    this.#buffered = 0;
  }

  async #put(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      done += (await this.#guard(this.#file.write(bytes, done, bytes.length - done))).bytesWritten;
    }
    this.#written += bytes.length;
    this.#early.wrote(bytes.length);
  }

  async #guard<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw storageError(error, "checking an archive");
    }
  }
}

/** The same form for files of which nothing is kept, with the folders above them left to be implied. */
export async function* packReadOnly(files: readonly PackedFile[]): AsyncGenerator<Uint8Array> {
  for (const { path, sizeBytes, content } of files) {
    yield header({ path, kind: "file", size: sizeBytes, executable: false, mtimeSeconds: 0, readOnly: true });
    let length = 0;
    for await (const piece of content) {
      length += piece.length;
      yield piece;
    }
    if (length !== sizeBytes) throw new Error(`${path} gave ${length} bytes in place of ${sizeBytes}`);
    yield ZEROS.subarray(0, padding(sizeBytes));
  }
  yield ZEROS;
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function header(entry: Header): Uint8Array {
  const records: string[] = [];
  const name = cutName(entry.path);
  if (name !== entry.path) records.push(paxRecord("path", entry.path));
  if (entry.size > MAX_OCTAL_SIZE) records.push(paxRecord("size", String(entry.size)));
  const block = ustarBlock(name, entry.kind === "folder" ? "5" : "0", entry);
  if (records.length === 0) return block;
  const payload = Buffer.from(records.join(""));
  const pax = ustarBlock("PaxHeader", "x", { size: payload.length, executable: false, mtimeSeconds: 0 });
  return Buffer.concat([pax, payload, ZEROS.subarray(0, padding(payload.length)), block]);
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

function ustarBlock(
  name: string,
  type: string,
  { size, executable, readOnly, mtimeSeconds }: Omit<Header, "path" | "kind">,
): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, "utf8");
  block.write(readOnly ? "0000444\0" : executable ? "0000755\0" : "0000644\0", 100, "latin1");
  block.write("0000000\0", 108, "latin1");
  block.write("0000000\0", 116, "latin1");
  // A size beyond the field stands in the PAX record; 0 here is what every reader of that record expects.
  block.write(octal(size > MAX_OCTAL_SIZE ? 0 : size, 11), 124, "latin1");
  block.write(octal(mtimeSeconds, 11), 136, "latin1");
  block.write("        ", 148, "latin1");
  block.write(type, 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6).slice(0, 6)}\0 `, 148, "latin1");
  return block;
}

function octal(value: number, digits: number): string {
  return `${value.toString(8).padStart(digits, "0")}\0`;
}
