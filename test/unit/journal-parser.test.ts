import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { DamagedJournal, type JournalFrame } from "../../server/domain/journal.ts";
import { JournalParser } from "../../server/domain/journal-parser.ts";
import { endPayload, FRAME_KINDS, journalFrame, journalHeader } from "../support/fakes/journal-writer.ts";

const ATTEMPT = "01JABCDEFGHJKMNPQRSTVWXYZ0";
const TIME = new Date("2026-01-02T03:04:05.678Z");

function journal(...frames: Buffer[]): Buffer {
  return Buffer.concat([journalHeader(ATTEMPT), ...frames]);
}

/** Frames before any damage, and the damage; bytes given in the pieces that `cuts` makes of them. */
function readAll(bytes: Uint8Array, cuts: readonly number[] = [], parser = new JournalParser()) {
  const frames: JournalFrame[] = [];
  const bounds = [0, ...[...cuts].sort((a, b) => a - b), bytes.length];
  try {
    for (let i = 1; i < bounds.length; i++) {
      // A copy per piece: frames may be views of what was pushed, never of a buffer that another piece overwrites.
      frames.push(...parser.push(Uint8Array.from(bytes.subarray(bounds[i - 1], bounds[i]))));
    }
    parser.finish();
    return { frames: frames.map(comparable), damage: undefined };
  } catch (error) {
    assert.ok(error instanceof DamagedJournal, String(error));
    return { frames: frames.map(comparable), damage: error.message };
  }
}

function comparable(frame: JournalFrame) {
  return frame.kind === "log" ? { ...frame, data: Buffer.from(frame.data).toString("hex") } : frame;
}

const SAMPLE = journal(
  journalFrame("accepted", { attempt_id: ATTEMPT, pid: 7 }, TIME),
  journalFrame("stage", { stage: "run", event: "start", note: "" }, TIME),
  journalFrame("stdout", Buffer.from("hello\n"), TIME),
  journalFrame("stderr", Buffer.from([0, 255, 10]), TIME),
  journalFrame("build", Buffer.from("Collecting x\n"), TIME),
  journalFrame(200, Buffer.from("from a later version"), TIME),
  journalFrame("gap", { stream: "stdout", bytes: 12 }, TIME),
  journalFrame("usage", { cpu_micros: 5, ram_bytes: 6, processes: 2, storage_bytes: 0 }, TIME),
  journalFrame("stdout", Buffer.alloc(0), TIME),
  journalFrame(
    "end",
    endPayload({ exit_code: 3, limits_hit: ["ram", "ram", "nonsense"], limit: "ram" }),
    TIME,
  ),
);

describe("JournalParser", () => {
  test("reads every kind of frame with its place and time", () => {
    const parser = new JournalParser({ attemptId: ATTEMPT });
    const frames = parser.push(SAMPLE);
    assert.deepEqual(
      frames.map((frame) => frame.kind),
      ["accepted", "stage", "log", "log", "log", "unknown", "gap", "usage", "log", "end"],
    );
    let place = journalHeader(ATTEMPT).length;
    for (const frame of frames) {
      assert.equal(frame.offset, place);
      assert.deepEqual(frame.time, TIME);
      place = frame.end;
    }
    assert.equal(place, SAMPLE.length);
    assert.equal(parser.consumed, SAMPLE.length);
    assert.equal(parser.ended, true);
    assert.equal(parser.finish(), 0);
    const end = frames.at(-1);
    assert.ok(end?.kind === "end");
    assert.equal(end.ending.reason, "EXITED");
    assert.equal(end.ending.exitCode, 3);
    assert.equal(end.ending.limit, "RAM");
    assert.deepEqual(end.ending.limitsHit, ["RAM"]);
    const [, , stdout, stderr] = frames;
    assert.ok(stdout?.kind === "log" && stdout.stream === "STDOUT");
    assert.equal(Buffer.from(stdout.data).toString(), "hello\n");
    assert.ok(stderr?.kind === "log" && stderr.stream === "STDERR");
    assert.deepEqual([...stderr.data], [0, 255, 10]);
  });

  test("any split of the bytes gives the same frames", () => {
    const whole = readAll(SAMPLE);
    fc.assert(
      fc.property(fc.array(fc.nat(SAMPLE.length), { maxLength: 40 }), (cuts) => {
        assert.deepEqual(readAll(SAMPLE, cuts), whole);
      }),
    );
    const everyByte = Array.from({ length: SAMPLE.length - 1 }, (_, i) => i + 1);
    assert.deepEqual(readAll(SAMPLE, everyByte), whole);
  });

  test("any journal of any frames survives any split", () => {
    const frame = fc
      .tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 200 }))
      .filter(([kind]) => ![3, 4, 5, 6, 8].includes(kind))
      .map(([kind, payload]) => journalFrame(kind, payload, TIME));
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 20 }),
        fc.array(fc.nat(4000), { maxLength: 10 }),
        (frames, cuts) => {
          const bytes = journal(...frames);
          const whole = readAll(bytes);
          assert.equal(whole.frames.length, frames.length);
          assert.equal(whole.damage, undefined);
          const inside = cuts.filter((cut) => cut <= bytes.length);
          assert.deepEqual(readAll(bytes, inside), whole);
        },
      ),
    );
  });

  test("any corruption gives DamagedJournal or a good prefix, never another error", () => {
    const good = readAll(SAMPLE).frames;
    const change = fc.record({
      at: fc.nat(SAMPLE.length - 1),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 30 }),
    });
    fc.assert(
      fc.property(change, fc.array(fc.nat(SAMPLE.length), { maxLength: 5 }), ({ at, bytes }, cuts) => {
        const corrupt = Uint8Array.from(SAMPLE);
        corrupt.set(bytes.subarray(0, corrupt.length - at), at);
        const result = readAll(corrupt, cuts);
        const untouched = good.filter((frame) => frame.end <= at);
        assert.deepEqual(result.frames.slice(0, untouched.length), untouched);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        readAll(noise);
        readAll(Buffer.concat([journalHeader(ATTEMPT), noise]));
      }),
    );
  });

  test("a cut journal is a good prefix and no damage", () => {
    const good = readAll(SAMPLE).frames;
    for (let length = 0; length < SAMPLE.length; length++) {
      const result = readAll(SAMPLE.subarray(0, length));
      assert.equal(result.damage, undefined);
      assert.deepEqual(
        result.frames,
        good.filter((frame) => frame.end <= length),
      );
    }
  });

  test("starts again at the end of any frame", () => {
    const frames = new JournalParser().push(SAMPLE);
    for (const [index, frame] of frames.entries()) {
      const parser = new JournalParser({ attemptId: ATTEMPT });
      parser.startAt(frame.end);
      const rest = parser.push(SAMPLE.subarray(frame.end));
      assert.deepEqual(rest.map(comparable), frames.slice(index + 1).map(comparable));
    }
  });

  test("hands out the good frames before it tells of damage", () => {
    const bad = Buffer.alloc(13);
    bad.writeUInt32BE(2 ** 20 + 1, 0);
    const good = journal(journalFrame("stdout", Buffer.from("kept"), TIME));
    const parser = new JournalParser();
    assert.equal(parser.push(Buffer.concat([good, bad])).length, 1);
    assert.ok(parser.damage instanceof DamagedJournal);
    assert.equal(parser.damage.goodBytes, good.length);
    assert.throws(() => parser.push(new Uint8Array(1)), DamagedJournal);
    assert.throws(() => parser.finish(), DamagedJournal);
  });

  for (const [what, bytes] of [
    ["a wrong mark", Buffer.from("LSJRNL02\0\0")],
    ["another attempt's header", journalHeader("01JZZZ")],
    ["an endless attempt id", Buffer.from("LSJRNL01\xff\xff", "latin1")],
    [
      "frames after the end",
      journal(journalFrame("end", endPayload()), journalFrame("stdout", Buffer.from("x"))),
    ],
    ["another attempt's accepted frame", journal(journalFrame("accepted", { attempt_id: "other", pid: 1 }))],
    ["an end without a reason", journal(journalFrame("end", { exit_code: 0 }))],
    [
      "an end with a reason that only the server may give",
      journal(journalFrame("end", endPayload({ reason: "lost" }))),
    ],
    ["an end that is no JSON", journal(journalFrame("end", Buffer.from("{")))],
    ["an end that is a list", journal(journalFrame("end", Buffer.from("[]")))],
    ["an end over 64 KiB", journal(journalFrame("end", endPayload({ message: "x".repeat(65_536) })))],
    ["a stage nobody knows", journal(journalFrame("stage", { stage: "root", event: "start" }))],
    ["a gap of no stream", journal(journalFrame("gap", { stream: "constructor", bytes: 1 }))],
  ] as const) {
    test(`${what} is damage`, () => {
      const parser = new JournalParser({ attemptId: ATTEMPT });
      assert.throws(() => {
        parser.push(bytes);
        parser.finish();
      }, DamagedJournal);
    });
  }

  test("numbers of a hostile end frame are brought into range", () => {
    const payload = JSON.stringify(
      endPayload({
        exit_code: 1e99,
        signal: -4,
        limit_value: -1,
        observed_peak: 1e300,
        process: 5,
        limits_hit: "ram",
        killer: "constructor",
      }),
    );
    const [frame] = new JournalParser().push(journal(journalFrame("end", Buffer.from(payload))));
    assert.ok(frame?.kind === "end");
    assert.equal(frame.ending.exitCode, 255);
    assert.equal(frame.ending.signal, 1);
    assert.equal(frame.ending.limitValue, 0);
    assert.equal(frame.ending.observedPeak, Number.MAX_SAFE_INTEGER);
    assert.equal(frame.ending.process, "");
    assert.equal(frame.ending.killer, null);
    assert.deepEqual(frame.ending.limitsHit, []);
  });

  test("a time beyond what a Date can hold stays a valid Date", () => {
    const frame = journalFrame(FRAME_KINDS.stdout, Buffer.from("x"));
    frame.fill(255, 5, 13);
    const [parsed] = new JournalParser().push(journal(frame));
    assert.equal(Number.isNaN(parsed?.time.getTime()), false);
  });

  test("log data are views of what was pushed", () => {
    const chunk = journal(journalFrame("stdout", Buffer.alloc(1000, 1)));
    const [frame] = new JournalParser().push(chunk);
    assert.ok(frame?.kind === "log");
    assert.equal(frame.data.buffer, chunk.buffer);
  });
});
