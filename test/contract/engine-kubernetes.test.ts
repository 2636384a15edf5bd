import { EXECUTOR_IMAGE } from "../support/docker-engine.ts";
import { KubernetesBench, KubernetesLab, kubernetesMissing } from "../support/kubernetes-lab.ts";
import { engineConformance } from "./engine-conformance.ts";

const open = async () => {
  const lab = await KubernetesLab.start();
  const bench = await KubernetesBench.create(lab);
  let engine = await bench.open();
  return {
    engine,
    image: EXECUTOR_IMAGE,
    removeFromOutside: (sandboxId: string) => bench.removeFromOutside(sandboxId),
    reopen: async () => {
      await engine.close();
      engine = await bench.open();
      return engine;
    },
    leftovers: (sandboxId: string) => bench.leftovers(sandboxId),
    close: async () => {
      await bench[Symbol.asyncDispose]();
      await lab[Symbol.asyncDispose]();
    },
  };
};

engineConformance("kubernetes", open, { skip: await kubernetesMissing() });
