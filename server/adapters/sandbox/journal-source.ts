import { type FSWatcher, watch } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { DamagedJournal } from "../../domain/journal.ts";
import type { JournalSource } from "../../domain/ports/engine.ts";

/** Covers file systems without inotify, and a watch that the kernel refused. */
const POLL_MILLIS = 500;
const POLL_WITHOUT_WATCH_MILLIS = 50;
/** A watch that tells of growth can still lose some when very much grows at once. Thousands of silent tasks are not to be asked more often. */
const POLL_BESIDE_WATCH_MILLIS = 5000;

/** Gives an open journal to `use`; the journal may be kept open by a live sandbox or opened for this one call. */
export type WithJournal = <T>(use: (journal: FileHandle) => Promise<T>) => Promise<T>;

export class FileJournalSource implements JournalSource {
  readonly #path: string;
  readonly #withJournal: WithJournal;

  constructor(path: string, withJournal: WithJournal) {
    this.#path = path;
    this.#withJournal = withJournal;
  }

  size(): Promise<number> {
    return this.#withJournal(async (journal) => (await journal.stat()).size);
  }

  read(offset: number, length: number, room?: Uint8Array): Promise<Uint8Array> {
    return this.#withJournal(async (journal) => {
      const into = room ?? Buffer.allocUnsafeSlow(length);
      const { bytesRead, buffer } = await journal.read(into, 0, Math.min(length, into.length), offset);
      if (bytesRead === 0) {
        const { size } = await journal.stat();
        // The file is append-only for an honest runner, so only tampering makes it shorter than what was read before.
        if (size < offset) throw new DamagedJournal(`the file shrank to ${size} bytes`, size);
        return new Uint8Array(0);
      }
      const bytes = buffer.subarray(0, bytesRead);
      // What little came must not keep the room that was made for much.
      return room === undefined && bytesRead * 4 < length ? Buffer.from(bytes) : bytes;
    });
  }

  async *changes(signal: AbortSignal): AsyncGenerator<void> {
    let grown = true;
    let wake: (() => void) | undefined;
    const tell = () => {
      grown = true;
      wake?.();
    };
    await using cleanup = new AsyncDisposableStack();
    const poll = new SizePoll(() => this.size(), tell);
    cleanup.defer(() => poll.stop());
    const watcher = this.#watch(() => {
      poll.watchTold();
      tell();
    });
    if (watcher !== undefined) cleanup.defer(() => watcher.close());
    poll.start(watcher === undefined ? POLL_WITHOUT_WATCH_MILLIS : POLL_MILLIS);
    const stop = () => wake?.();
    signal.addEventListener("abort", stop, { once: true });
    cleanup.defer(() => signal.removeEventListener("abort", stop));
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
  }

  #watch(tell: () => void): FSWatcher | undefined {
    try {
      const watcher = watch(this.#path, tell);
      // A watch that breaks later (the journal was removed) leaves the poll, which finds that out.
      watcher.on("error", tell);
      return watcher;
    } catch {
      // No inotify here, or no watch left for this user: polling alone still tells of every byte.
      return undefined;
    }
  }
}

/** Looks at a size from time to time and tells when it is another: seldom while a watch tells of it beforehand. */
class SizePoll {
  readonly #size: () => Promise<number>;
  readonly #tell: () => void;
  #pauseMillis = 0;
  #seen: number | undefined;
  #watchTells = false;
  #toldByWatch = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(size: () => Promise<number>, tell: () => void) {
    this.#size = size;
    this.#tell = tell;
  }

  start(pauseMillis: number): void {
    this.#pauseMillis = pauseMillis;
    this.#plan();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  watchTold(): void {
    this.#watchTells = true;
    this.#toldByWatch = true;
  }

  #plan(): void {
    if (this.#stopped) return;
    const pause = this.#watchTells ? POLL_BESIDE_WATCH_MILLIS : this.#pauseMillis;
    this.#timer = setTimeout(() => void this.#look(), pause);
  }

  async #look(): Promise<void> {
    const toldByWatch = this.#toldByWatch;
    this.#toldByWatch = false;
    // What is gone or cannot be read is for the reader to find out, as if it had grown.
    const size = await this.#size().catch(() => undefined);
    if (size === undefined || size !== this.#seen) {
      // It grew, and the watch said nothing: on a file system of several machines it may tell of this one's writes alone.
      if (!toldByWatch && !this.#toldByWatch) this.#watchTells = false;
      this.#seen = size;
      this.#tell();
    }
    this.#plan();
  }
}
