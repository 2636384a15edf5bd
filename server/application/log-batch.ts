import type { JournalFrame, LogStream } from "../domain/journal.ts";
import type { WrittenAttempt } from "../domain/task.ts";
import type { LogGap, LogOutput } from "../domain/task-event.ts";
import type { BuildOutput } from "./build-output.ts";
import { encodeCursor, type WatchCursor } from "./watch-cursor.ts";

/** Large enough to keep a fast task's stream full, small enough for every client's default message limit. */
const MOST_BATCH_BYTES = 256 * 1024;

/** From here on, sending a frame alone costs less than copying it to its neighbours. */
const LARGE_FRAME_BYTES = 64 * 1024;

type LogFrame = Extract<JournalFrame, { kind: "log" }>;

interface Part {
  readonly frame: number;
  /** Payload bytes of the frame that were sent before this batch. */
  readonly skip: number;
  /** Place of the part in the batch. */
  readonly start: number;
}

/** Walks the frames of one journal and makes events of them: neighbours of one stream become one event. */
export class LogBatcher {
  readonly #attempt: number;
  readonly #totals: Record<LogStream, number>;
  #version: number;
  /** Journal place up to which everything was sent. */
  #frame: number;
  #skip: number;

  constructor(from: WatchCursor) {
    this.#attempt = from.attempt;
    this.#version = from.version;
    this.#frame = from.frame;
    this.#skip = from.skip;
    this.#totals = { STDOUT: from.stdout, STDERR: from.stderr, BUILD: from.build };
  }

  set version(version: number) {
    this.#version = version;
  }

  /** Where the journal is to be read from: the frame that the cursor lies in. */
  get frame(): number {
    return this.#frame;
  }

  cursor(): string {
    return encodeCursor(this.#at(this.#frame, this.#skip, this.#totals));
  }

  *events(frames: readonly JournalFrame[]): Generator<LogOutput | LogGap> {
    let run: LogFrame[] = [];
    let bytes = 0;
    for (const frame of frames) {
      const joins =
        frame.kind === "log" &&
        run[0]?.stream === frame.stream &&
        frame.data.length < LARGE_FRAME_BYTES &&
        (run.length > 1 || bytes < LARGE_FRAME_BYTES) &&
        bytes + frame.data.length <= MOST_BATCH_BYTES;
      if (!joins && run.length > 0) {
        yield* this.#output(run);
        run = [];
        bytes = 0;
      }
      if (frame.kind === "log") {
        run.push(frame);
        bytes += frame.data.length;
      } else {
        if (frame.kind === "gap") yield this.#gap(frame);
        this.#pass(frame);
      }
    }
    if (run.length > 0) yield* this.#output(run);
  }

  /**
   * The output of the environment's build that was not sent yet; undefined where there is none. It comes before the first frame of the
   * first attempt, so its place is a count alone.
   */
  built(build: BuildOutput, time: Date): LogOutput | undefined {
    const offset = this.#totals.BUILD;
    if (this.#attempt !== 1 || this.#frame !== 0 || build.bytes <= offset) return undefined;
    const data = build.from(offset);
    this.#totals.BUILD += data.length;
    const at = (sent: number) => encodeCursor(this.#at(0, 0, { ...this.#totals, BUILD: offset + sent }));
    return {
      ...({ kind: "log", stream: "BUILD", attempt: 1, time, offset, data } as const),
      ...{ cursor: at(data.length), cursorAt: at },
    };
  }

  /** What the record counted of an ended attempt but its journal no longer holds, because it expired or was damaged. */
  *missing(attempt: WrittenAttempt): Generator<LogGap> {
    for (const [stream, total] of [
      ["STDOUT", attempt.result?.stdoutBytes ?? 0],
      ["STDERR", attempt.result?.stderrBytes ?? 0],
    ] as const) {
      const droppedBytes = total - this.#totals[stream];
      if (droppedBytes <= 0) continue;
      this.#totals[stream] = total;
      const time = attempt.endTime ?? attempt.startTime;
      yield { kind: "gap", cursor: this.cursor(), time, stream, attempt: this.#attempt, droppedBytes };
    }
  }

  #pass(frame: JournalFrame): void {
    this.#frame = frame.end;
    this.#skip = 0;
  }

  #gap(frame: Extract<JournalFrame, { kind: "gap" }>): LogGap {
    this.#totals[frame.stream] += frame.bytes;
    this.#pass(frame);
    const { stream, time } = frame;
    return {
      kind: "gap",
      cursor: this.cursor(),
      time,
      stream,
      attempt: this.#attempt,
      droppedBytes: frame.bytes,
    };
  }

  *#output(run: readonly LogFrame[]): Generator<LogOutput> {
    const first = run[0];
    if (first === undefined) return;
    const { stream } = first;
    const before = { ...this.#totals };
    const parts: Part[] = [];
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (const frame of run) {
      const skip = frame.offset === this.#frame ? this.#skip : 0;
      parts.push({ frame: frame.offset, skip, start: length });
      const piece = skip > 0 ? frame.data.subarray(skip) : frame.data;
      pieces.push(piece);
      length += piece.length;
      this.#totals[stream] += frame.data.length;
      this.#pass(frame);
    }
    const offset = before[stream] + (parts[0]?.skip ?? 0);
    const cursor = this.cursor();
    if (length === 0) return;
    const version = this.#version;
    yield {
      kind: "log",
      cursor,
      time: first.time,
      stream,
      attempt: this.#attempt,
      offset,
      data: pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces),
      cursorAt: (byteOffset) => {
        if (byteOffset >= length) return cursor;
        const part = parts.findLast((candidate) => candidate.start <= byteOffset);
        if (part === undefined) return cursor;
        // Totals stand for the start of the frame; the skipped bytes are added when the frame is read again.
        const totals = {
          ...before,
          [stream]: before[stream] + part.start + (part.start === 0 ? 0 : (parts[0]?.skip ?? 0)),
        };
        return encodeCursor({
          ...this.#at(part.frame, part.skip + byteOffset - part.start, totals),
          version,
        });
      },
    };
  }

  #at(frame: number, skip: number, totals: Readonly<Record<LogStream, number>>): WatchCursor {
    return {
      version: this.#version,
      attempt: this.#attempt,
      frame,
      skip,
      stdout: totals.STDOUT,
      stderr: totals.STDERR,
      build: totals.BUILD,
    };
  }
}
