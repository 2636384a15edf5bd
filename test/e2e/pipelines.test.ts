/** Pipelines and the result cache as people use them: through the clients, against a real server with real sandboxes. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Longshore, type Task } from "@longshore/client";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const PYTHON_SOURCES = join(fileURLToPath(new URL("../../clients/python", import.meta.url)), "src");
const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const skip = await whyNoServer();

const PREPARE = `
import json, random
random.seed(7)
json.dump([random.random() for _ in range(1000)], open("features.json", "w"))
print("prepared")
`;
const PREDICT = `
import json
rows = json.load(open("data/features.json"))
json.dump({"mean": sum(rows) / len(rows)}, open("prediction.json", "w"))
print("predicted", len(rows))
`;

const TWICE = `
import sys, longshore
client = longshore.Client(sys.argv[1])
def run():
    first = client.submit(code="open('a.txt', 'w').write('a'); print('from python')", outputs=["a.txt"], cache=True)
    inputs = {"in/a.txt": first.artifact("a.txt")}
    options = {"inputs": inputs, "depends_on": [first], "cache": True, "expected_duration": "1s"}
    second = client.submit(code="print('second', open('in/a.txt').read())", **options)
    second.result()
    first.wait()
    return first, second
one, two = run(), run()
for before, now in zip(one, two):
    record = now.get()
    assert now.cached_from == record.cached_from == before.id, (now.cached_from, before.id)
    assert len(record.attempts) == 0 and record.result.stdout_tail == before.get().result.stdout_tail
    assert list(now.logs()) == list(before.logs())
    digests = [[(a.path, a.sha256) for a in t.artifacts.list()] for t in (before, now)]
    assert digests[0] == digests[1], digests
failed = client.submit(code="import time; time.sleep(2); raise SystemExit(4)")
late = client.submit(code="print(1)", depends_on=[failed.id])
outcome = late.result(check=False)
assert outcome.reason == "DEPENDENCY_FAILED" and failed.id in outcome.message, outcome
print("as expected")
`;

interface Shown {
  readonly id: string;
  readonly state: string;
  readonly cachedFrom?: string;
  readonly attempts?: readonly unknown[];
}

describe("pipelines and the result cache", { skip: skip ?? false }, () => {
  let server: RunningServer;
  let client: Longshore;
  before(async () => {
    server = await startServer();
    client = new Longshore(server.address);
  });
  after(async () => {
    client?.close();
    await server?.stop();
    const left = await server?.leftovers();
    await server?.[Symbol.asyncDispose]();
    assert.deepEqual(left, []);
  });

  const cli = (...args: string[]) => runCli(args, { server: server.address });
  const shown = async (id: string): Promise<Shown> => JSON.parse((await cli("get", id, "--json")).stdout);

  test("what one task leaves is the next one's input, and a second time both are answered at once", async () => {
    const pipeline = async () => {
      const prepare = await client.submit(
        { code: PREPARE },
        { ram: "64MB", cpu: 0.5, outputs: ["*.json"], cache: true },
      );
      const input = { path: "data/features.json", taskId: prepare.id, artifact: "features.json" };
      const predict = await client.submit(
        { code: PREDICT },
        { ram: "128MB", inputs: [input], outputs: ["prediction.json"], cache: true },
      );
      await predict.result();
      return [prepare, predict];
    };
    const [prepare, predict] = await pipeline();
    assert.ok(prepare !== undefined && predict !== undefined);
    const record = await predict.get();
    assert.equal(record.result?.stdoutTail, "predicted 1000\n");
    assert.ok((record.startTime?.getTime() ?? 0) >= ((await prepare.get()).endTime?.getTime() ?? Infinity));
    const digests = async (task: Task) =>
      (await Array.fromAsync(task.artifacts.list())).map(({ path, sha256 }) => [path, sha256]);
    for (const [index, again] of (await pipeline()).entries()) {
      const source: Task | undefined = [prepare, predict][index];
      assert.ok(source !== undefined);
      assert.equal((await again.get()).cachedFrom, source.id);
      assert.deepEqual((await again.get()).attempts, []);
      assert.deepEqual(await digests(again), await digests(source));
    }
  });

  test("a second run with --cache shows the first one's output, and where it is from", async () => {
    const run = () =>
      cli(
        ...["run", "--code", "print('once'); open('m.bin', 'w').write('m')"],
        ...["--cache", "--out", "*.bin", "--expected-duration", "1s"],
      );
    const first = await run();
    assert.equal(first.code, 0, first.stderr);
    const second = await run();
    assert.deepEqual([second.code, second.stdout], [0, "once\n"]);
    const [id, source] = [first, second].map(({ stderr }) => /task +(\S+)/.exec(stderr)?.[1] ?? "").reverse();
    assert.ok(id && source);
    assert.match(second.stderr, new RegExp(`succeeded +cached from ${source}`));
    assert.match(second.stderr, /m\.bin/);
    const record = await shown(id);
    assert.deepEqual([record.cachedFrom, record.attempts ?? []], [source, []]);
    assert.match((await cli("describe", id)).stdout, new RegExp(`cached from ${source}`));
    assert.match((await cli("ps", "--all")).stdout, new RegExp(`${id} .*cached from ${source}`));
    const deleted = await cli("rm", source);
    assert.equal(deleted.code, 0, deleted.stderr);
    assert.equal((await cli("logs", id)).stdout, "once\n");
  });

  test("what waits says for what, and a failure on the way ends all that follows", async () => {
    const submit = async (...args: string[]) => (await cli("submit", ...args)).stdout.trim();
    const first = await submit("--code", "import time; time.sleep(600)", "--timeout", "11m");
    const second = await submit("--code", "print(2)", "--depends-on", first);
    const third = await submit("--code", "print(3)", "--depends-on", second, "--depends-on", first);
    assert.match((await cli("ps")).stdout, new RegExp(`${second} +queued .*waiting for task ${first}`));
    const described = (await cli("describe", third)).stdout;
    assert.match(described, /waits +waiting for 2 of 2 tasks that it depends on/);
    assert.match(described, new RegExp(`depends on +${second}, ${first}`));
    const refused = await cli("rm", first);
    assert.notEqual(refused.code, 0);
    await cli("cancel", first);
    const ended = await cli("logs", "-f", third);
    assert.equal(ended.stdout, "");
    const record = await client.task(third).get();
    assert.match(record.result?.message ?? "", new RegExp(`${first}.* was cancelled`));
    const late = await cli("run", "--code", "print(4)", "--depends-on", third);
    assert.match(late.stderr, new RegExp(`--depends-on .*${third}`));
  });

  test("a server that is killed in the middle of it goes on with all of it", async () => {
    const code = "import time; print('slow', flush=True); time.sleep(2); print('done')";
    const slow = await client.submit({ code }, { cache: true });
    const equal = await client.submit({ code }, { cache: true });
    const next = await client.submit({ code: "print('next')" }, { dependsOn: [equal] });
    const failing = await client.submit({ code: "import time; time.sleep(2); raise SystemExit(1)" });
    const lost = await client.submit({ code: "print('never')" }, { dependsOn: [failing] });
    for await (const event of slow.watch()) if (event.kind === "log") break;
    await server.kill();
    await server.start();
    assert.equal((await equal.result()).record.cachedFrom, slow.id);
    assert.equal((await equal.get()).result?.stdoutTail, "slow\ndone\n");
    assert.ok((await next.result()).succeeded);
    assert.equal((await lost.result({ reject: false })).reason, "DEPENDENCY_FAILED");
  });

  test("Python says the same", {
    skip: python === "" && "LONGSHORE_TEST_PYTHON names no Python with the client's packages",
  }, async () => {
    const env = { ...process.env, PYTHONPATH: PYTHON_SOURCES, PYTHONDONTWRITEBYTECODE: "1" };
    const { stdout } = await promisify(execFile)(python, ["-c", TWICE, server.address], { env });
    assert.equal(stdout, "as expected\n");
  });
});
