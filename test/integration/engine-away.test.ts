/** Engines that do not answer while the server starts: others go on without them, and they are taken up when they do. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import { ulid } from "ulid";
import { SystemFault, Unavailable } from "#server/domain/errors.ts";
import type {
  EngineCapabilities,
  Sandbox,
  SandboxExit,
  SandboxOrder,
  SandboxStatus,
} from "#server/domain/ports/engine.ts";
import { ApplicationBench, CALLER } from "../support/application-bench.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import { samplePolicy } from "../support/sample-policy.ts";
import { sampleTask } from "../support/sample-task.ts";

/** As the engine of a cluster: while it is away it is open, and says so. */
class DistantEngine extends FakeEngine {
  #back: PromiseWithResolvers<void> | undefined;

  leave(): void {
    this.#back ??= Promise.withResolvers();
  }

  comeBack(): void {
    this.#back?.resolve();
    this.#back = undefined;
  }

  override async capabilities(): Promise<EngineCapabilities> {
    this.#requireHere();
    return await super.capabilities();
  }

  override async create(order: SandboxOrder, signal: AbortSignal): Promise<Sandbox> {
    this.#requireHere();
    return await super.create(order, signal);
  }

  override async list(): Promise<SandboxStatus[]> {
    this.#requireHere();
    return await super.list();
  }

  override async stop(sandboxId: string, how: "terminate" | "kill"): Promise<void> {
    this.#requireHere();
    await super.stop(sandboxId, how);
  }

  override async release(sandboxId: string): Promise<void> {
    this.#requireHere();
    await super.release(sandboxId);
  }

  override async ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit> {
    const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    await Promise.race([this.#back?.promise, aborted]);
    return await super.ended(sandboxId, signal);
  }

  #requireHere(): void {
    if (this.#back !== undefined) throw new Unavailable("nobody answers at cluster.example");
  }
}

async function started() {
  const near = new FakeEngine({ name: "near" });
  const far = new DistantEngine({ name: "far" });
  const bench = await ApplicationBench.open({ engines: [near, far] });
  const restart = async (first: "near" | "far" = "near", engineOverflow = "") => {
    await bench.stop();
    await bench.start({ engines: first === "near" ? [near, far] : [far, near], engineOverflow });
  };
  return { bench, near, far, restart, [Symbol.asyncDispose]: () => dispose(bench, near, far) };
}

async function dispose(bench: ApplicationBench, near: FakeEngine, far: DistantEngine): Promise<void> {
  far.comeBack();
  await bench[Symbol.asyncDispose]();
  await near[Symbol.asyncDispose]();
  await far[Symbol.asyncDispose]();
}

const summaryOf = async (bench: ApplicationBench, name: string) =>
  (await bench.application.getCapabilities()).engines.find((engine) => engine.name === name);

async function untilThere(bench: ApplicationBench, name: string): Promise<void> {
  for await (const _ of bench.application.watchCapacity(name, AbortSignal.timeout(30_000)))
    if ((await summaryOf(bench, name))?.unavailable === "") return;
}

describe("an engine that is away while the server starts", () => {
  test("says so, takes no task that names it, and keeps nobody else from running", async () => {
    await using bed = await started();
    const { bench, far, restart } = bed;
    far.leave();
    await restart();
    const summary = await summaryOf(bench, "far");
    assert.match(
      summary?.unavailable ?? "",
      /engine far is asked again .*nobody answers at cluster\.example/,
    );
    assert.deepEqual(summary?.tiers, []);
    await assert.rejects(
      bench.create({ code: "print(1)", engine: "far" }),
      (error) =>
        error instanceof Unavailable &&
        /engine far has not answered since .* or name another engine .*cluster\.example/.test(error.message),
    );
    const here = await bench.create({ code: "print(1)" });
    assert.equal((await bench.finished(here.id)).state, "SUCCEEDED");
    far.comeBack();
    await untilThere(bench, "far");
    const there = await bench.create({ code: "print(1)", engine: "far" });
    assert.equal((await bench.finished(there.id)).attempts[0]?.engine, "far");
  });

  test("has its queued tasks wait with the reason, and runs them when it is back", async () => {
    await using bed = await started();
    const { bench, far, restart } = bed;
    far.leave();
    const task = await bench.create({ code: "print(1)", engine: "far" });
    await bench.until(task.id, ({ wait }) => wait?.kind === "ENGINE");
    await restart();
    const { state, wait } = await bench.application.getTask(CALLER, task.id);
    assert.deepEqual([state, wait?.kind], ["QUEUED", "ENGINE"]);
    assert.match(wait?.message ?? "", /engine far is asked again .*nobody answers at cluster\.example/);
    far.comeBack();
    assert.equal((await bench.finished(task.id)).state, "SUCCEEDED");
  });

  test("keeps what ran there on record, and tells its end when it is back", async () => {
    await using bed = await started();
    const { bench, far, restart } = bed;
    const sign = bench.folder.at("sign");
    const code = `import os, time\nwhile not os.path.exists("${sign}"): time.sleep(0.01)\nprint("kept")`;
    const task = await bench.create({ code, engine: "far" });
    await bench.until(task.id, ({ state }) => state === "RUNNING");
    far.leave();
    await restart();
    assert.equal((await bench.application.getTask(CALLER, task.id)).state, "RUNNING");
    await writeFile(sign, "");
    far.comeBack();
    const ended = await bench.finished(task.id);
    assert.deepEqual([ended.state, ended.attempts.length], ["SUCCEEDED", 1]);
    assert.equal(ended.result?.stdoutTail.toString(), "kept\n");
  });

  test("loses the sandboxes that nobody knows of as soon as it is back", async () => {
    await using bed = await started();
    const { bench, far, near } = bed;
    const { limits } = sampleTask(1);
    const shape = { imageDigest: "", isolation: "CONTAINER", network: "NONE", limits, gpuIds: [] } as const;
    await bench.stop();
    const orphan = { sandboxId: ulid(), taskId: ulid(), attempt: 1, shape };
    await far.create(orphan, new AbortController().signal);
    far.leave();
    await bench.start({ engines: [near, far] });
    far.comeBack();
    await untilThere(bench, "far");
    assert.deepEqual(await far.list(), []);
    const { removals } = await bench.application.getReconcileReport();
    assert.deepEqual(
      removals.map(({ kind, name }) => [kind, name]),
      [
        ["SANDBOX", orphan.sandboxId],
        ["FILES", orphan.sandboxId],
      ],
    );
  });

  test("gives its tasks to the overflow, where it is the default", async () => {
    await using bed = await started();
    const { bench, far, restart } = bed;
    far.leave();
    await restart("far", "near");
    const task = await bench.create({ code: "print(1)" });
    assert.equal((await bench.finished(task.id)).attempts[0]?.engine, "near");
  });

  test("stays away when it comes back without the default isolation", async () => {
    await using bed = await started();
    const { bench, far } = bed;
    await bench.stop();
    await assert.rejects(
      bench.start({ engines: [far], policy: samplePolicy({ defaultIsolation: "GVISOR" }) }),
      (error) => error instanceof SystemFault && /isolation gvisor by default/.test(error.message),
    );
    far.leave();
    await bench.start({ engines: [far], policy: samplePolicy({ defaultIsolation: "GVISOR" }) });
    far.comeBack();
    for await (const _ of bench.application.watchCapacity("far", AbortSignal.timeout(30_000)))
      if (/isolation gvisor by default/.test((await summaryOf(bench, "far"))?.unavailable ?? "")) return;
  });
});
