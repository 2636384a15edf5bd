import assert from "node:assert/strict";
import { test } from "node:test";
import { ulid } from "ulid";
import { Unsupported } from "#server/domain/errors.ts";
import { SLURM_IMAGE, SlurmBench, slurm, slurmMissing } from "../support/slurm-engine.ts";
import { engineConformance } from "./engine-conformance.ts";
import { acquire, follow, patience, sampleRunnerSpec, sampleShape, shell } from "./engine-under-test.ts";

engineConformance(
  "slurm",
  async () => {
    const bench = await SlurmBench.create();
    let engine = await bench.open();
    return {
      engine,
      image: SLURM_IMAGE,
      removeFromOutside: async (_, jobId) => void (await slurm("scancel", jobId)),
      reopen: async () => {
        await engine.close();
        engine = await bench.open();
        return engine;
      },
      leftovers: (sandboxId) => bench.leftovers(sandboxId),
      close: () => bench[Symbol.asyncDispose](),
    };
  },
  { skip: slurmMissing },
);

test("a job that Slurm tells to go is lost, whatever its task makes of the signal", {
  skip: slurmMissing,
}, async () => {
  await using bench = await SlurmBench.create();
  const engine = await bench.open();
  const shape = sampleShape((await engine.resolveImage(SLURM_IMAGE)).digest);
  const sandbox = await acquire(engine, shape);
  const spec = sampleRunnerSpec(shape, shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"));
  await engine.begin(sandbox, spec);
  const { ending, exit } = await follow(engine, sandbox.id, spec.attemptId, (frame) => {
    // What a cluster does to every process of a job that is preempted or over its time.
    if (frame.kind === "log") void slurm("scancel", "--full", "--signal=TERM", sandbox.containerId);
  });
  assert.deepEqual([ending, exit.lost], [undefined, true]);
  await engine.release(sandbox.id);
  assert.deepEqual(await bench.leftovers(sandbox.id), []);
});

test("what the cluster does not have is refused in its own words, and leaves nothing", {
  skip: slurmMissing,
}, async () => {
  await using bench = await SlurmBench.create();
  const engine = await bench.open();
  const shape = sampleShape((await engine.resolveImage(SLURM_IMAGE)).digest);
  const placement = { account: "", partition: "nowhere", instanceType: "" };
  const order = { sandboxId: ulid(), taskId: ulid(), attempt: 1, shape, placement };
  await assert.rejects(
    engine.create(order, patience()),
    (error) => error instanceof Unsupported && /invalid partition name/i.test(error.message),
  );
  assert.deepEqual(await bench.leftovers(order.sandboxId), []);
  assert.deepEqual(await engine.files.list(), []);
});
