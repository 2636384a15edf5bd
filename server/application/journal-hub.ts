import { NotFound } from "../domain/errors.ts";
import type { JournalFrame } from "../domain/journal.ts";
import { JournalParser } from "../domain/journal-parser.ts";
import type { JournalSource, SandboxFiles } from "../domain/ports/engine.ts";
import { Changes, type Latch } from "./changes.ts";

const READ_BYTES = 1024 * 1024;
/** Watchers at the head of one journal read the same few places; behind it they share nothing. */
const KEPT_READS = 4;

interface OpenJournal {
  readonly source: JournalSource;
  readonly stop: AbortController;
  readonly reads: Map<number, Promise<Uint8Array>>;
  readers: number;
}

/** One reader's place in a journal. */
export interface JournalReading extends Disposable {
  /**
   * The next whole frames, many at once when behind; [] when only a part of a frame has come, undefined when nothing has.
   * Never waits for growth: the latch given to `open` tells of it. Throws DamagedJournal.
   */
  poll(): Promise<JournalFrame[] | undefined>;
}

/** Reads journals for any number of readers: one watch of the file and one read of each place for all that follow its head. */
export class JournalHub {
  readonly #files: SandboxFiles;
  readonly #open = new Map<string, OpenJournal>();
  readonly #grown = new Changes();

  constructor(files: SandboxFiles) {
    this.#files = files;
  }

  /** Begins at a frame boundary, 0 for the header; `latch` is set whenever the journal may have grown. */
  open(sandboxId: string, offset: number, latch: Latch): JournalReading {
    const journal = this.#enter(sandboxId);
    const deaf = this.#grown.listen(sandboxId, () => latch.set());
    const parser = new JournalParser();
    if (offset > 0) parser.startAt(offset);
    let position = offset;
    return {
      poll: async () => {
        const bytes = await this.#readAt(journal, position);
        if (bytes.length === 0) return undefined;
        position += bytes.length;
        return parser.push(bytes);
      },
      [Symbol.dispose]: () => {
        deaf();
        this.#leave(sandboxId, journal);
      },
    };
  }

  #enter(sandboxId: string): OpenJournal {
    let journal = this.#open.get(sandboxId);
    if (journal === undefined) {
      journal = {
        source: this.#files.journal(sandboxId),
        stop: new AbortController(),
        reads: new Map(),
        readers: 0,
      };
      this.#open.set(sandboxId, journal);
      void this.#pump(sandboxId, journal);
    }
    journal.readers++;
    return journal;
  }

  #leave(sandboxId: string, journal: OpenJournal): void {
    journal.readers--;
    if (journal.readers > 0) return;
    this.#open.delete(sandboxId);
    journal.stop.abort();
  }

  async #pump(sandboxId: string, journal: OpenJournal): Promise<void> {
    for await (const _ of journal.source.changes(journal.stop.signal)) this.#grown.tell(sandboxId);
  }

  #readAt(journal: OpenJournal, offset: number): Promise<Uint8Array> {
    const kept = journal.reads.get(offset);
    if (kept !== undefined) return kept;
    const read = journal.source.read(offset, READ_BYTES).catch((error: unknown) => {
      // Removed with its retention, or its sandbox never came to be: there is nothing to read, and a watch says so by a gap.
      if (error instanceof NotFound) return new Uint8Array(0);
      throw error;
    });
    journal.reads.set(offset, read);
    for (const old of journal.reads.keys()) {
      if (journal.reads.size <= KEPT_READS) break;
      journal.reads.delete(old);
    }
    // An empty or failed read says nothing about the next moment.
    const forget = () => journal.reads.delete(offset);
    read.then((bytes) => (bytes.length === 0 ? forget() : undefined), forget);
    return read;
  }
}
