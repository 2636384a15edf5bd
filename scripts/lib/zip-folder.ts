/** Zips a folder as `zip -r` would, on machines that have no zip: node zip-folder.ts FOLDER OUT.zip */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { crc32, deflateRawSync } from "node:zlib";

const VERSION = 20;
const DEFLATE = 8;
const UTF8_NAME = 0x0800;
/** 1980-01-01, the first day that the format knows: the same folder always gives the same bytes. */
const DATE = 0x0021;

/** The fields that an entry's local header and its directory record share. */
function commonFields(name: Buffer, data: Buffer, packed: Buffer): Buffer {
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(VERSION, 0);
  fields.writeUInt16LE(UTF8_NAME, 2);
  fields.writeUInt16LE(DEFLATE, 4);
  fields.writeUInt16LE(DATE, 8);
  fields.writeUInt32LE(crc32(data), 10);
  fields.writeUInt32LE(packed.length, 14);
  fields.writeUInt32LE(data.length, 18);
  fields.writeUInt16LE(name.length, 22);
  return fields;
}

function directoryRecord(fields: Buffer, name: Buffer, localOffset: number): Buffer {
  const head = Buffer.from([0x50, 0x4b, 1, 2, VERSION, 0]);
  // Comment length, disk and attributes are zero.
  const tail = Buffer.alloc(14);
  tail.writeUInt32LE(localOffset, 10);
  return Buffer.concat([head, fields, tail, name]);
}

function endRecord(entries: number, directoryBytes: number, directoryOffset: number): Buffer {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries, 8);
  end.writeUInt16LE(entries, 10);
  end.writeUInt32LE(directoryBytes, 12);
  end.writeUInt32LE(directoryOffset, 16);
  return end;
}

function zip(files: ReadonlyMap<string, Buffer>): Buffer {
  const locals: Buffer[] = [];
  const records: Buffer[] = [];
  let offset = 0;
  for (const [path, data] of files) {
    const name = Buffer.from(path);
    const packed = deflateRawSync(data);
    const fields = commonFields(name, data, packed);
    const local = Buffer.concat([Buffer.from([0x50, 0x4b, 3, 4]), fields, name, packed]);
    records.push(directoryRecord(fields, name, offset));
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(records);
  return Buffer.concat([...locals, directory, endRecord(files.size, directory.length, offset)]);
}

function filesBelow(folder: string): Map<string, Buffer> {
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  return new Map(
    paths.map((path) => [relative(folder, path).replaceAll(sep, "/"), readFileSync(path)] as const),
  );
}

const [folder, out] = process.argv.slice(2);
if (folder === undefined || out === undefined) throw new Error("usage: zip-folder.ts FOLDER OUT.zip");
writeFileSync(out, zip(filesBelow(folder)));
