import { setTimeout as sleep } from "node:timers/promises";
import { DockerBench, docker, dockerMissing, EXECUTOR_IMAGE } from "../support/docker-engine.ts";
import { engineSuite, patience } from "./engine-suite.ts";

engineSuite(
  "docker",
  async () => {
    const bench = await DockerBench.create();
    const engine = await bench.open();
    return {
      engine,
      image: EXECUTOR_IMAGE,
      warmUp: async (shape) => {
        // Asking in vain is what makes the pool fill up.
        engine.takeWarm(shape);
        const signal = patience();
        while (engine.warmCount() === 0) await sleep(20, undefined, { signal });
      },
      removeFromOutside: async (_, containerId) => void (await docker("rm", "-f", containerId)),
      leftovers: (sandboxId) => bench.leftovers(sandboxId),
      close: () => bench[Symbol.asyncDispose](),
    };
  },
  { skip: await dockerMissing() },
);
