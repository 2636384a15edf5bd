import { constants } from "node:fs";
import { copyFile, type FileHandle, link, open, rm } from "node:fs/promises";
import { EarlySync } from "../../domain/early-sync.ts";
import type { PackedFile } from "../../domain/ports/archive-reader.ts";
import { hasCode, storageError } from "../../domain/storage-error.ts";
import { BLOCK, MAX_OCTAL_SIZE } from "./tar-header.ts";
import type { UploadMirror } from "./upload-mirror.ts";

const BUFFER_BYTES = 256 * 1024;
const COPY_BYTES = 2 ** 20;
/** Why a file cannot have a second name. */
const LINKLESS = ["EXDEV", "EPERM", "ENOTSUP", "ENOSYS", "EMLINK"];
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

/** An upload that the canonical tar may turn out to be. */
export interface Original {
  /** Where all of it lies by the time that the canonical tar ends, never to change again. */
  readonly path: string;
  readonly mirror: UploadMirror;
}

/**
 * Writes the one form that is ever unpacked: ustar without prefixes, files and folders only, every folder before what lies
 * in it, owner 0, modes 0644 and 0755; a PAX header with `path` or `size` only where ustar cannot hold them.
 *
 * What an original repeats is compared and not written. Where all of it is the same, the two become one file; where they part,
 * the bytes before are brought over at the end.
 */
export class CanonicalTar implements AsyncDisposable {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #original: Original | undefined;
  readonly #early: EarlySync;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  /** Of the last file. Written late, since the parser reads that of the upload only when it looks for the next entry. */
  #padding = 0;
  #repeated = 0;
  #buffered = 0;
  #written = 0;

  static async create(path: string, original?: Original): Promise<CanonicalTar> {
    return new CanonicalTar(path, await open(path, "wx", 0o600), original);
  }

  private constructor(path: string, file: FileHandle, original: Original | undefined) {
    this.#path = path;
    this.#file = file;
    this.#original = original;
    this.#early = new EarlySync(() => file.datasync());
  }

  get bytes(): number {
    return this.#repeated + this.#written + this.#buffered;
  }

  async folder(path: string, mtimeSeconds: number): Promise<void> {
    await this.#pad();
    await this.#write(header({ path, kind: "folder", size: 0, executable: true, mtimeSeconds }));
  }

  /** `content` yields exactly `size` bytes. */
  async file(entry: Omit<Header, "kind">, content: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#pad();
    await this.#write(header({ ...entry, kind: "file" }));
    const start = this.bytes;
    for await (const piece of content) await this.#write(piece);
    if (this.bytes - start !== entry.size) {
      throw new Error(`${entry.path} gave ${this.bytes - start} bytes in place of ${entry.size}`);
    }
    this.#padding = padding(entry.size);
  }

  /** Ends the archive and makes it durable; where it is its original, that one's writer does. */
  async end(): Promise<void> {
    await this.#pad();
    await this.#write(ZEROS);
    if (this.#original?.mirror.isWhole()) return await this.#guard(this.#become(this.#original.path));
    await this.#flush();
    if (this.#original !== undefined) await this.#guard(this.#bringOver(this.#original.path));
    await this.#guard(this.#early.settled());
    await this.#guard(this.#file.datasync());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #pad(): Promise<void> {
    await this.#write(ZEROS.subarray(0, this.#padding));
    this.#padding = 0;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#original?.mirror.repeats(bytes)) {
      this.#repeated += bytes.length;
      return;
    }
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
      const place = this.#repeated + this.#written + done;
      done += (await this.#guard(this.#file.write(bytes, done, bytes.length - done, place))).bytesWritten;
    }
    this.#written += bytes.length;
    this.#early.wrote(bytes.length);
  }

  async #become(original: string): Promise<void> {
    await rm(this.#path);
    try {
      await link(original, this.#path);
    } catch (error) {
      // Another file system, one without links, or one too many: a copy is as good.
      if (!LINKLESS.some((code) => hasCode(error, code))) throw error;
      await copyFile(original, this.#path, constants.COPYFILE_EXCL);
      await using copy = await open(this.#path, "r");
      await copy.datasync();
    }
  }

  /** The beginning that the two have in common. */
  async #bringOver(original: string): Promise<void> {
    if (this.#repeated === 0) return;
    await using source = await open(original, constants.O_RDONLY | constants.O_NOFOLLOW);
    const piece = Buffer.allocUnsafe(COPY_BYTES);
    for (let place = 0; place < this.#repeated; ) {
      const most = Math.min(COPY_BYTES, this.#repeated - place);
      const { bytesRead } = await source.read(piece, 0, most, place);
      if (bytesRead === 0) throw new Error(`the upload ends at byte ${place} of ${this.#repeated}`);
      for (let done = 0; done < bytesRead; )
        done += (await this.#file.write(piece, done, bytesRead - done, place + done)).bytesWritten;
      place += bytesRead;
      this.#early.wrote(bytesRead);
    }
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
