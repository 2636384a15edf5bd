import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { SystemFault } from "../../domain/errors.ts";

const POLL_MILLIS = 200;

class LeaseTaken extends SystemFault {}

/** One server per data folder. The kernel gives the lease back when its holder dies, however it dies. */
export interface Lease extends AsyncDisposable {
  /** Stays the same for the life of the data folder; labels everything that is ours on the host. */
  readonly installationId: string;
}

/**
 * SQLite's exclusive lock on a file of its own is the lease: Node has no flock, and a file with a process id in it
 * would outlive a crash. Throws SystemFault that says who holds it.
 */
export async function takeLease(dataDirectory: string): Promise<Lease> {
  const lock = new DatabaseSync(join(dataDirectory, "lease.db"));
  const holderFile = join(dataDirectory, "lease.json");
  try {
    lock.exec("PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    const holder = await readFile(holderFile, "utf8").catch(() => "a server that left no word of itself");
    throw new LeaseTaken(
      `another server uses the data folder ${dataDirectory}: ${holder.trim()}. Stop it first, or set LONGSHORE_DATA_DIR to another folder`,
      {},
      { cause: error },
    );
  }
  const holder = { pid: process.pid, host: hostname(), since: new Date().toISOString() };
  await writeFile(holderFile, `${JSON.stringify(holder)}\n`, { mode: 0o600 });
  return {
    installationId: await installationId(dataDirectory),
    async [Symbol.asyncDispose]() {
      lock.close();
    },
  };
}

/** Waits while another server holds the lease, which tells nobody of its end. Rejects with the abort's reason. */
export async function awaitLease(dataDirectory: string, signal: AbortSignal): Promise<Lease> {
  for (;;) {
    try {
      return await takeLease(dataDirectory);
    } catch (error) {
      if (!(error instanceof LeaseTaken)) throw error;
    }
    await delay(POLL_MILLIS, undefined, { signal });
  }
}

async function installationId(dataDirectory: string): Promise<string> {
  const file = join(dataDirectory, "installation");
  try {
    await writeFile(file, randomUUID(), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  return (await readFile(file, "utf8")).trim();
}
