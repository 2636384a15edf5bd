import {
  LogChunk_Stream,
  type TaskEvent as WireTaskEvent,
} from "@longshore/proto/longshore/v1/task_service.ts";
import { isTerminal } from "#server/domain/task.ts";
import type { LogOutput, TaskEvent } from "#server/domain/task-event.ts";
import { taskToProto } from "./task-to-proto.ts";
import { type LogPiece, TextCutter } from "./text-cutter.ts";
import { int64 } from "./to-wire.ts";

const NO_BYTES = new Uint8Array();

/** A watch in its wire form, output as bytes. */
export async function* eventsAsData(source: AsyncIterable<TaskEvent>): AsyncGenerator<WireTaskEvent> {
  for await (const event of source)
    yield event.kind === "log" ? logToProto(event) : otherToProto(event, event.cursor);
}

/** A watch in its wire form, output as text wherever it is text. */
export async function* eventsAsText(source: AsyncIterable<TaskEvent>): AsyncGenerator<WireTaskEvent> {
  const cutter = new TextCutter();
  for await (const event of source) {
    if (event.kind === "log") {
      yield* cutter.push(event).map(logToProto);
      continue;
    }
    const endsOutput = event.kind === "gap" || (event.kind === "task" && isTerminal(event.task.state));
    if (endsOutput) yield* cutter.flush().map(logToProto);
    yield otherToProto(event, cutter.cursorOf(event));
  }
  yield* cutter.flush().map(logToProto);
}

function logToProto(piece: LogPiece): WireTaskEvent {
  const value = {
    stream: LogChunk_Stream[piece.stream],
    data: "data" in piece ? piece.data : NO_BYTES,
    text: "text" in piece ? piece.text : "",
    attempt: piece.attempt,
    offsetBytes: int64(piece.offset),
  };
  return { cursor: piece.cursor, time: piece.time, event: { $case: "log", value } };
}

function otherToProto(event: Exclude<TaskEvent, LogOutput>, cursor: string): WireTaskEvent {
  return { cursor, time: event.time, event: payload(event) };
}

function payload(event: Exclude<TaskEvent, LogOutput>): WireTaskEvent["event"] {
  switch (event.kind) {
    case "task": {
      const view = isTerminal(event.task.state) ? "full" : "basic";
      return { $case: "task", value: taskToProto(event.task, view) };
    }
    case "gap": {
      const { attempt, droppedBytes } = event;
      const stream = LogChunk_Stream[event.stream];
      return { $case: "gap", value: { stream, attempt, droppedBytes: int64(droppedBytes) } };
    }
    case "heartbeat":
      return { $case: "heartbeat", value: {} };
  }
}
