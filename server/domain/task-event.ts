import type { Task } from "./task.ts";

/** Where output was written; BUILD is the output of an environment's build. */
export type LogStream = "STDOUT" | "STDERR" | "BUILD";

interface At {
  /** Opaque; a watch with it goes on after this event, across restarts. */
  readonly cursor: string;
  readonly time: Date;
}

/** State, wait or a stage changed, or a watch has begun. */
export interface TaskSnapshot extends At {
  readonly kind: "task";
  readonly task: Task;
}

/** A run of bytes of one stream. */
export interface LogOutput extends At {
  readonly kind: "log";
  readonly stream: LogStream;
  readonly attempt: number;
  /** Place of the first byte in that attempt's stream. */
  readonly offset: number;
  readonly data: Uint8Array;
  /**
   * The cursor inside this event: a watch with it goes on at `data[byteOffset]`. `cursorAt(0)` repeats the whole event,
   * `cursorAt(data.length)` is `cursor`. Needed because output that is sent as text is cut between characters.
   */
  cursorAt(byteOffset: number): string;
}

/** Output that is kept nowhere: over the budget or expired. Never because a reader is slow. */
export interface LogGap extends At {
  readonly kind: "gap";
  readonly stream: LogStream;
  readonly attempt: number;
  readonly droppedBytes: number;
}

/** Nothing happened for a while. */
export interface Heartbeat extends At {
  readonly kind: "heartbeat";
}

/** What a watch of one task yields; the terminal snapshot is the last event and comes after the last byte of output. */
export type TaskEvent = TaskSnapshot | LogOutput | LogGap | Heartbeat;
