import { FAKE_IMAGE, FakeEngine } from "../support/fakes/fake-engine.ts";
import { engineSuite } from "./engine-suite.ts";

engineSuite("fake", async () => {
  const engine = new FakeEngine();
  return {
    engine,
    image: FAKE_IMAGE,
    warmUp: async (shape) => void (await engine.warmUp(shape)),
    removeFromOutside: (sandboxId) => engine.vanish(sandboxId),
    leftovers: async (sandboxId) =>
      (await engine.list()).filter(({ id }) => id === sandboxId).map(({ id }) => `sandbox ${id}`),
    close: () => engine[Symbol.asyncDispose](),
  };
});
