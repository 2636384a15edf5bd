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

/** After these SQLite may have rolled the whole transaction back, so nothing of a batch can be kept. */
export function breaksTransaction(error: unknown): boolean {
  const code = sqliteCode(error);
  return code !== undefined && PASSING[code] !== undefined;
}

const OWN = [RequestIdTaken, SourceGone, StaleTask] as const;

/** Own errors as they are, passing trouble of the disk as Unavailable, everything else as a fault of ours. */
export function toDomainError(error: unknown, doing: string): Error {
  if (error instanceof LongshoreError) return error;
  if (error instanceof Error && OWN.some((own) => error instanceof own)) return error;
  const passing = PASSING[sqliteCode(error) ?? -1];
  if (passing !== undefined) return new Unavailable(`${doing}: ${passing}`, 1000, { cause: error });
  const message = error instanceof Error ? error.message : String(error);
  return new SystemFault(`${doing}: ${message}`, {}, { cause: error });
}
