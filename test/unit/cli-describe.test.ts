import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Stage, Stage_Name } from "@longshore/proto/longshore/v1/task.ts";
import { timeline } from "../../clients/cli/src/output/timeline.ts";

const at = (millis: number) => new Date(1_700_000_000_000 + millis);

function stage(name: Stage_Name, from: number, to: number | undefined, fields: Partial<Stage> = {}): Stage {
  return Stage.fromPartial({
    name,
    startTime: at(from),
    endTime: to === undefined ? undefined : at(to),
    ...fields,
  });
}

describe("the timeline of a task", () => {
  test("is a bar for each stage on one axis", () => {
    const lines = timeline(
      [stage(Stage_Name.QUEUE, 0, 500), stage(Stage_Name.RUN, 500, 1000, { note: "exit 0" })],
      at(9000),
    );
    assert.deepEqual(lines, [
      `  queue          ▏${"█".repeat(18)}${" ".repeat(18)}    500 ms`,
      `  run            ▏${" ".repeat(18)}${"█".repeat(18)}    500 ms   exit 0`,
    ]);
  });

  test("shows a stage of no length, and one that goes on up to now", () => {
    const lines = timeline([stage(Stage_Name.VALIDATE, 0, 0), stage(Stage_Name.RUN, 0, undefined)], at(2000));
    assert.match(lines[0] ?? "", /▏█ /);
    assert.match(lines[1] ?? "", /2 s {3}goes on$/);
  });

  test("tells attempts apart, and never lets a note move the cursor", () => {
    const lines = timeline(
      [
        stage(Stage_Name.RUN, 0, 10, { attempt: 1 }),
        stage(Stage_Name.RUN, 20, 30, { attempt: 2, note: "a\u001b[2Jb" }),
      ],
      at(30),
    );
    assert.match(lines[0] ?? "", /run #1/);
    assert.match(lines[1] ?? "", /run #2.*a\\x1b\[2Jb/);
  });

  test("of nothing is nothing", () => assert.deepEqual(timeline([], at(0)), []));
});
