/** What tasks and the builds of their environments have to do with each other, over a fake engine that really runs a play of uv. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { Parts } from "#server/application/parts.ts";
import { whyNoBuilds } from "#server/application/resolve-environment.ts";
import type { BuildKit } from "#server/domain/build-kit.ts";
import { InvalidRequest, Unsupported } from "#server/domain/errors.ts";
import type { EngineCapabilities } from "#server/domain/ports/engine.ts";
import type { TaskSpec } from "#server/domain/task.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { fakeBuildKit } from "../support/fakes/fake-build-kit.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import { SAMPLE_SPEC } from "../support/sample-task.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const resources = { cpu: "0.1", gpu: "", ram: "64MB", storage: "64MB", gpuModel: "" };

class EnvironmentBench implements AsyncDisposable {
  readonly bench: ApplicationBench;
  readonly gate: string;
  readonly #folder: TemporaryFolder;
  readonly #mostBytes: number;

  private constructor(bench: ApplicationBench, folder: TemporaryFolder, mostBytes: number) {
    this.bench = bench;
    this.#folder = folder;
    this.#mostBytes = mostBytes;
    this.gate = join(folder.path, "gate");
  }

  static async open(mostBytes = 2 ** 30): Promise<EnvironmentBench> {
    const folder = await TemporaryFolder.create();
    const bench = await ApplicationBench.open();
    await bench.stop();
    const self = new EnvironmentBench(bench, folder, mostBytes);
    execFileSync("mkfifo", [self.gate]);
    await bench.start(self.parts());
    return self;
  }

  parts(): Partial<Parts> {
    const env = { GATE: this.gate, BUILDS: join(this.#folder.path, "builds") };
    const builds = { kit: fakeBuildKit(env) };
    return { environments: { store: this.bench.environments, mostBytes: this.#mostBytes, builds } };
  }

  async builds(): Promise<string[]> {
    const text = await readFile(join(this.#folder.path, "builds"), "utf8").catch(() => "");
    return text.split("\n").filter((line) => line !== "");
  }

  /** Resolves when the build for the task says something. */
  async building(id: string): Promise<void> {
    const request = { id, cursor: "", follow: true, tailBytes: 0, logs: true };
    for await (const event of this.bench.application.watchTask(CALLER, request, AbortSignal.timeout(60_000)))
      if (event.kind === "log" && event.stream === "BUILD") return;
  }

  /** Lets a build that waits at the gate go on; waits until it is there. */
  async openGate(): Promise<void> {
    await (await open(this.gate, "w")).close();
  }

  create(requirements: string, spec: Partial<TaskSpec> = {}) {
    return this.bench.create({
      code: "print('hello')",
      resources,
      environment: { requirements, preload: [] },
      ...spec,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}

const stageOf = (task: { stages: readonly { name: string; note: string; error: string }[] }) =>
  task.stages.find(({ name }) => name === "environment");

describe("an environment", () => {
  test("is built once for all that ask for the same, and is there for the next", async () => {
    await using lab = await EnvironmentBench.open();
    const waiting = [];
    for (const text of ["gate\nsix==1.0", "six == 1.0 # the same\nGATE", "six==1.0\n\ngate"])
      waiting.push(await lab.create(text));
    const first = await lab.bench.until(waiting[0]?.id ?? "", ({ wait }) =>
      /being built/.test(wait?.message ?? ""),
    );
    assert.deepEqual([first.state, first.wait?.kind], ["QUEUED", "ENVIRONMENT"]);
    const held = await lab.bench.application.getCapacity("");
    assert.equal(held.held.cpuMillis, 1000, "a build holds what it takes");
    await lab.openGate();
    for (const { id } of waiting) {
      const ended = await lab.bench.finished(id);
      assert.equal(ended.state, "SUCCEEDED");
      assert.match(stageOf(ended)?.note ?? "", /^built in [\d.]+ s: /);
      assert.match(ended.attempts[0]?.environmentId ?? "", /^[0-9a-f]{64}$/);
    }
    assert.deepEqual(await lab.builds(), ["gate six==1.0"]);
    const next = await lab.bench.finished((await lab.create("gate\nsix==1.0")).id);
    assert.equal(stageOf(next)?.note, "cached: gate, six==1.0");
    assert.equal((await lab.builds()).length, 1);
    assert.equal((await lab.bench.application.getCapacity("")).held.cpuMillis, 0);
  });

  test("is each tenant's own, built for each as if nobody had asked before", async () => {
    await using lab = await EnvironmentBench.open();
    await lab.bench.finished((await lab.create("six==1.0")).id);
    const stranger = { ...CALLER, tenant: "another" };
    const spec = { ...SAMPLE_SPEC, requestId: "", labels: {}, code: "print()", resources };
    const { id } = await lab.bench.application.createTask(stranger, {
      spec: { ...spec, environment: { requirements: "six==1.0", preload: [] } },
      secrets: {},
      violations: [],
    });
    const watch = { id, cursor: "", follow: true, tailBytes: 0, logs: false };
    await Array.fromAsync(lab.bench.application.watchTask(stranger, watch, AbortSignal.timeout(60_000)));
    const ended = await lab.bench.application.getTask(stranger, id);
    assert.match(stageOf(ended)?.note ?? "", /^built in /);
    assert.deepEqual(await lab.builds(), ["six==1.0", "six==1.0"]);
  });

  test("that cannot be built ends all who wait, by their own lines, and costs nothing", async () => {
    await using lab = await EnvironmentBench.open();
    const one = await lab.create("missing");
    const other = await lab.create("# comment\n\nmissing");
    const [first, second] = [await lab.bench.finished(one.id), await lab.bench.finished(other.id)];
    for (const task of [first, second]) {
      assert.deepEqual(
        [task.state, task.result?.reason, task.attempts],
        ["FAILED", "ENVIRONMENT_FAILED", []],
      );
      assert.match(task.result?.stderrTail ?? "", /Because missing was not found/);
      assert.match(stageOf(task)?.error ?? "", /there is no package missing/);
    }
    assert.equal(first.result?.message, "requirements line 1: there is no package missing");
    assert.equal(second.result?.message, "requirements line 3: there is no package missing");
    const builds = (await lab.builds()).length;
    // Known for a while, then tried again: an index learns of new packages.
    await lab.bench.finished((await lab.create("missing")).id);
    assert.equal((await lab.builds()).length, builds);
    lab.bench.aheadMillis += 60_000;
    await lab.bench.finished((await lab.create("missing")).id);
    assert.equal((await lab.builds()).length, builds + 1);
  });

  test("whose sandbox vanishes is tried again, and again, then given up", async () => {
    await using lab = await EnvironmentBench.open();
    const ended = await lab.bench.finished((await lab.create("crash")).id);
    assert.equal(ended.result?.reason, "ENVIRONMENT_FAILED");
    assert.equal((await lab.builds()).length, 3);
  });

  test("shows its build to whoever watches, from where the watch stood", async () => {
    await using lab = await EnvironmentBench.open();
    const { id } = await lab.create("gate");
    const request = { id, follow: true, tailBytes: 0, logs: true };
    let cursor = "";
    let seen = "";
    for await (const event of lab.bench.application.watchTask(
      CALLER,
      { ...request, cursor: "" },
      AbortSignal.timeout(60_000),
    )) {
      if (event.kind !== "log") continue;
      assert.equal(event.stream, "BUILD");
      // Goes away in the middle of what came.
      cursor = event.cursorAt(5);
      seen = Buffer.from(event.data.subarray(0, 5)).toString();
      break;
    }
    const opening = lab.openGate();
    for await (const event of lab.bench.application.watchTask(
      CALLER,
      { ...request, cursor },
      AbortSignal.timeout(60_000),
    ))
      if (event.kind === "log" && event.stream === "BUILD") {
        assert.equal(event.offset, seen.length);
        seen += Buffer.from(event.data).toString();
      }
    await opening;
    assert.equal(seen, "Resolving gate\nInstalled\n");
  });

  test("ends its build when nobody waits for it any more", async () => {
    await using lab = await EnvironmentBench.open();
    const { id } = await lab.create("gate");
    await lab.building(id);
    await lab.bench.application.cancelTask(CALLER, id, "", 0);
    const ended = await lab.bench.finished(id);
    assert.equal(ended.state, "CANCELLED");
    while ((await lab.bench.engine.list()).length > 0 || (await lab.bench.engine.files.list()).length > 0)
      await new Promise<void>((resolve) => setImmediate(resolve));
    assert.equal((await lab.bench.application.getCapacity("")).held.cpuMillis, 0);
    assert.deepEqual(lab.bench.environments.list(), []);
  });

  test("is built anew by the next server, which removes what the build of the last one left", async () => {
    await using lab = await EnvironmentBench.open();
    const { id } = await lab.create("gate");
    await lab.building(id);
    // A killed server leaves the sandbox of its build behind; here one plays it that nobody knows.
    const [left] = await lab.bench.engine.list();
    assert.ok(left);
    await lab.bench.stop();
    await lab.bench.start(lab.parts());
    const opening = lab.openGate();
    const ended = await lab.bench.finished(id);
    await opening;
    assert.equal(ended.state, "SUCCEEDED");
    assert.ok(!(await lab.bench.engine.list()).some((sandbox) => sandbox.id === left.id));
  });

  test("gives way when there are too many, least recently used first, never one in use", async () => {
    // Each holds somewhat more than 1000 bytes, with its tar's headers less than 5000.
    await using lab = await EnvironmentBench.open(12_000);
    const used = await lab.create("first", { code: "import sys; sys.stdin.read()", stdin: "" });
    await lab.bench.finished(used.id);
    const ids = () => lab.bench.environments.list().map(({ id }) => id);
    const [first] = ids();
    const running = await lab.create("second", {
      code: "import time; time.sleep(3600)",
      timeoutMillis: 3_600_000,
    });
    await lab.bench.until(running.id, ({ state }) => state === "RUNNING");
    const second = ids().find((id) => id !== first);
    for (const name of ["third", "fourth", "fifth"]) await lab.bench.finished((await lab.create(name)).id);
    assert.ok(second !== undefined && ids().includes(second), "the one in use stays");
    assert.equal(lab.bench.environments.removed[0], first);
    assert.ok(lab.bench.environments.list().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) <= 12_000);
    // Gone, but not for good.
    const again = await lab.bench.finished((await lab.create("first")).id);
    assert.match(stageOf(again)?.note ?? "", /^built/);
    await lab.bench.application.cancelTask(CALLER, running.id, "", 0);
    await lab.bench.finished(running.id);
  });

  test("of an attempt from before a restart does not give way", async () => {
    await using lab = await EnvironmentBench.open(5_000);
    const running = await lab.create("first", {
      code: "import time; time.sleep(3600)",
      timeoutMillis: 3_600_000,
    });
    await lab.bench.until(running.id, ({ state }) => state === "RUNNING");
    const [used] = lab.bench.environments.list();
    await lab.bench.stop();
    await lab.bench.start(lab.parts());
    await lab.bench.finished((await lab.create("second")).id);
    await lab.bench.finished((await lab.create("third")).id);
    const kept = lab.bench.environments.list().map(({ id }) => id);
    assert.ok(used !== undefined && kept.includes(used.id));
    assert.ok(lab.bench.environments.removed.length > 0);
    await lab.bench.application.cancelTask(CALLER, running.id, "", 0);
    await lab.bench.finished(running.id);
  });

  test("is not built for what policy refuses, and every line is named at once", async () => {
    await using lab = await EnvironmentBench.open();
    const refused = lab.create("six\n-r other.txt\ngit+https://host/repo", {
      environment: { requirements: "six\n-r other.txt\ngit+https://host/repo", preload: ["os", "x y"] },
    });
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof InvalidRequest);
      assert.deepEqual(
        error.violations.map(({ field, description }) => [field, /^line \d/.exec(description)?.[0] ?? ""]),
        [
          ["environment.preload[1]", ""],
          ["environment.requirements", "line 2"],
          ["environment.requirements", "line 3"],
        ],
      );
      return true;
    });
    assert.deepEqual(await lab.builds(), []);
  });

  test("of nothing but comments is none, and a server that builds none says so at once", async () => {
    await using lab = await EnvironmentBench.open();
    for (const text of ["", "# none\n"]) {
      const ended = await lab.bench.finished((await lab.create(text)).id);
      assert.deepEqual(
        [ended.state, stageOf(ended), ended.attempts[0]?.environmentId],
        ["SUCCEEDED", undefined, ""],
      );
    }
    await lab.bench.stop();
    await lab.bench.start();
    await assert.rejects(
      lab.create("six"),
      (error) => error instanceof Unsupported && /no-requirements/.test(error.message),
    );
  });
});

test("an engine says why it cannot build what this server's kit is for", async () => {
  const capabilities = await new FakeEngine().capabilities();
  const why = (kit: Partial<BuildKit>, changes: Partial<EngineCapabilities>) =>
    whyNoBuilds(fakeBuildKit({}, kit), "cluster", { ...capabilities, ...changes }) ?? "";
  const offline = { buildsOffline: true };
  assert.equal(why({ network: "OPEN" }, {}), "");
  assert.equal(why({ network: "NONE" }, offline), "");
  for (const network of ["OPEN", "GUARDED"] as const)
    assert.match(why({ network }, offline), /cluster installs packages without a network alone/);
  assert.match(why({ isolation: "GVISOR" }, {}), /has no isolation gvisor/);
  assert.match(why({}, { environments: false }), /no way to give a task packages/);
});
