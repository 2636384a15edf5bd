import { type FileHandle, open } from "node:fs/promises";
import { decodePax } from "./pax.ts";
import { BLOCK, decodeHeader, isZeroBlock, upToNul } from "./tar-header.ts";

/**
 * The first bytes of one file of a canonical tar; undefined when it has no such file. Goes from header to header: the contents
 * between them may be gigabytes.
 */
export async function readEntry(
  tar: string,
  path: string,
  mostBytes: number,
): Promise<Uint8Array | undefined> {
  await using file = await open(tar, "r");
  let long: string | undefined;
  let longSize: number | undefined;
  for (let offset = 0; ; ) {
    const block = await read(file, offset, BLOCK);
    if (block.length < BLOCK || isZeroBlock(block)) return undefined;
    const header = decodeHeader(block);
    const start = offset + BLOCK;
    if (header.type === "x") {
      const pax = decodePax(await read(file, start, header.size), "entry");
      long = pax.path;
      longSize = pax.size;
      offset = start + Math.ceil(header.size / BLOCK) * BLOCK;
    } else {
      const name = long ?? Buffer.from(upToNul(header.name)).toString("utf8");
      const size = longSize ?? header.size;
      if (name === path && header.type === "0") return await read(file, start, Math.min(size, mostBytes));
      long = undefined;
      longSize = undefined;
      offset = start + Math.ceil(size / BLOCK) * BLOCK;
    }
  }
}

async function read(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, offset);
  return buffer.subarray(0, bytesRead);
}
