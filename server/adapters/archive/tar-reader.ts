import type { ArchiveLimits } from "../../domain/blob.ts";
import { BadArchive } from "../../domain/errors.ts";
import { type ArchiveEntry, saneMtime } from "./archive-entry.ts";
import type { ByteReader } from "./byte-reader.ts";
import { decodeName, refuse, shown } from "./entry-name.ts";
import { decodePax, type PaxRecords } from "./pax.ts";
import {
  BLOCK,
  decodeHeader,
  isZeroBlock,
  kindOf,
  MAX_OCTAL_SIZE,
  type TarHeader,
  upToNul,
} from "./tar-header.ts";

/** Tools pad to whole records of 10 KiB; far more zeros than that are not padding. */
const MAX_PADDING = 2 ** 20;
const PIECE_BYTES = 2 ** 20;

type HeaderLimits = Pick<ArchiveLimits, "maxHeaderBytes">;

/**
 * The entries of a tar in order, read strictly to its last byte. A reader of our own, because what is accepted must have
 * one reading: the common libraries skip zero blocks between entries, stop silently inside a damaged PAX header, replace
 * bytes that are not UTF-8, and end happily without an end.
 */
export async function* readTar(input: ByteReader, limits: HeaderLimits): AsyncGenerator<ArchiveEntry> {
  for (;;) {
    const found = await nextHeader(input, limits);
    if (found === undefined) break;
    const entry = openEntry(found, input);
    yield entry;
    for await (const _ of entry.content) {
      // Whatever the consumer left unread still lies between here and the next header.
    }
    const padding = (BLOCK - (entry.size % BLOCK)) % BLOCK;
    if ((await input.exactly(padding)).length < padding)
      throw truncated(`in the padding of "${shown(entry.name)}"`);
  }
  await expectOnlyZeros(input);
}

interface Found {
  readonly header: TarHeader;
  readonly pax: PaxRecords;
  readonly longName: Uint8Array | undefined;
}

/** Gathers the extension headers before an entry; undefined at the end of the archive. */
async function nextHeader(input: ByteReader, limits: HeaderLimits): Promise<Found | undefined> {
  let pax: PaxRecords | undefined;
  let longName: Uint8Array | undefined;
  let longLink = false;
  let extensionBytes = 0;
  for (;;) {
    const block = await input.exactly(BLOCK);
    if (block.length < BLOCK) throw truncated("where a header should begin; its end marker is missing");
    const named = pax !== undefined || longName !== undefined;
    if (isZeroBlock(block)) {
      if (extensionBytes > 0)
        throw new BadArchive(
          "header",
          "the tar ends after a header that belongs to the next entry; pack it again",
        );
      return undefined;
    }
    const header = decodeHeader(block);
    if (!"gxLK".includes(header.type)) {
      return { header, pax: longLink ? { ...pax, isLink: true } : (pax ?? {}), longName };
    }
    // Readers differ in which of two wins, and in what a header between a header and its entry belongs to.
    if (header.type === "K" ? longLink : named) {
      throw refuse("header", "has two headers that could each name it", header.name);
    }
    extensionBytes += BLOCK + header.size;
    if (extensionBytes > limits.maxHeaderBytes) {
      throw refuse(
        "header-size",
        `has headers of more than ${limits.maxHeaderBytes} bytes, the most that is allowed`,
        header.name,
      );
    }
    const payload = await readPayload(input, header);
    if (header.type === "g") decodePax(payload, "global");
    else if (header.type === "x") pax = decodePax(payload, "entry");
    else if (header.type === "K") longLink = true;
    else longName = gnuLongName(payload, header);
  }
}

async function readPayload(input: ByteReader, header: TarHeader): Promise<Uint8Array> {
  const padded = Math.ceil(header.size / BLOCK) * BLOCK;
  const bytes = await input.exactly(padded);
  if (bytes.length < padded) throw truncated("in a header");
  // Python reads names and records on into the padding.
  if (!isZeroBlock(bytes.subarray(header.size))) {
    throw refuse("header", "has bytes behind the end of its header; pack it again", header.name);
  }
  return bytes.subarray(0, header.size);
}

function gnuLongName(payload: Uint8Array, header: TarHeader): Uint8Array {
  const name = upToNul(payload);
  if (name.length === 0 || !isZeroBlock(payload.subarray(name.length))) {
    throw refuse("header", "has a long name with bytes after its end", header.name);
  }
  return name;
}

function openEntry({ header, pax, longName }: Found, input: ByteReader): ArchiveEntry {
  const name = pax.path ?? decodeName(longName ?? header.name);
  const kind = kindOf(header.type, name, pax);
  const size = pax.size ?? header.size;
  if (size !== header.size && size <= MAX_OCTAL_SIZE) {
    throw refuse("size", `has two sizes, ${header.size} in its header and ${size} in its PAX record`, name);
  }
  if (kind === "folder" && size > 0)
    throw refuse("size", `is a folder of ${size} bytes; a folder has no content`, name);
  return {
    name,
    kind,
    size,
    executable: (header.mode & 0o111) !== 0,
    mtimeSeconds: saneMtime(pax.mtimeSeconds ?? header.mtimeSeconds),
    content: new EntryContent(input, size, name),
  };
}

/** Counts down what is left, so that a consumer that stops early does not make the rest look like headers. */
class EntryContent implements AsyncIterable<Uint8Array> {
  readonly #input: ByteReader;
  readonly #name: string;
  #missing: number;

  constructor(input: ByteReader, size: number, name: string) {
    this.#input = input;
    this.#missing = size;
    this.#name = name;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    while (this.#missing > 0) {
      const piece = await this.#input.some(Math.min(this.#missing, PIECE_BYTES));
      if (piece === undefined)
        throw truncated(`${this.#missing} bytes before the end of "${shown(this.#name)}"`, this.#name);
      this.#missing -= piece.length;
      yield piece;
    }
  }
}

/** One zero block was read. A second must follow, and nothing but zeros after it. */
async function expectOnlyZeros(input: ByteReader): Promise<void> {
  const second = await input.exactly(BLOCK);
  if (second.length < BLOCK) throw truncated("in its end marker");
  let padding = 0;
  for (
    let piece: Uint8Array | undefined = second;
    piece !== undefined;
    piece = await input.some(PIECE_BYTES)
  ) {
    padding += piece.length;
    if (!isZeroBlock(piece)) {
      throw new BadArchive(
        "trailing-bytes",
        "the tar goes on after its end marker; some tools would read on there: pack it as one tar",
      );
    }
    if (padding > MAX_PADDING)
      throw new BadArchive("trailing-bytes", `the tar has more than ${MAX_PADDING} zero bytes after its end`);
  }
}

function truncated(where: string, name = ""): BadArchive {
  return new BadArchive(
    "truncated",
    `the tar ends too early: ${where}; check that the whole file was sent`,
    shown(name),
  );
}
