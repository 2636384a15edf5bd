import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { V1Node, V1Pod } from "@kubernetes/client-node";
import { ForeignPods } from "#server/adapters/kubernetes/foreign-pods.ts";
import { LABELS } from "#server/adapters/kubernetes/naming.ts";
import { DEFAULT_PLACEMENT, type KubernetesEngineOptions } from "#server/adapters/kubernetes/options.ts";
import { requestsOf } from "#server/adapters/kubernetes/pod-requests.ts";
import type { ForeignLoad } from "#server/domain/capacity.ts";
import { Unavailable } from "#server/domain/errors.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";

const GPU = "nvidia.com/gpu";
const TOTAL = { cpuMillis: 8000, ramBytes: 16 * GIBIBYTE, storageBytes: 200 * GIBIBYTE, gpuCount: 4 };

function node(name: string, ready = true): V1Node {
  return {
    metadata: { name },
    status: {
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      allocatable: { cpu: "4", memory: "8Gi", "ephemeral-storage": "100Gi", [GPU]: "2" },
    },
  };
}

function pod(nodeName: string, requests: Record<string, string>, changes: Partial<V1Pod> = {}): V1Pod {
  return { spec: { nodeName, containers: [{ name: "main", resources: { requests } }] }, ...changes };
}

const ours = {
  [LABELS.role]: "sandbox",
  [LABELS.installation]: "01j00000000000000000000002",
  [LABELS.engine]: "cluster",
  [LABELS.task]: "01J00000000000000000000003",
};

function watchOf(
  cluster: { nodes: () => Promise<V1Node[] | undefined>; placedPods: () => Promise<V1Pod[] | undefined> },
  changes: Partial<KubernetesEngineOptions> = {},
) {
  const log = new CollectingLog();
  const named = { name: "cluster", installationId: "01J00000000000000000000002" };
  const options = { ...named, placement: DEFAULT_PLACEMENT, capacity: null, log, ...changes };
  return { log, pods: new ForeignPods(cluster, options, TOTAL) };
}

async function first({ pods }: { pods: ForeignPods }): Promise<ForeignLoad> {
  const stop = new AbortController();
  for await (const load of pods.watch(stop.signal)) {
    stop.abort();
    return load;
  }
  throw new Error("nothing was told");
}

const loadOf = (nodes: V1Node[], pods: V1Pod[], changes: Partial<KubernetesEngineOptions> = {}) =>
  first(watchOf({ nodes: async () => nodes, placedPods: async () => pods }, changes));

describe("what a pod holds", () => {
  const cpuOf = (spec: V1Pod["spec"]) => requestsOf({ ...(spec && { spec }) }, GPU).cpuMillis;
  const container = (cpu: string, restartPolicy?: string) => ({
    ...{ name: "c", resources: { requests: { cpu } } },
    ...(restartPolicy && { restartPolicy }),
  });

  test("is the sum of its containers, or what its start takes", () => {
    assert.equal(cpuOf({ containers: [container("500m"), container("1")] }), 1500);
    assert.equal(cpuOf({ containers: [container("500m")], initContainers: [container("2")] }), 2000);
    assert.equal(
      cpuOf({ containers: [container("1")], initContainers: [container("500m", "Always")] }),
      1500,
    );
    const both = [container("500m", "Always"), container("2")];
    assert.equal(cpuOf({ containers: [container("1")], initContainers: both }), 2500);
  });

  test("counts what it asks for as a whole, and what its runtime takes", () => {
    const resources = { requests: { cpu: "3" } };
    assert.equal(cpuOf({ containers: [container("1")], resources, overhead: { cpu: "250m" } }), 3250);
  });

  test("is nothing of a resource that it does not ask for", () => {
    const held = requestsOf(pod("n1", { memory: "1Gi", [GPU]: "1" }), GPU);
    assert.deepEqual(held, { cpuMillis: 0, ramBytes: GIBIBYTE, storageBytes: 0, gpuCount: 1 });
  });
});

describe("pods of others", () => {
  test("are counted by node, ours are named, and both nodes' rest is told", async () => {
    const load = await loadOf(
      [node("n1"), node("n2")],
      [
        pod("n1", { cpu: "1500m", memory: "1Gi" }),
        pod("n2", { cpu: "500m", [GPU]: "1" }),
        pod("n2", { cpu: "2" }, { metadata: { labels: ours } }),
        // Another server's tasks are others'.
        pod("n2", { cpu: "1" }, { metadata: { labels: { ...ours, [LABELS.installation]: "other" } } }),
        pod("elsewhere", { cpu: "4" }),
      ],
    );
    assert.deepEqual(load.resources, { ...load.resources, cpuMillis: 3000, ramBytes: GIBIBYTE, gpuCount: 1 });
    assert.deepEqual(load.gpuIds, ["n2/nvidia.com/gpu/1"]);
    const hosts = load.rooms?.hosts.map(({ resources, taskIds }) => [resources.cpuMillis, taskIds]);
    assert.deepEqual(hosts, [
      [2500, []],
      [2500, [ours[LABELS.task]]],
    ]);
  });

  test("take what a node had that does not take tasks any more", async () => {
    const load = await loadOf([node("n1"), node("n2", false)], []);
    assert.equal(load.resources.cpuMillis, 4000);
    assert.equal(load.rooms?.hosts.length, 1);
  });

  test("of a lower priority make room", async () => {
    const idle = pod("n1", { cpu: "3" });
    const low = { ...idle, spec: { containers: [], ...idle.spec, priority: -10 } };
    assert.equal((await loadOf([node("n1"), node("n2")], [low])).resources.cpuMillis, 0);
  });

  test("do not count against a share that the operator has named", async () => {
    const load = await loadOf([node("n1")], [pod("n1", { cpu: "3" })], { capacity: TOTAL });
    assert.deepEqual([load.resources.cpuMillis, load.rooms], [0, undefined]);
  });

  test("that the server may not see are told of once, with what to do, and keep nothing waiting", async () => {
    const watched = watchOf({ nodes: async () => [node("n1")], placedPods: async () => undefined });
    assert.equal((await first(watched)).rooms, undefined);
    assert.equal((await first(watched)).rooms, undefined);
    assert.equal(watched.log.lines.filter((line) => /deploy\/kubernetes\/nodes\.yaml/.test(line)).length, 1);
  });

  test("of a cluster that does not answer are nothing at first", async () => {
    const away = async () => {
      throw new Unavailable("nobody answers");
    };
    assert.equal((await first(watchOf({ nodes: away, placedPods: away }))).rooms, undefined);
  });
});
