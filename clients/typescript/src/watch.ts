import type { Task as TaskRecord } from "@longshore/proto/longshore/v1/task";
import { Task } from "@longshore/proto/longshore/v1/task";
import {
  LogChunk_Stream,
  type TaskEvent as ProtoEvent,
  TaskServiceService,
} from "@longshore/proto/longshore/v1/task_service";
import { Backoff } from "./backoff.ts";
import type { CallOptions, Channel } from "./channel.ts";
import { ConnectionLost, isConnectionLoss } from "./errors.ts";
import { isTerminal } from "./outcome.ts";

export type LogStream = "stdout" | "stderr" | "build";

interface EventBase {
  /** A watch with it goes on after this event. */
  readonly cursor: string;
  readonly time: Date | undefined;
}

/** The state, the wait or a stage changed. The record of a task that has ended is the last event of a watch. */
export interface TaskChanged extends EventBase {
  readonly kind: "task";
  readonly task: TaskRecord;
}

/** Output, as bytes. */
export interface LogEvent extends EventBase {
  readonly kind: "log";
  readonly stream: LogStream;
  readonly data: Uint8Array;
  readonly attempt: number;
  /** Place of the first byte in that attempt's stream. */
  readonly offset: number;
}

/** Output that is kept nowhere: over the budget or expired. Reading slowly never causes one. */
export interface GapEvent extends EventBase {
  readonly kind: "gap";
  readonly stream: LogStream;
  readonly droppedBytes: number;
  readonly attempt: number;
}

/** Nothing happened for a while. */
export interface HeartbeatEvent extends EventBase {
  readonly kind: "heartbeat";
}

export type TaskEvent = TaskChanged | LogEvent | GapEvent | HeartbeatEvent;

export interface WatchOptions extends CallOptions {
  /** Goes on after the event that carried it; without one the watch begins at the beginning. */
  readonly cursor?: string;
  /** False leaves the output out. */
  readonly logs?: boolean;
  /** False ends after what is there now. */
  readonly follow?: boolean;
  /** Without a cursor: begins at the last so many bytes of each stream. */
  readonly tailBytes?: number;
  /** Told each time the connection was lost, before it is tried again. */
  readonly onReconnect?: (error: Error) => void;
  /** How long to go on trying to reach a server that was there before; five minutes by default. */
  readonly reconnectForMillis?: number;
}

/** A server sends a heartbeat every 15 s: one that is silent for longer than this is gone, whatever the socket says. */
const SILENCE_MILLIS = 60_000;
const FIRST_CONNECT_MILLIS = 3_000;
const RECONNECT_MILLIS = 300_000;

/** Follows a task across lost connections and restarts of the server, without losing or repeating a byte. */
export async function* watchTask(
  channel: Channel,
  id: string,
  options: WatchOptions,
): AsyncGenerator<TaskEvent, void, undefined> {
  const watch = new Watch(options.cursor ?? "");
  const first = new Backoff({ giveUpMillis: FIRST_CONNECT_MILLIS });
  const again = new Backoff({ giveUpMillis: options.reconnectForMillis ?? RECONNECT_MILLIS });
  let seen = false;
  for (;;) {
    try {
      for await (const message of receive(channel, id, watch.cursor, options)) {
        seen = true;
        again.reset();
        yield* watch.take(message);
      }
      // A server that stops ends its streams in good order; only the terminal record says that nothing more will come.
      if (watch.ended || options.follow === false) return yield* watch.last();
      throw new ConnectionLost("the server ended the stream before the task ended", { code: "UNAVAILABLE" });
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      if (seen) options.onReconnect?.(error);
      await (seen ? again : first).wait(error, options.signal);
    }
  }
}

/** One stream of the server's, ended by silence too. */
async function* receive(
  channel: Channel,
  id: string,
  cursor: string,
  options: WatchOptions,
): AsyncGenerator<ProtoEvent, void, undefined> {
  const silence = new AbortController();
  const signal =
    options.signal === undefined ? silence.signal : AbortSignal.any([options.signal, silence.signal]);
  const request = {
    id,
    cursor,
    noFollow: options.follow === false,
    tailBytes: BigInt(cursor === "" ? (options.tailBytes ?? 0) : 0),
    text: false,
    noLogs: options.logs === false,
  };
  const stream = channel.serverStream(TaskServiceService.watchTask, request, { ...options, signal });
  const fallSilent = () =>
    silence.abort(
      new ConnectionLost(`the server sent nothing for ${SILENCE_MILLIS / 1000} s`, { code: "UNAVAILABLE" }),
    );
  try {
    for (;;) {
      // Counts only while we wait: a reader that takes its time is not a silent server.
      const timer = setTimeout(fallSilent, SILENCE_MILLIS);
      const { value, done } = await stream.next().finally(() => clearTimeout(timer));
      if (done === true || value === undefined) return;
      if (value.event !== undefined) yield value.event;
    }
  } finally {
    await stream.return();
  }
}

/** Where a watch stands, over all its connections. */
class Watch {
  #cursor: string;
  /** Next byte expected of each attempt's stream. */
  readonly #expected = new Map<string, number>();
  #latest: Uint8Array = new Uint8Array();
  #terminal: TaskChanged | undefined;

  constructor(cursor: string) {
    this.#cursor = cursor;
  }

  get cursor(): string {
    return this.#cursor;
  }

  get ended(): boolean {
    return this.#terminal !== undefined;
  }

  *take(message: ProtoEvent): Generator<TaskEvent, void, undefined> {
    const event = this.#read(message);
    if (message.cursor !== "") this.#cursor = message.cursor;
    if (event !== undefined) yield event;
  }

  /** The terminal record, kept back until all output is out: a watch of an ended task begins with it. */
  *last(): Generator<TaskEvent, void, undefined> {
    if (this.#terminal !== undefined) yield this.#terminal;
  }

  #read({ cursor, time, event }: ProtoEvent): TaskEvent | undefined {
    const base = { cursor, time };
    switch (event?.$case) {
      case "task":
        return this.#changed({ ...base, kind: "task", task: event.value });
      case "log": {
        const { stream, data, text, attempt, offsetBytes } = event.value;
        const bytes = text === "" ? data : new TextEncoder().encode(text);
        const offset = Number(offsetBytes);
        return this.#fresh({
          ...base,
          kind: "log",
          stream: streamName(stream),
          data: bytes,
          attempt,
          offset,
        });
      }
      case "gap": {
        const { stream, droppedBytes, attempt } = event.value;
        return {
          ...base,
          kind: "gap",
          stream: streamName(stream),
          droppedBytes: Number(droppedBytes),
          attempt,
        };
      }
      case "heartbeat":
        return { ...base, kind: "heartbeat" };
      default:
        // An event of a newer server.
        return undefined;
    }
  }

  /** Every connection begins with the present record; one that says nothing new is no event. */
  #changed(event: TaskChanged): TaskChanged | undefined {
    if (isTerminal(event.task)) {
      this.#terminal = event;
      return undefined;
    }
    const bytes = Task.encode(event.task).finish();
    if (Buffer.compare(bytes, this.#latest) === 0) return undefined;
    this.#latest = bytes;
    return event;
  }

  /** The part of a chunk that was not seen before. */
  #fresh(event: LogEvent): LogEvent | undefined {
    const key = `${event.attempt}/${event.stream}`;
    const expected = this.#expected.get(key) ?? 0;
    const end = event.offset + event.data.length;
    if (end <= expected) return undefined;
    this.#expected.set(key, end);
    const seen = Math.max(0, expected - event.offset);
    return seen === 0 ? event : { ...event, data: event.data.subarray(seen), offset: expected };
  }
}

function streamName(stream: LogChunk_Stream): LogStream {
  if (stream === LogChunk_Stream.STDERR) return "stderr";
  return stream === LogChunk_Stream.BUILD ? "build" : "stdout";
}
