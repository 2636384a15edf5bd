import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createLog, type LogLevel } from "#server/adapters/telemetry/log.ts";
import type { Log } from "#server/domain/ports/telemetry.ts";

function capture(level: LogLevel = "debug"): { log: Log; lines: () => Record<string, unknown>[] } {
  let written = "";
  const log = createLog({
    level,
    destination: {
      write: (text: string) => {
        written += text;
      },
    },
  });
  return {
    log,
    lines: () =>
      written
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
  };
}

function logged(facts: Record<string, unknown>): Record<string, unknown> {
  const { log, lines } = capture();
  log.info("message", facts);
  const [{ time, level, message, ...rest } = {}, ...more] = lines();
  assert.deepEqual([level, message, more.length], ["info", "message", 0]);
  assert.ok(!Number.isNaN(Date.parse(String(time))));
  return rest;
}

describe("Log", () => {
  test("a line is one JSON object with time, level, message and facts", () => {
    assert.deepEqual(logged({ taskId: "01JH", exitCode: 3, warm: true, none: null }), {
      taskId: "01JH",
      exitCode: 3,
      warm: true,
      none: null,
    });
    assert.deepEqual(logged({}), {});
  });

  test("a fact cannot replace the line's own level, time or message", () => {
    assert.deepEqual(logged({ level: "error", time: 1, message: "other" }), {
      "fact.level": "error",
      "fact.time": 1,
      "fact.message": "other",
    });
  });

  test("lines below the level are left out", () => {
    const { log, lines } = capture("warn");
    log.debug("a");
    log.info("b");
    log.warn("c");
    log.error("d");
    assert.deepEqual(
      lines().map(({ level, message }) => [level, message]),
      [
        ["warn", "c"],
        ["error", "d"],
      ],
    );
  });

  test("secrets are hidden at any depth, however their key is written", () => {
    const hidden = "[hidden]";
    assert.deepEqual(
      logged({
        code: "print(1)",
        request: { spec: [{ env: { A: "b" }, stdin: "x", secret_env: {}, displayName: "shown" }] },
        headers: new Map([["Authorization", "Bearer x"]]),
        options: { "X-Api-Key": "k", refreshToken: "t", db: { PASSWORD: "p" }, exitCode: 1 },
      }),
      {
        code: hidden,
        request: { spec: [{ env: hidden, stdin: hidden, secret_env: hidden, displayName: "shown" }] },
        headers: { Authorization: hidden },
        options: { "X-Api-Key": hidden, refreshToken: hidden, db: { PASSWORD: hidden }, exitCode: 1 },
      },
    );
  });

  test("an error tells its type, message, stack and cause, and hides secrets it carries", () => {
    const cause = Object.assign(new RangeError("inner"), { token: "t" });
    const { error } = logged({ error: new TypeError("outer", { cause }) });
    assert.ok(typeof error === "object" && error !== null && "stack" in error && "cause" in error);
    assert.match(String(error.stack), /TypeError: outer/);
    assert.partialDeepStrictEqual(error, {
      type: "TypeError",
      message: "outer",
      cause: { type: "RangeError", message: "inner", token: "[hidden]" },
    });
  });

  test("no fact makes a log call throw or a line without end", () => {
    const circle: Record<string, unknown> = { name: "circle" };
    circle.self = circle;
    circle.manyTimes = Array.from({ length: 50 }, () => circle);
    const facts = logged({
      circle,
      big: 2n ** 70n,
      bytes: Buffer.alloc(10),
      date: new Date(0),
      invalid: new Date(Number.NaN),
      long: "x".repeat(100_000),
      many: Array.from({ length: 1_000 }, (_, index) => index),
      ["__proto__"]: "own",
    });
    assert.equal(facts.big, "1180591620717411303424");
    assert.equal(facts.bytes, "[10 bytes]");
    assert.equal(facts.date, "1970-01-01T00:00:00.000Z");
    assert.equal(facts.invalid, "invalid time");
    assert.ok(JSON.stringify(facts).length < 100_000);
    const throwing = {
      get fact(): string {
        throw new Error("no");
      },
    };
    assert.deepEqual(logged(throwing), { unprintable: "Error: no" });
  });
});
