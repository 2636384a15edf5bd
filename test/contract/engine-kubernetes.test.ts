import { EXECUTOR_IMAGE } from "../support/docker-engine.ts";
import { KubernetesBench, KubernetesLab, kubernetesMissing } from "../support/kubernetes-lab.ts";
import { engineSuite } from "./engine-suite.ts";

const open = async () => {
  const lab = await KubernetesLab.start();
  const bench = await KubernetesBench.create(lab);
  const engine = await bench.open();
  return {
    engine,
    image: EXECUTOR_IMAGE,
    removeFromOutside: (sandboxId: string) => bench.removeFromOutside(sandboxId),
    leftovers: (sandboxId: string) => bench.leftovers(sandboxId),
    close: async () => {
      await bench[Symbol.asyncDispose]();
      await lab[Symbol.asyncDispose]();
    },
  };
};

engineSuite("kubernetes", open, { skip: await kubernetesMissing() });
