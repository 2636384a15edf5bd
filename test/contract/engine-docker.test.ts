import { setTimeout as sleep } from "node:timers/promises";
import type { Isolation } from "#server/domain/task.ts";
import {
  DockerBench,
  docker,
  dockerMissing,
  EXECUTOR_IMAGE,
  gvisorMissing,
} from "../support/docker-engine.ts";
import { engineConformance } from "./engine-conformance.ts";
import { patience } from "./engine-under-test.ts";

function dockerSuite(name: string, isolation: Isolation, skip: string | false): void {
  const open = async () => {
    const bench = await DockerBench.create();
    let engine = await bench.open();
    return {
      engine,
      image: EXECUTOR_IMAGE,
      isolation,
      ownCpuClock: isolation === "GVISOR",
      warmUp: async (shape: Parameters<typeof engine.takeWarm>[0]) => {
        // Asking in vain is what makes the pool fill up.
        engine.takeWarm(shape);
        const signal = patience();
        while (engine.warmCount() === 0) await sleep(20, undefined, { signal });
      },
      removeFromOutside: async (_: string, containerId: string) =>
        void (await docker("rm", "-f", containerId)),
      reopen: async () => {
        await engine.close();
        engine = await bench.open();
        return engine;
      },
      leftovers: (sandboxId: string) => bench.leftovers(sandboxId),
      close: () => bench[Symbol.asyncDispose](),
    };
  };
  engineConformance(name, open, { skip });
}

dockerSuite("docker", "CONTAINER", await dockerMissing());
dockerSuite("docker with gVisor", "GVISOR", await gvisorMissing());
