import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ProjectAnnouncement } from "#server/domain/announced-project.ts";
import {
  InvalidRequest,
  NeverFits,
  QuotaExceeded,
  RequestIdReused,
  Unsupported,
} from "#server/domain/errors.ts";
import { NO_QUOTA, type Quota, Quotas } from "#server/domain/quota.ts";
import type { TaskSpec } from "#server/domain/task.ts";
import { FieldCheck } from "#server/transport/translate/field-check.ts";
import { projectFromProto } from "#server/transport/translate/project-from-proto.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { SAMPLE_SPEC } from "../support/sample-task.ts";

const DIGEST = "ab".repeat(32);
const text = (content: string) => new TextEncoder().encode(content);

function project(files: readonly string[], fields: Partial<ProjectAnnouncement> = {}): ProjectAnnouncement {
  return { files, folders: [], contentBytes: 10, archiveBytes: 1024, requirements: new Map(), ...fields };
}

/** Of a project that is going to be sent. */
const COMING: Partial<TaskSpec> = { code: "", archiveSha256: DIGEST, requestId: "", labels: {} };

function validate(
  bench: ApplicationBench,
  spec: Partial<TaskSpec>,
  announcement: ProjectAnnouncement | null,
): Promise<void> {
  const request = { spec: { ...SAMPLE_SPEC, ...COMING, ...spec }, secrets: {}, violations: [] };
  return bench.application.validateTask(CALLER, request, announcement);
}

async function problems(validated: Promise<void>): Promise<Record<string, string>> {
  let found: Record<string, string> = {};
  await assert.rejects(validated, (error) => {
    assert.ok(error instanceof InvalidRequest, String(error));
    found = Object.fromEntries(error.violations.map(({ field, description }) => [field, description]));
    return true;
  });
  return found;
}

describe("a task is validated before its bytes are sent:", () => {
  test("nothing is wrong with one whose archive and inputs are to come", async () => {
    await using bench = await ApplicationBench.open();
    const inputs = [{ kind: "blob" as const, path: "d.csv", sha256: DIGEST }];
    await validate(bench, { inputs }, project(["main.py"]));
    await validate(bench, { workingDirectory: "a/b", entrypoint: "x.py" }, project(["x.py", "a/b/c"]));
    await validate(bench, { workingDirectory: "empty" }, project(["main.py"], { folders: ["empty"] }));
    // A zip that was not packed by the client: what is in it is looked at when it has come.
    await validate(bench, { workingDirectory: "a", entrypoint: "b.py", inputs }, null);
    assert.deepEqual(await bench.database.tasks.unfinished(), []);
  });

  test("everything is named at once, by the fields and by the project", async () => {
    await using bench = await ApplicationBench.open();
    const resources = { cpu: "-1", gpu: "0", ram: "512", storage: "1GB", gpuModel: "" };
    const wrong = {
      resources,
      entrypoint: "nope.py",
      workingDirectory: "nowhere",
      engine: "other",
      dependsOn: ["01JD3M8Q2E7V0000000000000A"],
      inputs: [{ kind: "blob" as const, path: "train.py", sha256: DIGEST }],
      webhooks: [{ url: "ftp://x", states: [] }],
    };
    const requirements = new Map([["requirements.txt", text("six\nsix -e .\n")]]);
    const found = await problems(
      validate(bench, wrong, project(["train.py", "requirements.txt"], { requirements })),
    );
    assert.deepEqual(Object.keys(found).sort(), [
      "depends_on[0]",
      "entrypoint",
      "environment.requirements",
      "inputs[0].path",
      "placement.engine",
      "resources.cpu",
      "resources.ram",
      "webhooks",
      "webhooks[0].url",
      "working_directory",
    ]);
    assert.match(found.entrypoint ?? "", /"nope.py" is not in the archive; it has train\.py/);
    assert.match(found["environment.requirements"] ?? "", /^requirements\.txt line 2: the option -e/);
  });

  test("requirements that nothing can install, what no host holds, and what no quota allows", async () => {
    const quota = { ...NO_QUOTA, cpuMillis: 500, storedBytes: 2000 };
    await using bench = await ApplicationBench.open({ quotas: new Quotas(quota, new Map()) });
    const small = { resources: { cpu: "0.5", gpu: "0", ram: "64MB", storage: "64MB", gpuModel: "" } };
    await validate(bench, small, project(["main.py"]));
    const requirements = new Map([["requirements.txt", text("six")]]);
    await assert.rejects(validate(bench, small, project(["main.py"], { requirements })), Unsupported);
    const asks = (changes: Partial<typeof small.resources>) =>
      validate(bench, { resources: { ...small.resources, ...changes } }, project(["main.py"]));
    await assert.rejects(asks({ cpu: "1" }), QuotaExceeded);
    await assert.rejects(asks({ ram: "900GB" }), NeverFits);
    await assert.rejects(validate(bench, small, project(["main.py"], { archiveBytes: 2001 })), QuotaExceeded);
    const found = await problems(validate(bench, small, project(["main.py"], { archiveBytes: 2 ** 50 })));
    assert.match(found["project.archive_bytes"] ?? "", /at most \d+ bytes can be uploaded/);
  });

  test("one that was made already is fine whatever is full by now, and another of its id is not", async () => {
    const tenants = new Map<string, Quota>();
    await using bench = await ApplicationBench.open({ quotas: new Quotas(NO_QUOTA, tenants) });
    await bench.create({ code: "print(1)", requestId: "r" });
    tenants.set(CALLER.tenant, { ...NO_QUOTA, queuedTasks: 0 });
    const again = { archiveSha256: "", code: "print(1)", requestId: "r" };
    await validate(bench, again, null);
    await assert.rejects(validate(bench, { ...again, requestId: "s" }, null), QuotaExceeded);
    await assert.rejects(validate(bench, { ...again, code: "print(2)" }, null), RequestIdReused);
  });
});

test("a description with paths that are none, or with too many, counts as absent", () => {
  const read = (files: string[], folders: string[] = []) =>
    projectFromProto(
      { files, folders, contentBytes: 1n, archiveBytes: 2n, requirements: [] },
      new FieldCheck(),
    );
  assert.deepEqual(read(["a/b.py"])?.files, ["a/b.py"]);
  for (const path of ["../x", "/x", "a//b", "x/".repeat(1000), "", "a\0b", "x".repeat(2000)])
    assert.equal(read([path]), null, path);
  assert.equal(read(["a"], ["b/../c"]), null);
  assert.equal(read(Array.from({ length: 50_001 }, (_, index) => `f${index}`)), null);
});
