import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { NotFound } from "../../domain/errors.ts";
import { DamagedJournal } from "../../domain/journal.ts";
import type { JournalSource } from "../../domain/ports/engine.ts";
import { storageError } from "../../domain/storage-error.ts";
import { errnoOf } from "../sandbox/errno.ts";
import { checkedSandboxId, isSandboxId } from "../sandbox/sandbox-id.ts";

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW;
const READ = constants.O_RDONLY | constants.O_NOFOLLOW;

/** The server's own copies of journals, one file each: what has come over outlives the pod and its node. */
export class MirroredFiles {
  readonly #folder: string;
  readonly #listeners = new Map<string, Set<() => void>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
  }

  async create(sandboxId: string): Promise<void> {
    try {
      await (await open(this.#path(sandboxId), NEW_FILE, 0o600)).close();
    } catch (error) {
      throw storageError(error, "making a sandbox's journal");
    }
  }

  /** For the one who appends; undefined where the journal was removed with its task. */
  async appender(sandboxId: string): Promise<JournalAppender | undefined> {
    const file = await this.#openOrMissing(sandboxId, APPEND);
    if (file === undefined) return undefined;
    return new JournalAppender(file, (await file.stat()).size, () => this.#tell(sandboxId));
  }

  journal(sandboxId: string): JournalSource {
    const withFile = async <T>(use: (file: FileHandle) => Promise<T>): Promise<T> => {
      const file = await this.#openOrMissing(sandboxId, READ);
      if (file === undefined)
        throw new NotFound("journal of sandbox", sandboxId, "it was removed with its task");
      try {
        return await use(file);
      } finally {
        await file.close();
      }
    };
    return {
      size: () => withFile(async (file) => (await file.stat()).size),
      read: (offset, length, room) =>
        withFile(async (file) => {
          const { size } = await file.stat();
          if (size < offset) throw new DamagedJournal(`the file shrank to ${size} bytes`, size);
          const into = room ?? Buffer.allocUnsafeSlow(Math.min(length, size - offset));
          const { bytesRead } = await file.read(into, 0, Math.min(length, into.length), offset);
          return into.subarray(0, bytesRead);
        }),
      changes: (signal) => this.#changes(sandboxId, signal),
    };
  }

  async list(): Promise<string[]> {
    return (await readdir(this.#folder)).filter(isSandboxId);
  }

  async remove(sandboxId: string): Promise<void> {
    await rm(this.#path(sandboxId), { force: true });
    this.#tell(sandboxId);
  }

  async *#changes(sandboxId: string, signal: AbortSignal): AsyncGenerator<void> {
    let grown = true;
    let wake: (() => void) | undefined;
    const tell = () => {
      grown = true;
      wake?.();
    };
    const listeners = this.#listeners.get(sandboxId) ?? new Set();
    this.#listeners.set(sandboxId, listeners.add(tell));
    const stop = () => wake?.();
    signal.addEventListener("abort", stop, { once: true });
    try {
      while (!signal.aborted) {
        if (grown) {
          grown = false;
          yield;
          continue;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = undefined;
      }
    } finally {
      signal.removeEventListener("abort", stop);
      listeners.delete(tell);
      if (listeners.size === 0) this.#listeners.delete(sandboxId);
    }
  }

  #tell(sandboxId: string): void {
    for (const tell of this.#listeners.get(sandboxId) ?? []) tell();
  }

  async #openOrMissing(sandboxId: string, flags: number): Promise<FileHandle | undefined> {
    try {
      return await open(this.#path(sandboxId), flags);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  #path(sandboxId: string): string {
    return join(this.#folder, checkedSandboxId(sandboxId));
  }
}

/** Writes at the end alone, and tells those who read. */
export class JournalAppender {
  readonly #file: FileHandle;
  readonly #tell: () => void;
  #size: number;

  constructor(file: FileHandle, size: number, tell: () => void) {
    this.#file = file;
    this.#size = size;
    this.#tell = tell;
  }

  /** Where the next byte goes: also where the pod's journal is read on after a restart. */
  get size(): number {
    return this.#size;
  }

  async append(data: Uint8Array): Promise<void> {
    try {
      // A write that stops half-way leaves the size as it is on disk, and the rest is fetched again.
      for (let at = 0; at < data.length; ) {
        const { bytesWritten } = await this.#file.write(data, at);
        at += bytesWritten;
        this.#size += bytesWritten;
      }
    } catch (error) {
      throw storageError(error, "keeping a sandbox's journal");
    } finally {
      this.#tell();
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
