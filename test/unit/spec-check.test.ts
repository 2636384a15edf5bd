import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { FieldViolation } from "#server/domain/errors.ts";
import { formatSize, parseSize } from "#server/domain/resources.ts";
import { checkSpec, type ProjectFacts, resolveProgram } from "#server/domain/spec-check.ts";
import type { TaskSpec } from "#server/domain/task.ts";
import { samplePolicy } from "../support/sample-policy.ts";
import { SAMPLE_SPEC } from "../support/sample-task.ts";

function violationsOf(fields: Partial<TaskSpec>): FieldViolation[] {
  const violations: FieldViolation[] = [];
  checkSpec({ ...SAMPLE_SPEC, ...fields }, samplePolicy(), violations);
  return violations;
}

const resources = { cpu: "", gpu: "", ram: "", storage: "", gpuModel: "" };

describe("sizes", () => {
  for (const [text, bytes] of [
    ["512MB", 512 * 2 ** 20],
    ["512mb", 512 * 2 ** 20],
    ["512MiB", 512 * 2 ** 20],
    ["1GB", 2 ** 30],
    ["1.5 GiB", 1.5 * 2 ** 30],
    ["512", undefined],
    ["MB", undefined],
    ["-1GB", undefined],
    ["1e9GB", undefined],
    ["1 000MB", undefined],
    ["", undefined],
    ["999999999999999TB", undefined],
  ] as const) {
    test(`"${text}"`, () => assert.equal(parseSize(text), bytes));
  }
  test("are shown as they are read", () => assert.equal(parseSize(formatSize(1.5 * 2 ** 30)), 1.5 * 2 ** 30));
});

describe("a request", () => {
  test("of the seeds is right as it stands", () => {
    const violations: FieldViolation[] = [];
    const limits = checkSpec(SAMPLE_SPEC, samplePolicy(), violations);
    assert.deepEqual(violations, []);
    assert.equal(limits.cpuMillis, 2000);
    assert.equal(limits.ramBytes, 512 * 2 ** 20);
    assert.equal(limits.storageBytes, 2 ** 30);
    assert.equal(limits.runMillis, 30_000);
  });

  test("has every wrong field named at once", () => {
    const violations = violationsOf({
      taskType: "dance",
      code: "",
      resources: { ...resources, cpu: "-1", gpu: "0.5", ram: "512", storage: "1XB" },
      env: { "1A": "x", LD_PRELOAD: "x" },
      outputs: ["../x", "/etc/*"],
      labels: { "": "x" },
      priority: 101,
      timeoutMillis: -5,
    });
    assert.deepEqual(violations.map((violation) => violation.field).sort(), [
      "code",
      "env[1A]",
      "env[LD_PRELOAD]",
      "labels[]",
      "outputs[0]",
      "outputs[1]",
      "priority",
      "resources.cpu",
      "resources.gpu",
      "resources.ram",
      "resources.storage",
      "task_type",
      "timeout",
    ]);
  });

  test("with code and an archive names both", () => {
    const fields = violationsOf({ archiveSha256: "a".repeat(64) }).map((violation) => violation.field);
    assert.deepEqual(fields, ["code", "archive_sha256"]);
  });

  for (const cpu of ["0", "abc", "1e3", " 1", "0.001", "Infinity", "NaN", "１"]) {
    test(`with cpu "${cpu}" is refused`, () => {
      assert.deepEqual(
        violationsOf({ resources: { ...resources, cpu } }).map((violation) => violation.field),
        ["resources.cpu"],
      );
    });
  }
});

describe("the program", () => {
  const project = (files: string[]): ProjectFacts => ({
    contentBytes: 0,
    topLevelScripts: files.filter((file) => /^[^/]+\.py$/.test(file)).sort(),
    has: async (path, kind) =>
      kind === "file" ? files.includes(path) : files.some((file) => file.startsWith(`${path}/`)),
  });
  const resolve = async (files: string[], fields: Partial<TaskSpec>) => {
    const violations: FieldViolation[] = [];
    const spec = { ...SAMPLE_SPEC, code: "", archiveSha256: "a".repeat(64), ...fields };
    return { program: await resolveProgram(spec, project(files), violations), violations };
  };

  test("is main.py where there is one", async () => {
    const { program } = await resolve(["main.py", "a.py"], {});
    assert.deepEqual(program, { kind: "script", script: "main.py" });
  });
  test("is the only script otherwise", async () => {
    const { program, violations } = await resolve(["train.py", "lib/a.py"], {});
    assert.deepEqual(program, { kind: "script", script: "train.py" });
    assert.deepEqual(violations, []);
  });
  test("must be named where there are several, and they are offered", async () => {
    const { violations } = await resolve(["train.py", "data.py"], {});
    assert.match(violations[0]?.description ?? "", /data\.py, train\.py/);
  });
  test("must be in the archive", async () => {
    const { violations } = await resolve(["train.py"], { entrypoint: "missing.py" });
    assert.equal(violations[0]?.field, "entrypoint");
    assert.match(violations[0]?.description ?? "", /train\.py/);
  });
  test("may be a function of a module", async () => {
    const { program } = await resolve(["ml.py"], { entrypoint: "ml:fit" });
    assert.deepEqual(program, { kind: "module", module: "ml", function: "fit" });
  });
  test("needs a working directory that is there", async () => {
    const { violations } = await resolve(["main.py"], { workingDirectory: "nowhere" });
    assert.equal(violations[0]?.field, "working_directory");
  });
});
