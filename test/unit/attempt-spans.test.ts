import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { AttemptSpans } from "#server/application/attempt-spans.ts";
import type { Stage } from "#server/domain/task.ts";
import { parseTaskSpan, SPAN_BUDGET } from "#server/domain/task-span.ts";
import { sampleTask } from "../support/sample-task.ts";

const START = new Date("2026-01-02T03:04:05.000Z");
const END = new Date("2026-01-02T03:04:15.000Z");
const RUN: Stage = {
  name: "run",
  attempt: 1,
  startTime: START,
  endTime: END,
  note: "",
  spanId: "00f067aa0ba902b7",
  error: "",
};
const A = "a".repeat(16);
const B = "b".repeat(16);
const C = "c".repeat(16);

const inside = (seconds: number) => (START.getTime() + seconds * 1000) * 1000;

function datagram(fields: Record<string, unknown>): Uint8Array {
  const usual = { name: "work", span_id: A, start_unix_micros: inside(1), end_unix_micros: inside(2) };
  return Buffer.from(JSON.stringify({ ...usual, ...fields }));
}

function recordsOf(spans: readonly Record<string, unknown>[], secrets: readonly string[] = []) {
  const told = new AttemptSpans();
  for (const fields of spans) told.take(datagram(fields));
  return told.records(sampleTask(1), RUN, END, secrets);
}

const parentsOf = (spans: readonly Record<string, unknown>[]) =>
  Object.fromEntries(recordsOf(spans).map(({ spanId, parentSpanId }) => [spanId, parentSpanId]));

describe("spans that a task tells", () => {
  test("belong to its trace and lie under its run, whatever they claim", () => {
    const task = sampleTask(1);
    const [record] = recordsOf([
      { trace_id: "f".repeat(32), parent_span_id: C, attributes: { "longshore.task.id": "other", rows: 1 } },
    ]);
    assert.equal(record?.traceId, task.traceId);
    assert.equal(record?.parentSpanId, RUN.spanId);
    assert.equal(record?.attributes["longshore.task.id"], task.id);
    assert.equal(record?.attributes.rows, 1);
    const taken = [task.rootSpanId, RUN.spanId, ...task.stages.map(({ spanId }) => spanId)];
    assert.deepEqual(recordsOf(taken.map((span_id) => ({ span_id }))), []);
  });

  test("nest as they were told, in any order, and never in a circle", () => {
    assert.deepEqual(parentsOf([{ parent_span_id: B }, { span_id: B, parent_span_id: RUN.spanId }]), {
      [A]: B,
      [B]: RUN.spanId,
    });
    const circle = parentsOf([
      { parent_span_id: B },
      { span_id: B, parent_span_id: C },
      { span_id: C, parent_span_id: A },
    ]);
    assert.deepEqual(Object.values(circle).filter((parent) => parent === RUN.spanId).length, 1);
    assert.deepEqual(parentsOf([{ parent_span_id: A }]), { [A]: RUN.spanId });
  });

  test("lie within the run, and never end before they begin", () => {
    const times = recordsOf([
      { start_unix_micros: 0, end_unix_micros: Number.MAX_SAFE_INTEGER },
      { span_id: B, start_unix_micros: inside(3), end_unix_micros: inside(2) },
    ]).map(({ startMicros, endMicros }) => [startMicros, endMicros]);
    assert.deepEqual(times, [
      [inside(0), inside(10)],
      [inside(3), inside(3)],
    ]);
  });

  test("hold no secret of the task and nothing that moves a cursor", () => {
    const secret = "s3cr3t-value";
    const [record] = recordsOf(
      [
        {
          name: `login with ${secret}\u001b[2J\n`,
          error: `refused: ${secret}`,
          attributes: { url: `https://x/?key=${secret}`, [`key-${secret}`]: 1, yes: true },
        },
      ],
      [secret, "1", ""],
    );
    assert.equal(record?.name, "login with [hidden] [2J");
    assert.ok(!JSON.stringify(record).includes(secret));
    assert.deepEqual(record?.attributes.yes, true);
  });

  test("are bounded in number and size; the first of an id counts", () => {
    const many = Array.from({ length: SPAN_BUDGET.count + 10 }, (_, n) => ({
      span_id: (n + 1).toString(16).padStart(16, "0"),
    }));
    assert.equal(recordsOf(many).length, SPAN_BUDGET.count);
    const large = many.map((fields) => ({ ...fields, padding: "x".repeat(4000) }));
    assert.ok(recordsOf(large).length * 4000 < SPAN_BUDGET.bytes);
    assert.deepEqual(
      recordsOf([{ name: "first" }, { name: "second" }]).map(({ name }) => name),
      ["first"],
    );
  });

  test("that are none are passed over", () => {
    for (const wrong of [{ name: "" }, { name: 1 }, { span_id: "0".repeat(16) }, { span_id: "A".repeat(16) }])
      assert.deepEqual(recordsOf([wrong]), []);
    for (const wrong of [{ start_unix_micros: -1 }, { end_unix_micros: "1" }, { end_unix_micros: 1e300 }])
      assert.deepEqual(recordsOf([wrong]), []);
    const [odd] = recordsOf([{ attributes: { __proto__: "x", nested: {}, nan: null, "a b": 1 }, error: [] }]);
    assert.deepEqual(Object.keys(odd?.attributes ?? {}).sort(), ["longshore.attempt", "longshore.task.id"]);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => parseTaskSpan(bytes) === undefined));
    fc.assert(
      fc.property(fc.json(), (text) => {
        parseTaskSpan(Buffer.from(text));
        parseTaskSpan(datagram({ attributes: JSON.parse(text), name: text }));
      }),
    );
  });
});
