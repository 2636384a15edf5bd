import { NotFound } from "../domain/errors.ts";
import type { JournalFrame } from "../domain/journal.ts";
import { JournalParser } from "../domain/journal-parser.ts";
import type { JournalSource, SandboxFiles } from "../domain/ports/engine.ts";
import { Changes, type Latch } from "./changes.ts";

const LEAST_READ_BYTES = 64 * 1024;
const MOST_READ_BYTES = 1024 * 1024;
const NOTHING = new Uint8Array(0);
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

  /**
   * Begins at a frame boundary, 0 for the header; `latch` is set whenever the journal may have grown. With `passing`, frames are
   * only good until the next poll: much output is then read into one and the same buffer.
   */
  open(sandboxId: string, offset: number, latch: Latch, { passing = false } = {}): JournalReading {
    const journal = this.#enter(sandboxId);
    const deaf = this.#grown.listen(sandboxId, () => latch.set());
    const parser = new JournalParser();
    if (offset > 0) parser.startAt(offset);
    let position = offset;
    let length = LEAST_READ_BYTES;
    let ahead: Promise<Uint8Array> | undefined;
    let room: Uint8Array | undefined;
    return {
      poll: async () => {
        const begun =
          ahead ?? journal.reads.get(position) ?? (room && readOf(journal, position, length, room));
        ahead = undefined;
        let bytes = begun === undefined ? NOTHING : await begun;
        // One that began before this call may have come too early for what the caller knows to be written.
        if (bytes.length === 0) bytes = await this.#read(journal, position, length);
        if (bytes.length === 0) return undefined;
        position += bytes.length;
        const behind = bytes.length >= length;
        length = behind ? Math.min(4 * length, MOST_READ_BYTES) : LEAST_READ_BYTES;
        if (behind && passing) room ??= new Uint8Array(MOST_READ_BYTES);
        // A reader that is behind has its next bytes read while it sends these.
        else if (behind) ahead = journal.reads.get(position) ?? this.#read(journal, position, length);
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

  #read(journal: OpenJournal, offset: number, length: number): Promise<Uint8Array> {
    const read = readOf(journal, offset, length);
    journal.reads.set(offset, read);
    for (const old of journal.reads.keys()) {
      if (journal.reads.size <= KEPT_READS) break;
      journal.reads.delete(old);
    }
    // An empty or failed read says nothing about the next moment.
    const forget = () => {
      if (journal.reads.get(offset) === read) journal.reads.delete(offset);
    };
    read.then((bytes) => (bytes.length === 0 ? forget() : undefined), forget);
    return read;
  }
}

async function readOf(
  { source }: OpenJournal,
  offset: number,
  length: number,
  room?: Uint8Array,
): Promise<Uint8Array> {
  try {
    return await source.read(offset, length, room);
  } catch (error) {
    // Removed with its retention, or its sandbox never came to be: there is nothing to read, and a watch says so by a gap.
    if (error instanceof NotFound) return NOTHING;
    throw error;
  }
}
