import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { parseDuration, recordToJson } from "@longshore/client";
import { Task } from "@longshore/proto/longshore/v1/task";
import { DURATION_FIELDS } from "../../clients/typescript/src/json.ts";

describe("records as JSON", () => {
  test("write durations as every other proto tool does, and leave the user's own maps alone", () => {
    const task = Task.fromPartial({
      spec: {
        timeout: { seconds: 90n, nanos: 0 },
        env: { timeout: "x", elapsed: "1" },
        labels: { grace: "y" },
      },
      elapsed: { seconds: 1n, nanos: 500_000_000 },
      usage: { cpuTime: { seconds: 0n, nanos: 1_000_000 }, chargedTime: { seconds: 0n, nanos: 0 } },
    });
    assert.deepEqual(JSON.parse(JSON.stringify(recordToJson(task))), {
      spec: { timeout: "90s", env: { timeout: "x", elapsed: "1" }, labels: { grace: "y" } },
      elapsed: "1.5s",
      usage: { cpuTime: "0.001s", chargedTime: "0s" },
    });
  });

  test("know every field of the protos that is a duration, and no other of the same name", () => {
    const folder = new URL("../../proto/longshore/v1/", import.meta.url);
    const durations = new Set<string>();
    const others = new Set<string>();
    for (const name of readdirSync(folder)) {
      const fields = readFileSync(new URL(name, folder), "utf8").matchAll(
        /^\s+(?:optional |repeated )?([\w.]+) (\w+) = \d+/gm,
      );
      for (const [, type, field = ""] of fields) {
        const json = field.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
        (type === "google.protobuf.Duration" ? durations : others).add(json);
      }
    }
    assert.deepEqual([...DURATION_FIELDS].sort(), [...durations].sort());
    assert.deepEqual(
      [...durations].filter((field) => others.has(field)),
      [],
    );
  });
});

test("durations need a unit", () => {
  const good: [string, number][] = [
    ["30s", 30_000],
    ["1h30m", 5_400_000],
    ["500ms", 500],
    ["1.5s", 1_500],
    ["2d", 172_800_000],
  ];
  for (const [text, millis] of good) assert.equal(parseDuration(text), millis, text);
  for (const text of ["", "10", "s", "-1s", "1 h", "1x", "1e3s", "١s"])
    assert.equal(parseDuration(text), undefined, text);
});
