/** Inputs of a task over a fake engine: what is refused at submit, what is brought in, and what has gone missing since. */
import assert from "node:assert/strict";
import { readdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { InvalidRequest } from "#server/domain/errors.ts";
import type { TaskInput, TaskSpec } from "#server/domain/task.ts";
import { file, folder, tar } from "../fixtures/archives/raw-tar.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { cut, digestOf } from "../support/harbour.ts";

const NOWHERE = "0".repeat(64);

async function send(bench: ApplicationBench, content: string | Buffer, caller = CALLER): Promise<string> {
  const bytes = Buffer.from(content);
  const header = { sha256: digestOf(bytes), sizeBytes: bytes.length, offsetBytes: 0, format: null };
  await bench.application.uploadBlob(caller, header, cut(bytes), AbortSignal.timeout(30_000));
  return header.sha256;
}

const blob = (path: string, sha256: string): TaskInput => ({ kind: "blob", path, sha256 });
const artifact = (path: string, taskId: string, artifactPath: string): TaskInput => ({
  kind: "artifact",
  path,
  taskId,
  artifactPath,
});

async function tasksOf(bench: ApplicationBench): Promise<number> {
  const every = { owner: "", states: [], reasons: [], labels: {}, createdAfter: null, createdBefore: null };
  const request = { ...every, pageSize: 1000, pageToken: "", violations: [], fits: () => true };
  return (await bench.application.listTasks(CALLER, request)).tasks.length;
}

async function refusal(bench: ApplicationBench, spec: Partial<TaskSpec>): Promise<Record<string, string>> {
  let fields: Record<string, string> = {};
  const before = await tasksOf(bench);
  await assert.rejects(bench.create(spec), (error) => {
    assert.ok(error instanceof InvalidRequest, String(error));
    fields = Object.fromEntries(error.violations.map(({ field, description }) => [field, description]));
    return true;
  });
  assert.equal(await tasksOf(bench), before);
  return fields;
}

/** Where the file store keeps a blob: for tests of what happens behind its back. */
async function pathOf(bench: ApplicationBench, sha256: string): Promise<string> {
  const path = bench.folder.at("blobs", "sha256", sha256.slice(0, 2));
  assert.ok((await readdir(path)).includes(sha256));
  return join(path, sha256);
}

const READ = `
import hashlib, os, sys
for path in sys.argv[1:]:
    with open(path, "rb") as f: print(path, hashlib.sha256(f.read()).hexdigest(), oct(os.stat(path).st_mode & 0o777))
`;

describe("inputs", () => {
  test("lie at their paths, read-only, beside a snippet", async () => {
    await using bench = await ApplicationBench.open();
    const big = Buffer.alloc(3_000_001, "0123456789");
    const [first, second, empty] = [await send(bench, "one"), await send(bench, big), await send(bench, "")];
    const paths = ["data/train.parquet", "./deep//er/big.bin", "empty"];
    const { id } = await bench.create({
      code: READ,
      args: paths,
      inputs: [blob("data/train.parquet", first), blob("./deep//er/big.bin", second), blob("empty", empty)],
    });
    const task = await bench.finished(id);
    assert.equal(
      task.result?.stdoutTail,
      `data/train.parquet ${first} 0o444\n./deep//er/big.bin ${second} 0o444\nempty ${empty} 0o444\n`,
    );
    assert.deepEqual(
      task.inputs.map(({ path, sha256, sizeBytes }) => [path, sha256, sizeBytes]),
      [
        ["data/train.parquet", first, 3],
        ["deep/er/big.bin", second, big.length],
        ["empty", empty, 0],
      ],
    );
  });

  test("come with a project, into its folders and new ones, and with a bare command", async () => {
    await using bench = await ApplicationBench.open();
    const project = await send(bench, tar(folder("data"), file("data/a.txt", "a"), file("main.py", READ)));
    const sha256 = await send(bench, "b");
    const inputs = [blob("data/b.txt", sha256), blob("more/b.txt", sha256)];
    const args = ["data/a.txt", "data/b.txt", "more/b.txt"];
    const task = await bench.create({ code: "", archiveSha256: project, args, inputs });
    assert.equal((await bench.finished(task.id)).result?.stdoutTail.split("\n").length, 4);
    const bare = await bench.create({ code: "", command: ["cat", "data/b.txt"], inputs });
    assert.equal((await bench.finished(bare.id)).result?.stdoutTail, "b");
  });

  test("may be artifacts of a task that has ended, and stay when that task is deleted", async () => {
    await using bench = await ApplicationBench.open();
    const code = "open('model.bin', 'w').write('weights')";
    const maker = await bench.finished((await bench.create({ code, outputs: ["*.bin"] })).id);
    const spec = {
      code: "",
      command: ["cat", "in/model.bin"],
      inputs: [artifact("in/model.bin", maker.id, "model.bin")],
    };
    const first = await bench.finished((await bench.create(spec)).id);
    assert.equal(first.result?.stdoutTail, "weights");
    bench.aheadMillis = 3_600_000;
    await bench.application.deleteTask(CALLER, maker.id);
    assert.equal(await bench.blobs.size(digestOf(Buffer.from("weights"))), 7);
    await bench.application.deleteTask(CALLER, first.id);
    assert.equal(await bench.blobs.size(digestOf(Buffer.from("weights"))), undefined);
  });

  test("are refused for paths that lead elsewhere and for what is in each other's way, all at once", async () => {
    await using bench = await ApplicationBench.open();
    const sha256 = await send(bench, "x");
    const bad = [
      "",
      "/etc/passwd",
      "../up",
      "a/../../b",
      "a\0b",
      "a\\b",
      "folder/",
      "new\nline",
      "x".repeat(256),
    ];
    const fields = await refusal(bench, {
      inputs: [
        ...bad.map((path) => blob(path, sha256)),
        blob("data", sha256),
        blob("./data", sha256),
        blob("data/x/y", sha256),
        blob("main.py", sha256),
        blob("good", "ABC"),
        artifact("fine", "", ""),
      ],
    });
    assert.deepEqual(
      Object.keys(fields).sort(),
      [
        ...bad.map((_, index) => `inputs[${index}].path`),
        "inputs[10].path",
        "inputs[11].path",
        "inputs[12].path",
        "inputs[13].blob_sha256",
        "inputs[14].artifact.path",
        "inputs[14].artifact.task_id",
      ].sort(),
    );
    assert.match(fields["inputs[10].path"] ?? "", /place of inputs\[9\]/);
    assert.match(fields["inputs[11].path"] ?? "", /below "data", which is the file of inputs\[9\]/);
    const many = Array.from({ length: 101 }, (_, index) => blob(`f${index}`, sha256));
    assert.match((await refusal(bench, { inputs: many })).inputs ?? "", /at most 100/);
  });

  test("are refused for what is in the way of the project", async () => {
    await using bench = await ApplicationBench.open();
    const archiveSha256 = await send(bench, tar(folder("src"), file("src/a.py"), file("main.py")));
    const sha256 = await send(bench, "x");
    const paths = ["src/a.py", "src", "main.py/x", "lib/b.py"];
    const fields = await refusal(bench, {
      code: "",
      archiveSha256,
      inputs: paths.map((path) => blob(path, sha256)),
    });
    assert.match(fields["inputs[0].path"] ?? "", /is a file of the project, too/);
    assert.match(fields["inputs[1].path"] ?? "", /is a folder of the project/);
    assert.match(fields["inputs[2].path"] ?? "", /below "main.py", which is a file of the project/);
    assert.equal(Object.keys(fields).length, 3);
  });

  test("are refused when they are not there, another tenant's, refused, or an artifact that is not there", async () => {
    await using bench = await ApplicationBench.open();
    const theirs = await send(bench, "secret", { ...CALLER, tenant: "other" });
    const maker = await bench.finished(
      (await bench.create({ code: "open('a.txt','w').close()", outputs: ["*"] })).id,
    );
    const stranger = { ...CALLER, tenant: "other" };
    const spec = { ...maker.spec, requestId: "" };
    const foreign = await bench.application.createTask(stranger, { spec, secrets: {}, violations: [] });
    const forStranger = { id: foreign.id, cursor: "", follow: true, tailBytes: 0, logs: false };
    for await (const _ of bench.application.watchTask(stranger, forStranger, AbortSignal.timeout(30_000)));
    const fields = await refusal(bench, {
      inputs: [
        blob("a", NOWHERE),
        blob("b", theirs),
        artifact("c", maker.id, "b.txt"),
        artifact("d", foreign.id, "a.txt"),
        artifact("e", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "a.txt"),
      ],
    });
    assert.match(fields["inputs[0].blob_sha256"] ?? "", /not stored; send it with UploadBlob/);
    assert.match(fields["inputs[1].blob_sha256"] ?? "", /not stored/);
    assert.match(fields["inputs[2].artifact"] ?? "", /left no artifact "b.txt"; it left "a.txt", "main.py"/);
    assert.match(fields["inputs[3].artifact.task_id"] ?? "", /there is no task/);
    assert.match(fields["inputs[4].artifact.task_id"] ?? "", /there is no task/);
    assert.equal(Object.keys(fields).length, 5);
  });

  test("are refused when storage does not hold them", async () => {
    await using bench = await ApplicationBench.open();
    const sha256 = await send(bench, Buffer.alloc(2 ** 21));
    const resources = { cpu: "0.1", gpu: "", ram: "64MB", storage: "1MB", gpuModel: "" };
    const small = await refusal(bench, { inputs: [blob("x", sha256)], resources });
    assert.match(small["resources.storage"] ?? "", /1 MB does not hold the 2 MB/);
  });

  test("may be artifacts of a task that has not ended; one it does not leave ends the task", async () => {
    await using bench = await ApplicationBench.open();
    const code = "import sys; sys.stdin.read(); open('a.txt', 'w').write('made')";
    const maker = await bench.create({ code, outputs: ["*.txt"] });
    const taking = (path: string) =>
      bench.create({ code: "", command: ["cat", "in"], inputs: [artifact("in", maker.id, path)] });
    const [good, bad] = [await taking("a.txt"), await taking("b.txt")];
    assert.equal(good.inputs[0]?.sha256, "");
    assert.equal((await bench.finished(good.id)).result?.stdoutTail, "made");
    const { result } = await bench.finished(bad.id);
    assert.equal(result?.reason, "INPUT_FAILED");
    assert.match(result?.message ?? "", /task \S+ left no artifact b\.txt; its outputs say what is kept/);
  });

  test("that are gone or damaged when the attempt starts end the task, before it ran and at no charge", async () => {
    await using bench = await ApplicationBench.open();
    const damage: readonly (readonly [string, (sha256: string) => Promise<void>, RegExp])[] = [
      [
        "gone",
        (sha256) => bench.blobs.remove(sha256),
        /there is no input in\/x; blob \S+ is not stored any more/,
      ],
      ["cut", async (sha256) => truncate(await pathOf(bench, sha256), 2), /are damaged: they have 2 bytes/],
      [
        "changed",
        async (sha256) => writeFile(await pathOf(bench, sha256), "CHANGED"),
        /are damaged: they have the SHA-256 /,
      ],
    ];
    for (const [content, spoil, message] of damage) {
      const sha256 = await send(bench, content);
      if (content === "changed") assert.equal("CHANGED".length, content.length);
      await spoil(sha256);
      const { id } = await bench.create({ code: "print('ran')", inputs: [blob("in/x", sha256)] });
      const task = await bench.finished(id);
      assert.equal(task.state, "FAILED", content);
      assert.equal(task.result?.reason, "INPUT_FAILED");
      assert.match(task.result?.message ?? "", message);
      assert.equal(task.result?.stdoutBytes, 0);
      for (const { usage, runStartTime } of task.attempts)
        assert.deepEqual([usage?.chargedMillis, runStartTime], [0, null]);
    }
    assert.deepEqual(await bench.engine.list(), []);
  });

  test("on their way are stopped by a cancellation", async () => {
    await using bench = await ApplicationBench.open();
    const sha256 = await send(bench, Buffer.alloc(2 ** 20));
    const reading = Promise.withResolvers<void>();
    const { read } = bench.blobs;
    bench.blobs.read = async function* (digest, offset, signal) {
      yield* read.call(bench.blobs, digest, offset, signal);
      reading.resolve();
      await new Promise<void>((_, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason));
      });
    };
    const { id } = await bench.create({ inputs: [blob("x", sha256)] });
    await reading.promise;
    await bench.application.cancelTask(CALLER, id, "", null);
    const task = await bench.finished(id);
    assert.deepEqual(
      [task.state, task.attempts.length, task.attempts[0]?.runStartTime],
      ["CANCELLED", 1, null],
    );
    assert.deepEqual(await bench.engine.list(), []);
  });

  test("are part of what makes two requests with one id the same", async () => {
    await using bench = await ApplicationBench.open();
    const [one, two] = [await send(bench, "one"), await send(bench, "two")];
    const spec = { requestId: "r", inputs: [blob("x", one)] };
    const task = await bench.create(spec);
    assert.equal((await bench.create(spec)).id, task.id);
    await assert.rejects(bench.create({ requestId: "r", inputs: [blob("x", two)] }), /already used/);
    await bench.finished(task.id);
  });
});
