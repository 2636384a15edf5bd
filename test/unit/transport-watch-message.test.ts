import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { LogChunk_Stream, WatchTaskResponse } from "@longshore/proto/longshore/v1/task_service.ts";
import { watchEncoder } from "#server/transport/watch-message.ts";

const encodeWatchResponse = watchEncoder();

const log = (bytes: number): WatchTaskResponse =>
  WatchTaskResponse.fromPartial({
    event: {
      cursor: "cursor-1",
      time: new Date("2026-01-02T03:04:05.678Z"),
      event: {
        $case: "log",
        value: {
          stream: LogChunk_Stream.STDERR,
          data: new Uint8Array(randomBytes(bytes)),
          attempt: 3,
          offsetBytes: 2n ** 40n,
        },
      },
    },
  });

test("output of every length reads back as it was, on both sides of each length of a varint", () => {
  for (const bytes of [0, 1, 8191, 8192, 16_300, 16_383, 16_384, 262_144, 1_048_576, 2_097_151, 2_097_152]) {
    const message = log(bytes);
    const expected = WatchTaskResponse.decode(WatchTaskResponse.encode(message).finish());
    assert.deepEqual(
      WatchTaskResponse.decode(new Uint8Array(encodeWatchResponse(message))),
      expected,
      `${bytes} bytes`,
    );
  }
});

test("what is no output is encoded as the generated code does it", () => {
  for (const message of [
    WatchTaskResponse.fromPartial({}),
    WatchTaskResponse.fromPartial({ event: { cursor: "c", event: { $case: "heartbeat", value: {} } } }),
  ]) {
    assert.deepEqual(encodeWatchResponse(message), Buffer.from(WatchTaskResponse.encode(message).finish()));
  }
});
