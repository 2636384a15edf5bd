import { LogChunk, TaskEvent, WatchTaskResponse } from "@longshore/proto/longshore/v1/task_service.ts";

/** Below this the generated code is as fast. */
const LEAST_BYTES = 8 * 1024;
const NO_BYTES = new Uint8Array();

/** Tags of length-delimited fields, as protobuf writes them. */
const tagOf = (field: number) => (field << 3) | 2;
const RESPONSE_EVENT = tagOf(1);
const EVENT_LOG = tagOf(4);
const CHUNK_DATA = tagOf(2);

/**
 * Makes the encoder of WatchTaskResponse. A large piece of output is copied once, into a buffer that is used again: what was
 * answered before is good until the next call, and grpc-js copies it at once. The generated code copies it for each of the messages
 * around it and again whenever its buffer grows, which was half of what sending a log cost.
 */
export function watchEncoder(): (message: WatchTaskResponse) => Buffer {
  let room = Buffer.alloc(0);
  return (message) => {
    const { event } = message;
    const log = event?.event?.$case === "log" ? event.event.value : undefined;
    if (event === undefined || log === undefined || log.data.length < LEAST_BYTES)
      return Buffer.from(WatchTaskResponse.encode(message).finish());
    const { data } = log;
    const head = TaskEvent.encode({ ...event, event: undefined }).finish();
    const rest = LogChunk.encode({ ...log, data: NO_BYTES }).finish();
    const chunkLength = rest.length + 1 + varintLength(data.length) + data.length;
    const eventLength = head.length + 1 + varintLength(chunkLength) + chunkLength;
    const length = 1 + varintLength(eventLength) + eventLength;
    if (room.length < length) room = Buffer.allocUnsafeSlow(2 * length);
    let at = writePrefix(room, 0, RESPONSE_EVENT, eventLength);
    room.set(head, at);
    at = writePrefix(room, at + head.length, EVENT_LOG, chunkLength);
    room.set(rest, at);
    at = writePrefix(room, at + rest.length, CHUNK_DATA, data.length);
    room.set(data, at);
    return room.subarray(0, length);
  };
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) length++;
  return length;
}

/** A tag and a length; answers where to go on. */
function writePrefix(buffer: Buffer, start: number, tag: number, length: number): number {
  let at = start;
  buffer[at++] = tag;
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) buffer[at++] = (rest & 0x7f) | 0x80;
  buffer[at++] = rest;
  return at;
}
