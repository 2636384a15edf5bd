import { SLURM_IMAGE, SlurmBench, slurm, slurmMissing } from "../support/slurm-engine.ts";
import { engineConformance } from "./engine-conformance.ts";

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
