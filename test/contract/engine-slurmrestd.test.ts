/** What goes through slurmrestd, in place of Slurm's tools; what holds a task to its limits does not. */
import { SLURM_IMAGE, SlurmBench, slurm, slurmMissing, slurmRest } from "../support/slurm-engine.ts";
import { engineRestartSuite } from "./engine-restart-suite.ts";
import { engineSuite } from "./engine-suite.ts";
import type { EngineUnderTest } from "./engine-under-test.ts";

async function open(): Promise<EngineUnderTest> {
  const bench = await SlurmBench.create();
  const rest = { configFile: "/nowhere", slurmrestd: slurmRest() };
  let engine = await bench.open(rest);
  return {
    engine,
    image: SLURM_IMAGE,
    removeFromOutside: async (_, jobId) => void (await slurm("scancel", jobId)),
    reopen: async () => {
      await engine.close();
      engine = await bench.open(rest);
      return engine;
    },
    leftovers: (sandboxId) => bench.leftovers(sandboxId),
    close: () => bench[Symbol.asyncDispose](),
  };
}

engineSuite("slurm by slurmrestd", open, { skip: slurmMissing });
engineRestartSuite("slurm by slurmrestd", open, { skip: slurmMissing });
