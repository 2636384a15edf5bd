/** Which engine a task goes to that names none. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type EngineHost, EngineHosts } from "#server/application/engine-host.ts";
import { placeTask } from "#server/application/place-task.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";
import { NeverFits, NotEnforced, SystemFault, Unavailable } from "#server/domain/errors.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import { sampleTask } from "../support/sample-task.ts";

const NONE = { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 };
const { spec, limits } = sampleTask(1);
const small = { ...limits, cpuMillis: 1000, ramBytes: GIBIBYTE, storageBytes: 1, gpuCount: 0 };

async function hostOf(name: string, cpuMillis: number): Promise<EngineHost> {
  const engine = new FakeEngine({ name });
  const total = { cpuMillis, ramBytes: 8 * GIBIBYTE, storageBytes: GIBIBYTE, gpuCount: 0 };
  return { engine, capabilities: await engine.capabilities(), ledger: new CapacityLedger(total, NONE) };
}

async function hosts(overflow = "cluster") {
  const docker = await hostOf("docker", 2000);
  const cluster = await hostOf("cluster", 8000);
  return { docker, cluster, all: new EngineHosts([docker, cluster], new Map(), overflow) };
}

const anywhere = async () => undefined;

describe("the engine of a new task", () => {
  test("is the first one while that has room, the overflow while it has none", async () => {
    const { docker, cluster, all } = await hosts();
    assert.equal(await placeTask(all, spec, small, anywhere), docker);
    docker.ledger.hold("other", { ...small, cpuMillis: 2000 });
    assert.equal(await placeTask(all, spec, small, anywhere), cluster);
    cluster.ledger.hold("others", { ...small, cpuMillis: 8000 });
    assert.equal(
      await placeTask(all, spec, small, anywhere),
      docker,
      "both are full: it waits for the first",
    );
  });

  test("is the one it names, whatever has room", async () => {
    const { docker, cluster, all } = await hosts();
    docker.ledger.hold("other", { ...small, cpuMillis: 2000 });
    assert.equal(await placeTask(all, { ...spec, engine: "docker" }, small, anywhere), docker);
    assert.equal(await placeTask(all, { ...spec, engine: "cluster" }, small, anywhere), cluster);
  });

  test("is the overflow where the first could never run it", async () => {
    const { docker, cluster, all } = await hosts();
    const refuse = async (host: EngineHost) => {
      if (host === docker) throw new NeverFits("too big");
    };
    cluster.ledger.hold("others", { ...small, cpuMillis: 8000 });
    assert.equal(await placeTask(all, spec, small, refuse), cluster);
  });

  test("is not one that cannot run it, and the first one's refusal is what is told", async () => {
    const { docker, all } = await hosts();
    const onlyFirst = async (host: EngineHost) => {
      if (host !== docker) throw new NotEnforced("no such network");
    };
    docker.ledger.hold("other", { ...small, cpuMillis: 2000 });
    assert.equal(await placeTask(all, spec, small, onlyFirst), docker);
    const nowhere = async ({ engine }: EngineHost) => {
      throw new NeverFits(`too big for ${engine.name}`);
    };
    await assert.rejects(placeTask(all, spec, small, nowhere), /too big for docker/);
    const away = async () => {
      throw new Unavailable("no daemon");
    };
    await assert.rejects(placeTask(all, spec, small, away), Unavailable);
  });

  test("is never another without an overflow, which has to be an engine", async () => {
    const { docker, all } = await hosts("");
    docker.ledger.hold("other", { ...small, cpuMillis: 2000 });
    assert.equal(await placeTask(all, spec, small, anywhere), docker);
    for (const wrong of ["docker", "aws"]) await assert.rejects(hosts(wrong), SystemFault);
  });
});
