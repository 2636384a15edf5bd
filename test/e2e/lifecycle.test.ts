import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import {
  InvalidRequest,
  Longshore,
  LongshoreError,
  NeverFits,
  NotFound,
  TaskFailed,
  WrongState,
} from "@longshore/client";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const skip = await whyNoServer();

describe("a task from create to delete", { skip: skip ?? false }, () => {
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

  test("its output, exit code and stages are in the record", async () => {
    const task = await client.submit({
      code: "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)",
    });
    const outcome = await task.result({ reject: false });
    assert.equal(outcome.exitCode, 3);
    const record = await task.get();
    assert.equal(record.result?.stdoutTail, "out\n");
    assert.equal(record.result?.stderrTail, "err\n");
    assert.equal(record.result?.exitCode, 3);
    const stages = new Set(record.stages.map((stage) => stage.name));
    for (const name of [2, 3, 5, 6, 7] as const) assert.ok(stages.has(name), `stage ${name} is missing`);
    for (const stage of record.stages) assert.ok(stage.endTime !== undefined, `stage ${stage.name} is open`);
    assert.notEqual(record.containerId, "");
  });

  test("a failure rejects with what happened", async () => {
    const task = await client.submit({ code: "raise SystemExit('no data')" });
    await assert.rejects(task.result(), (error) => {
      assert.ok(error instanceof TaskFailed);
      assert.match(error.message, /exited with 1/);
      return true;
    });
    assert.equal((await task.get()).result?.stderrTail, "no data\n");
  });

  test("a timeout says so, and keeps what was printed", async () => {
    const task = await client.submit(
      { code: "print('begun', flush=True)\nwhile True: pass" },
      { timeout: "1s" },
    );
    const outcome = await task.result({ reject: false });
    assert.equal(outcome.reason, "TIMED_OUT");
    const { result } = await task.get();
    assert.equal(result?.stdoutTail, "begun\n");
    assert.match(result?.message ?? "", /1 s/);
    assert.match(result?.advice ?? "", /timeout/);
  });

  test("memory beyond the limit ends it as out of memory, with the peak", async () => {
    const task = await client.submit({ code: "x = bytearray(400 * 2**20); print(len(x))" }, { ram: "64MB" });
    const outcome = await task.result({ reject: false });
    assert.equal(outcome.reason, "OUT_OF_MEMORY");
    const { result } = await task.get();
    assert.match(result?.advice ?? "", /resources\.ram/);
    assert.ok((result?.termination?.observedPeak ?? 0n) > 32n * 2n ** 20n);
  });

  test("args, env and stdin reach it", async () => {
    const code = "import os, sys; print(sys.argv[1:], os.environ['COLOUR'], sys.stdin.read())";
    const task = await client.submit(
      { code },
      { args: ["--x", "ä b"], env: { COLOUR: "blue" }, stdin: Buffer.from("in\n") },
    );
    await task.result();
    assert.equal((await task.get()).result?.stdoutTail, "['--x', 'ä b'] blue in\n\n");
  });

  test("a secret reaches it and stays in no record, log or database", async () => {
    const secret = `s3cret-${crypto.randomUUID()}`;
    const code = "import os, hashlib; print(hashlib.sha256(os.environ['TOKEN'].encode()).hexdigest())";
    const requestId = crypto.randomUUID();
    const options = { secretEnv: { TOKEN: secret }, requestId };
    const task = await client.submit({ code }, options);
    await task.result();
    const record = await task.get();
    assert.equal(record.result?.stdoutTail, `${createHash("sha256").update(secret).digest("hex")}\n`);
    assert.deepEqual(record.spec?.secretEnv, { TOKEN: "" });
    assert.equal((await client.submit({ code }, options)).id, task.id, "the same secret is the same request");
    await assert.rejects(
      client.submit({ code }, { ...options, secretEnv: { TOKEN: "other" } }),
      /already used/,
    );

    const again = await task.rerun();
    await again.result();
    assert.equal((await again.get()).result?.stdoutTail, record.result?.stdoutTail);

    assert.ok(!server.log.some((line) => line.includes(secret)), "it is in the log");
    for (const name of await readdir(server.dataDirectory, { recursive: true })) {
      const path = join(server.dataDirectory, name);
      // Folders, and files of sandboxes that are just being removed.
      const content = await readFile(path).catch(() => Buffer.alloc(0));
      assert.ok(!content.includes(secret), `it is in ${name}`);
    }
  });

  test("a command instead of Python", async () => {
    const task = await client.submit(
      { code: "print(1)" },
      { command: ["sh", "-c", "echo shell $0; cat main.py"] },
    );
    await task.result();
    assert.equal((await task.get()).result?.stdoutTail, "shell sh\nprint(1)");
  });

  test("what it leaves behind can be listed and fetched", async () => {
    const code =
      "import os; os.mkdir('out'); open('out/a.txt','w').write('a'*100000); open('b.bin','wb').write(bytes(range(256)))";
    const task = await client.submit({ code }, { outputs: ["out/**", "*.bin"] });
    await task.result();
    const artifacts = [];
    for await (const artifact of task.artifacts.list())
      artifacts.push([artifact.path, Number(artifact.sizeBytes)]);
    assert.deepEqual(artifacts, [
      ["b.bin", 256],
      ["out/a.txt", 100000],
    ]);
  });

  test("cancel ends a running one, and doing it again changes nothing", async () => {
    const task = await client.submit(
      { code: "import time; print('up', flush=True); time.sleep(600)" },
      { timeout: "1h" },
    );
    for await (const event of task.watch()) {
      if (event.kind === "log") break;
    }
    await task.cancel({ reason: "enough" });
    const outcome = await task.result({ reject: false });
    assert.equal(outcome.reason, "CANCELLED");
    const record = await task.get();
    const again = await task.cancel();
    assert.deepEqual(again.endTime, record.endTime);
    assert.deepEqual((await task.get()).result, record.result);
  });

  test("a task that ignores SIGTERM ends when its grace is over", async () => {
    const code =
      "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)";
    const task = await client.submit({ code }, { timeout: "1h" });
    for await (const event of task.watch()) {
      if (event.kind === "log") break;
    }
    await task.cancel({ grace: "200ms" });
    assert.equal((await task.result({ reject: false })).reason, "CANCELLED");
  });

  test("one that is queued behind others tells why, and is cancelled without a container", async () => {
    const cpus = Number((await client.capacity()).total?.cpuMillis ?? 0n) / 1000;
    const long = { code: "import time; print('up', flush=True); time.sleep(600)" };
    const running = await client.submit(long, { cpu: cpus, timeout: "1h" });
    for await (const event of running.watch()) {
      if (event.kind === "log") break;
    }
    const queued = await client.submit({ code: "print(1)" }, { cpu: cpus });
    for await (const event of queued.watch()) {
      if (event.kind === "task" && /waiting for .* CPU/.test(event.task.wait?.message ?? "")) break;
    }
    const waiting = await queued.get();
    assert.equal(waiting.wait?.position, 1);
    const cancelled = await queued.cancel();
    assert.equal(cancelled.attempts.length, 0);
    await running.cancel({ grace: "0s" });
    await running.result({ reject: false });
  });

  test("a rerun takes new resources and names what it repeats", async () => {
    const task = await client.submit({ code: "print(1)" }, { ram: "64MB" });
    await task.result();
    const again = await task.rerun({ ram: "128MB", timeout: "5s" });
    await again.result();
    const record = await again.get();
    assert.equal(record.rerunOf, task.id);
    assert.equal(record.effectiveResources?.ramBytes, 128n * 2n ** 20n);
    assert.equal(record.spec?.code, "print(1)");
  });

  test("delete needs an end, and leaves nothing", async () => {
    const task = await client.submit(
      { code: "import time; print('up', flush=True); time.sleep(600)" },
      { timeout: "1h" },
    );
    for await (const event of task.watch()) {
      if (event.kind === "log") break;
    }
    await assert.rejects(task.delete(), WrongState);
    await task.cancel({ grace: "0s" });
    await task.result({ reject: false });
    await task.delete();
    await assert.rejects(task.get(), NotFound);
    await assert.rejects(task.delete(), NotFound);
  });

  test("the same request id and content answers the first task, other content is refused", async () => {
    const requestId = crypto.randomUUID();
    const first = await client.submit({ code: "print(1)" }, { requestId });
    const second = await client.submit({ code: "print(1)" }, { requestId });
    assert.equal(second.id, first.id);
    await assert.rejects(client.submit({ code: "print(2)" }, { requestId }), (error) => {
      assert.ok(error instanceof LongshoreError);
      assert.equal(error.reason, "REQUEST_ID_REUSED");
      assert.equal(error.metadata.task_id, first.id);
      return true;
    });
    await first.result();
  });

  test("the list filters by label and state, newest first, page after page", async () => {
    const batch = crypto.randomUUID();
    const ids: string[] = [];
    for (let index = 0; index < 5; index++) {
      const task = await client.submit({ code: `raise SystemExit(${index % 2})` }, { labels: { batch } });
      ids.unshift(task.id);
      await task.result({ reject: false });
    }
    const listed = async (options: Parameters<Longshore["list"]>[0]) => {
      const found: string[] = [];
      for await (const task of client.list({ labels: { batch }, ...options })) found.push(task.id);
      return found;
    };
    assert.deepEqual(await listed({ pageSize: 2 }), ids);
    assert.deepEqual(await listed({ states: ["failed"] }), [ids[1], ids[3]]);
  });

  test("every wrong field is named in one answer, and nothing is stored", async () => {
    const batch = crypto.randomUUID();
    const wrong = client.submit(
      { code: " " },
      { cpu: "-1", gpu: "x", ram: "512", storage: "lots", labels: { batch }, priority: 1000 },
    );
    await assert.rejects(wrong, (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.deepEqual(error.violations.map((violation) => violation.field).sort(), [
        "code",
        "priority",
        "resources.cpu",
        "resources.gpu",
        "resources.ram",
        "resources.storage",
      ]);
      return true;
    });
    for await (const task of client.list({ labels: { batch } })) assert.fail(`task ${task.id} was stored`);
  });

  test("what can never fit is refused at once, with asked and most", async () => {
    await assert.rejects(client.submit({ code: "print(1)" }, { cpu: 64 }), (error) => {
      assert.ok(error instanceof NeverFits);
      assert.equal(error.metadata.resource, "cpu");
      assert.equal(error.metadata.asked, "64000");
      return true;
    });
  });

  test("an image that is not allowed is refused", async () => {
    await assert.rejects(client.submit({ code: "print(1)" }, { image: "evil:latest" }), (error) => {
      assert.ok(error instanceof LongshoreError);
      assert.equal(error.reason, "IMAGE_REFUSED");
      return true;
    });
  });
});
