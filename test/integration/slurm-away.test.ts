/** A Slurm cluster that does not answer when the server starts. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ulid } from "ulid";
import { Unavailable } from "#server/domain/errors.ts";
import {
  acquire,
  follow,
  patience,
  sampleRunnerSpec,
  sampleShape,
  shell,
} from "../contract/engine-under-test.ts";
import { CuttingProxy } from "../support/cutting-proxy.ts";
import { SLURM_IMAGE, SlurmBench, slurmMissing, slurmRest } from "../support/slurm-engine.ts";

describe("a Slurm cluster that is away when its engine opens", { skip: slurmMissing }, () => {
  test("takes nothing, keeps what runs there, and is joined when it answers", async () => {
    await using bench = await SlurmBench.create();
    await using proxy = await CuttingProxy.start(new URL(slurmRest().url).host);
    const slurmrestd = { ...slurmRest(), url: `http://${proxy.address}` };
    const first = await bench.open({ slurmrestd });
    const shape = sampleShape((await first.resolveImage(SLURM_IMAGE)).digest);
    const sandbox = await acquire(first, shape);
    const spec = sampleRunnerSpec(shape, shell("echo begun; sleep 2; echo done"));
    await first.begin(sandbox, spec);
    await first.close();

    proxy.refuses = true;
    proxy.cutAll();
    const engine = await bench.openUnasked({ slurmrestd });
    const isAway = (error: unknown) => error instanceof Unavailable;
    await assert.rejects(engine.capabilities(), isAway);
    await assert.rejects(engine.list(), isAway);
    const order = { sandboxId: ulid(), taskId: ulid(), attempt: 1, shape };
    await assert.rejects(engine.create(order, patience()), isAway);
    await assert.rejects(engine.ended(sandbox.id, AbortSignal.timeout(50)), { name: "TimeoutError" });

    const following = follow(engine, sandbox.id, spec.attemptId);
    proxy.refuses = false;
    assert.ok((await engine.capabilities()).total.cpuMillis > 0);
    const { stdout, exit } = await following;
    assert.deepEqual([stdout, exit.exitCode, exit.lost], ["begun\ndone\n", 0, false]);
    await engine.release(sandbox.id);
    assert.deepEqual(await bench.leftovers(), []);
  });
});
