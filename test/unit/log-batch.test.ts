import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LogBatcher } from "#server/application/log-batch.ts";
import { decodeCursor, START } from "#server/application/watch-cursor.ts";
import { BadCursor } from "#server/domain/errors.ts";
import { FRAME_HEADER_BYTES, type JournalFrame } from "#server/domain/journal.ts";
import type { LogGap, LogOutput } from "#server/domain/task-event.ts";

const HEADER_BYTES = 36;

/** Frames as a parser would hand them out, at their places in a journal. */
function frames(parts: readonly (readonly ["STDOUT" | "STDERR", Uint8Array])[]): JournalFrame[] {
  let offset = HEADER_BYTES;
  return parts.map(([stream, data]) => {
    const frame: JournalFrame = {
      kind: "log",
      stream,
      data,
      offset,
      end: offset + FRAME_HEADER_BYTES + data.length,
      time: new Date(0),
    };
    offset = frame.end;
    return frame;
  });
}

function outputOf(events: Iterable<LogOutput | LogGap>): { STDOUT: string; STDERR: string } {
  const output = { STDOUT: "", STDERR: "" };
  for (const event of events) {
    if (event.kind !== "log" || event.stream === "BUILD") continue;
    assert.equal(event.offset, output[event.stream].length, "the offset is the place in the stream");
    output[event.stream] += Buffer.from(event.data).toString("latin1");
  }
  return output;
}

const part = fc.tuple(
  fc.constantFrom("STDOUT" as const, "STDERR" as const),
  fc.uint8Array({ minLength: 1, maxLength: 30 }),
);

test("from every cursor, within an event too, the rest comes exactly once", () => {
  fc.assert(
    fc.property(
      fc.array(part, { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 5 }),
      (parts, choices) => {
        const journal = frames(parts);
        const whole = outputOf(new LogBatcher({ ...START, attempt: 1 }).events(journal));
        const got = { STDOUT: "", STDERR: "" };
        let cursor = "";
        // Each round takes one event, cuts it somewhere, and goes on from there as a new watch would.
        for (let round = 0; ; round++) {
          const batcher = new LogBatcher(cursor === "" ? START : decodeCursor(cursor));
          const rest = journal.filter((frame) => frame.offset >= batcher.frame);
          const event: LogOutput | LogGap | undefined = batcher.events(rest).next().value ?? undefined;
          if (event === undefined) break;
          assert.ok(event.kind === "log" && event.stream !== "BUILD");
          assert.equal(event.offset, got[event.stream].length);
          const most = event.data.length;
          const cut = 1 + ((choices[round % choices.length] ?? 0) % most);
          got[event.stream] += Buffer.from(event.data.subarray(0, cut)).toString("latin1");
          cursor = event.cursorAt(cut);
        }
        assert.deepEqual(got, whole);
      },
    ),
    { numRuns: 500 },
  );
});

for (const text of [
  "",
  "nonsense",
  "1-2-3",
  "2-1-1-0-0-0-0-0",
  "1-1-0-0-0-0-0-0",
  "1-1-1-0-0-0-0-zzzzzzzzzzzzzzz",
  "1-1-1-A-0-0-0-0",
]) {
  test(`"${text}" is no cursor`, () => assert.throws(() => decodeCursor(text), BadCursor));
}
