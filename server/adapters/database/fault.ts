import { LongshoreError, SystemFault, Unavailable } from "../../domain/errors.ts";
import { RequestIdTaken, SourceGone, StaleTask } from "../../domain/ports/task-store.ts";

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html). */
const BUSY = 5;
const LOCKED = 6;
const OUT_OF_MEMORY = 7;
const READ_ONLY = 8;
const IO_ERROR = 10;
const FULL = 13;
const CANNOT_OPEN = 14;

const PASSING: Readonly<Record<number, string>> = {
  [BUSY]: "another process holds the lock of the database; end it or try again",
  [LOCKED]: "the database is locked; try again",
  [OUT_OF_MEMORY]: "SQLite is out of memory; try again when the host has some",
  [READ_ONLY]: "the database cannot be written; give the server write access to its file and folder",
  [IO_ERROR]: "the disk of the database failed to read or write; look at the disk and its free space",
  [FULL]: "the disk of the database is full; free some space and try again",
  [CANNOT_OPEN]: "the database file cannot be opened; check that its folder exists and may be written",
};

/**
 * Classes and codes of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html) that may pass by themselves or be
 * mended without a new version of the server. The longest that an error's code begins with counts.
 */
const PASSING_STATES: Readonly<Record<string, string>> = {
  "08": "the connection to PostgreSQL broke; try again",
  "25006": "PostgreSQL takes no changes (a replica, or read-only); use its primary",
  "28": "PostgreSQL refuses the server's user or password; correct the database URL",
  "3D000": "the database does not exist in PostgreSQL; create it",
  "40": "PostgreSQL rolled the change back because of another one; try again",
  "42501": "the server's user lacks a right in PostgreSQL; make it the owner of the database",
  "53": "PostgreSQL is out of memory, disk or connections; give it some and try again",
  "57P": "PostgreSQL is stopping, starting or was told to end the connection; try again",
  "58": "PostgreSQL's system failed to read or write; look at its log and its disk",
};
const NETWORK = [
  ...["ECONNREFUSED", "ECONNRESET", "EPIPE", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "EHOSTUNREACH"],
  ...["ENETUNREACH", "ENOENT"],
];
/** The driver's own errors carry no code. */
const DROPPED =
  /^(Connection terminated|timeout expired|Client has encountered a connection error|Client was closed)/;

/** Why an error of PostgreSQL or of the way to it may pass; undefined for any other. */
function postgresTrouble(error: unknown): string | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const code = "code" in cause && typeof cause.code === "string" ? cause.code : "";
    if (NETWORK.includes(code) || DROPPED.test(cause.message))
      return "PostgreSQL cannot be reached; try again when it is up";
    if (!/^[0-9A-Z]{5}$/.test(code)) continue;
    const known = Object.keys(PASSING_STATES).filter((state) => code.startsWith(state));
    const state = known.sort((a, b) => b.length - a.length)[0];
    if (state !== undefined) return PASSING_STATES[state];
  }
  return undefined;
}

/** The primary result code of an error of SQLite, also beneath what a library wrapped around it. */
function sqliteCode(error: unknown): number | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if ("errcode" in cause && typeof cause.errcode === "number") return cause.errcode & 0xff;
  }
  return undefined;
}

export function isBusy(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === BUSY || code === LOCKED;
}

/** After these the database may have rolled the whole transaction back, so nothing of a batch can be kept. */
export function breaksTransaction(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === undefined ? postgresTrouble(error) !== undefined : PASSING[code] !== undefined;
}

const OWN = [RequestIdTaken, SourceGone, StaleTask] as const;

/** Own errors as they are, passing trouble of the disk as Unavailable, everything else as a fault of ours. */
export function toDomainError(error: unknown, doing: string): Error {
  if (error instanceof LongshoreError) return error;
  if (error instanceof Error && OWN.some((own) => error instanceof own)) return error;
  const code = sqliteCode(error);
  const passing = code === undefined ? postgresTrouble(error) : PASSING[code];
  if (passing !== undefined) return new Unavailable(`${doing}: ${passing}`, 1000, { cause: error });
  const message = error instanceof Error ? error.message : String(error);
  return new SystemFault(`${doing}: ${message}`, {}, { cause: error });
}
