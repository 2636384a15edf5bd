import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MeasuredEngine } from "#server/application/measured-engine.ts";
import { Unavailable } from "#server/domain/errors.ts";
import type { Engine, SandboxOrder } from "#server/domain/ports/engine.ts";
import { CollectingMetrics } from "../support/fakes/collecting-metrics.ts";
import { FAKE_IMAGE, FakeEngine } from "../support/fakes/fake-engine.ts";
import { sampleTask } from "../support/sample-task.ts";

const { limits, isolation, network } = sampleTask(1);

async function orderOn(engine: Engine): Promise<SandboxOrder> {
  const { digest: imageDigest } = await engine.resolveImage(FAKE_IMAGE);
  const shape = { imageDigest, isolation, network, limits, gpuIds: [] };
  return { sandboxId: "01JD3M8Q2E7V0000000000000A", taskId: "01JD3M8Q2E7V0000000000000B", attempt: 1, shape };
}

describe("a measured engine", () => {
  test("times its calls by how they end", async () => {
    await using engine = new FakeEngine();
    const metrics = new CollectingMetrics();
    const measured = new MeasuredEngine(engine, metrics);
    const order = await orderOn(measured);
    const { signal } = new AbortController();
    engine.failNext("create", new Unavailable("away"));
    await assert.rejects(measured.create(order, signal), Unavailable);
    await assert.rejects(measured.create(order, AbortSignal.abort()));
    await measured.create(order, signal);
    const calls = metrics.figures.map(({ labels }) => `${labels.engine} ${labels.call} ${labels.outcome}`);
    assert.deepEqual(calls, [
      "fake resolve_image ok",
      "fake create error",
      "fake create aborted",
      "fake create ok",
    ]);
  });

  test("passes on what only some engines have", async () => {
    const forgotten: string[] = [];
    await using engine = Object.assign(new FakeEngine(), {
      forgetEnvironment: async (id: string) => void forgotten.push(id),
    });
    await new MeasuredEngine(engine, new CollectingMetrics()).forgetEnvironment("abc");
    assert.deepEqual(forgotten, ["abc"]);
    await using plain = new FakeEngine();
    const without: Engine = Object.assign(plain, { forgetEnvironment: undefined });
    await new MeasuredEngine(without, new CollectingMetrics()).forgetEnvironment("abc");
  });
});
