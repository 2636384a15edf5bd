import { BadArchive } from "../../domain/errors.ts";
import { decodeName, shown } from "./entry-name.ts";

/** What a PAX header may change about the entry behind it. */
export interface PaxRecords {
  readonly path?: string;
  readonly size?: number;
  readonly mtimeSeconds?: number;
  /** It is a link with this kind of target record. */
  readonly isLink?: boolean;
  /** Its content is stored with holes left out. */
  readonly isSparse?: boolean;
}

const EQUALS = "=".charCodeAt(0);
const NEWLINE = "\n".charCodeAt(0);
const UTF8_NAMES = ["ISO-IR 10646 2000 UTF-8", ""];

/**
 * The records of a PAX header that matter. Owners, times, comments and vendors' attributes are skipped; what would make
 * another reader see another path, size or kind is refused.
 */
export function decodePax(payload: Uint8Array, scope: "entry" | "global"): PaxRecords {
  const records: { -readonly [K in keyof PaxRecords]: PaxRecords[K] } = {};
  for (const [key, value] of paxRecords(payload)) {
    const isSparse = key.startsWith("GNU.sparse.") || key === "SCHILY.realsize";
    if (scope === "global" && (isSparse || key === "path" || key === "size" || key === "linkpath")) {
      throw paxError(`a global "${shown(key)}" would hold for every entry`);
    }
    if (key === "path" || key === "size") {
      if (records[key] !== undefined) throw paxError(`"${key}" is given twice`);
      if (key === "path") records.path = decodeName(value);
      else records.size = wholeNumber(value);
    } else if (key === "mtime" && scope === "entry") {
      records.mtimeSeconds = Number(Buffer.from(value).toString("latin1"));
    } else if (key === "hdrcharset" && !UTF8_NAMES.includes(Buffer.from(value).toString("latin1"))) {
      throw new BadArchive("name-encoding", "the tar holds names that are not UTF-8; pack with UTF-8 names");
    } else if (isSparse) {
      records.isSparse = true;
    } else if (key === "linkpath") {
      records.isLink = true;
    }
  }
  return records;
}

function* paxRecords(payload: Uint8Array): Generator<[key: string, value: Uint8Array]> {
  let rest = payload;
  while (rest.length > 0) {
    const digits = /^[1-9]\d{0,8} /.exec(Buffer.from(rest.subarray(0, 10)).toString("latin1"))?.[0];
    const length = Number(digits);
    if (digits === undefined || length > rest.length || rest[length - 1] !== NEWLINE) {
      throw paxError("a record's length is wrong");
    }
    const record = rest.subarray(digits.length, length - 1);
    const equals = record.indexOf(EQUALS);
    if (length <= digits.length || equals < 1) throw paxError("a record has no key");
    yield [decodeName(record.subarray(0, equals)), record.subarray(equals + 1)];
    rest = rest.subarray(length);
  }
}

function wholeNumber(value: Uint8Array): number {
  const text = Buffer.from(value).toString("latin1");
  const size = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(size)) throw paxError(`size "${shown(text)}" is no number`);
  return size;
}

function paxError(problem: string): BadArchive {
  return new BadArchive("pax-header", `the tar has a PAX header that readers take differently: ${problem}`);
}
