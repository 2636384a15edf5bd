import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { LogOutput } from "#server/domain/task-event.ts";
import { type LogPiece, TextCutter } from "#server/transport/translate/text-cutter.ts";

/** One write of a task; a log is a row of them and a cursor is how many bytes of all of them were seen. */
interface Write {
  readonly stream: "STDOUT" | "STDERR";
  readonly attempt: number;
  readonly bytes: Uint8Array;
}

/** The events of a log from a cursor on, each run of bytes cut into events of at most `most` bytes. */
function eventsFrom(log: readonly Write[], cursor: number, most: number): LogOutput[] {
  const events: LogOutput[] = [];
  const offsets = new Map<string, number>();
  let place = 0;
  for (const { stream, attempt, bytes } of log) {
    const offset = offsets.get(`${stream} ${attempt}`) ?? 0;
    offsets.set(`${stream} ${attempt}`, offset + bytes.length);
    for (let from = Math.max(0, cursor - place); from < bytes.length; from += most) {
      const data = bytes.subarray(from, from + most);
      const begin = place + from;
      const cursorAt = (byteOffset: number) => String(begin + byteOffset);
      const at = { time: new Date(0), cursor: cursorAt(data.length), cursorAt };
      events.push({ kind: "log", stream, attempt, offset: offset + from, data, ...at });
    }
    place += bytes.length;
  }
  return events;
}

function cut(events: readonly LogOutput[]): LogPiece[] {
  const cutter = new TextCutter();
  return [...events.flatMap((event) => cutter.push(event)), ...cutter.flush()];
}

function bytesOf(piece: LogPiece): Buffer {
  return "text" in piece ? Buffer.from(piece.text) : Buffer.from(piece.data);
}

/** The bytes of each stream and attempt, and that every piece is at the place it claims. */
function streamsOf(pieces: readonly LogPiece[], places = new Map<string, number>()): Map<string, string> {
  const streams = new Map<string, string>();
  for (const piece of pieces) {
    const key = `${piece.stream} ${piece.attempt}`;
    const bytes = bytesOf(piece);
    const expected = places.get(key);
    if (expected !== undefined) assert.equal(piece.offset, expected, "pieces of a stream follow one another");
    places.set(key, piece.offset + bytes.length);
    streams.set(key, (streams.get(key) ?? "") + bytes.toString("hex"));
  }
  return streams;
}

function joined(before: Map<string, string>, after: Map<string, string>): Map<string, string> {
  const keys = [...new Set([...before.keys(), ...after.keys()])].sort();
  return new Map(keys.map((key) => [key, (before.get(key) ?? "") + (after.get(key) ?? "")]));
}

const bytes = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: "grapheme", maxLength: 6 }).map((text) => Buffer.from(text)) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 4 }).map((data) => Buffer.from(data)) },
);
const log = fc.array(
  fc.record({ stream: fc.constantFrom("STDOUT", "STDERR"), attempt: fc.integer({ min: 1, max: 2 }), bytes }),
  { maxLength: 12 },
);
const most = fc.integer({ min: 1, max: 5 });

describe("output as text", () => {
  test("is the output byte for byte, however it is cut", () => {
    fc.assert(
      fc.property(log, most, (writes, size) => {
        const whole = streamsOf(eventsFrom(writes, 0, 1_000));
        assert.deepEqual(
          joined(streamsOf(cut(eventsFrom(writes, 0, size))), new Map()),
          joined(whole, new Map()),
        );
      }),
    );
  });

  test("goes on from the cursor of any piece without a byte missing or repeated", () => {
    fc.assert(
      fc.property(log, most, most, (writes, size, sizeAfter) => {
        const pieces = cut(eventsFrom(writes, 0, size));
        const whole = joined(streamsOf(pieces), new Map());
        pieces.forEach(({ cursor }, index) => {
          const rest = cut(eventsFrom(writes, Number(cursor), sizeAfter));
          const places = new Map<string, number>();
          const before = streamsOf(pieces.slice(0, index + 1), places);
          assert.deepEqual(joined(before, streamsOf(rest, places)), whole, `resumed after piece ${index}`);
        });
      }),
    );
  });

  test("goes on without loss from the cursor of an event between two pieces", () => {
    fc.assert(
      fc.property(log, most, (writes, size) => {
        const events = eventsFrom(writes, 0, size);
        const cutter = new TextCutter();
        const sent: LogPiece[] = [];
        const whole = joined(streamsOf(cut(events)), new Map());
        for (const event of events) {
          sent.push(...cutter.push(event));
          const rest = cut(eventsFrom(writes, Number(cutter.cursorOf(event)), size));
          assert.deepEqual(joined(streamsOf(sent), streamsOf(rest)), whole);
        }
      }),
    );
  });

  test("never cuts inside a character while only one stream is written", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }), most, (text, size) => {
        const writes = [{ stream: "STDOUT", attempt: 1, bytes: Buffer.from(text) } as const];
        const pieces = cut(eventsFrom(writes, 0, size));
        assert.equal(pieces.map((piece) => ("text" in piece ? piece.text : "(bytes)")).join(""), text);
      }),
    );
  });

  test("comes as bytes where another stream was written into a character", () => {
    const euro = Buffer.from("€");
    const pieces = cut(
      eventsFrom(
        [
          { stream: "STDOUT", attempt: 1, bytes: Buffer.concat([Buffer.from("5 "), euro.subarray(0, 1)]) },
          { stream: "STDERR", attempt: 1, bytes: Buffer.from("oops") },
          { stream: "STDOUT", attempt: 1, bytes: Buffer.concat([euro.subarray(1), Buffer.from(" net")]) },
        ],
        0,
        100,
      ),
    );
    const told = pieces.map((piece) => ("text" in piece ? piece.text : piece.data));
    assert.deepEqual(told, ["5 ", euro.subarray(0, 1), "oops", euro.subarray(1), " net"]);
  });

  test("keeps a byte order mark and NUL", () => {
    const [piece] = cut(
      eventsFrom([{ stream: "STDOUT", attempt: 1, bytes: Buffer.from("\ufeffa\0b") }], 0, 100),
    );
    assert.ok(piece !== undefined && "text" in piece);
    assert.equal(piece.text, "\ufeffa\0b");
  });
});
