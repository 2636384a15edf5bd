import { crc32 } from "node:zlib";
import type { ArchiveLimits } from "../../domain/blob.ts";
import { BadArchive } from "../../domain/errors.ts";
import type { ByteReader } from "./byte-reader.ts";
import { inflateRaw } from "./inflate.ts";

const FLAG_HEADER_CRC = 2;
const FLAG_EXTRA = 4;
const FLAG_NAME = 8;
const FLAG_COMMENT = 16;
const FLAGS_RESERVED = 0xe0;

export function looksLikeGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b && head[2] === 8;
}

/** Decompresses exactly one gzip member; its checksum and size must hold and nothing may follow it. */
export async function* gunzip(
  input: ByteReader,
  limits: Pick<ArchiveLimits, "maxHeaderBytes" | "maxRatio" | "ratioGraceBytes">,
): AsyncGenerator<Uint8Array> {
  await skipHeader(input, limits.maxHeaderBytes);
  let checksum = 0;
  let size = 0;
  for await (const piece of inflateRaw(input, {
    check: (output, used) => checkRatio(output, used, limits),
  })) {
    checksum = crc32(piece, checksum);
    size += piece.length;
    yield piece;
  }
  const trailer = Buffer.from(await input.exactly(8));
  if (trailer.length < 8)
    throw new BadArchive("truncated", "the gzip ends too early; check that the whole file was sent");
  if (trailer.readUInt32LE(0) !== checksum || trailer.readUInt32LE(4) !== size % 2 ** 32) {
    throw new BadArchive(
      "checksum",
      "the gzip's checksum is wrong; pack it again and check that it was sent as it is",
    );
  }
  if ((await input.some(1)) !== undefined) {
    throw new BadArchive(
      "trailing-bytes",
      "the gzip goes on after its end; some tools would read on there: compress everything as one stream",
    );
  }
}

type RatioLimits = Pick<ArchiveLimits, "maxRatio" | "ratioGraceBytes">;

export function exceedsRatio(output: number, used: number, limits: RatioLimits): boolean {
  return output > limits.ratioGraceBytes && output > limits.maxRatio * used;
}

function checkRatio(output: number, used: number, limits: RatioLimits): void {
  if (!exceedsRatio(output, used, limits)) return;
  throw new BadArchive(
    "ratio",
    `${used} compressed bytes grew to ${output}, more than the ${limits.maxRatio}-fold that is allowed; pack less compressible data or send it uncompressed`,
  );
}

async function skipHeader(input: ByteReader, maxBytes: number): Promise<void> {
  let checksum = 0;
  let bytes = 0;
  const take = async (count: number): Promise<Uint8Array> => {
    const piece = await input.exactly(count);
    bytes += piece.length;
    if (piece.length < count) throw truncatedHeader();
    if (bytes > maxBytes)
      throw new BadArchive("header-size", `the gzip has a header of more than ${maxBytes} bytes`);
    checksum = crc32(piece, checksum);
    return piece;
  };
  const fixed = await input.exactly(10);
  if (!looksLikeGzip(fixed)) {
    throw new BadArchive("format", "declared tar.gz, but the bytes are no gzip; name the format that it is");
  }
  if (fixed.length < 10) throw truncatedHeader();
  checksum = crc32(fixed);
  const flags = fixed[3] ?? 0;
  if ((flags & FLAGS_RESERVED) !== 0)
    throw new BadArchive("header", "the gzip's header has unknown flags; compress it again");
  if ((flags & FLAG_EXTRA) !== 0) {
    const [low = 0, high = 0] = await take(2);
    await take(low + 256 * high);
  }
  for (const flag of [FLAG_NAME, FLAG_COMMENT]) {
    if ((flags & flag) !== 0) while ((await take(1))[0] !== 0);
  }
  if ((flags & FLAG_HEADER_CRC) !== 0) {
    const expected = checksum & 0xffff;
    const [low = 0, high = 0] = await take(2);
    if (low + 256 * high !== expected)
      throw new BadArchive("checksum", "the gzip's header is damaged; compress it again");
  }
}

function truncatedHeader(): BadArchive {
  return new BadArchive("truncated", "the gzip ends in its header; check that the whole file was sent");
}
