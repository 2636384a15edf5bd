import { FAKE_IMAGE, FakeEngine } from "../support/fakes/fake-engine.ts";
import { engineConformance } from "./engine-conformance.ts";

engineConformance("fake", async () => {
  const engine = new FakeEngine();
  return {
    engine,
    image: FAKE_IMAGE,
    warmUp: async (shape) => void (await engine.warmUp(shape)),
    removeFromOutside: (sandboxId) => engine.vanish(sandboxId),
    // It outlives the servers that stand on it.
    reopen: async () => engine,
    playsEnvironments: false,
    leftovers: async (sandboxId) =>
      (await engine.list()).filter(({ id }) => id === sandboxId).map(({ id }) => `sandbox ${id}`),
    close: () => engine[Symbol.asyncDispose](),
  };
});
