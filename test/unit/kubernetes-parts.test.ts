import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { V1Pod } from "@kubernetes/client-node";
import { requireBuildNetwork } from "#server/adapters/kubernetes/brought-files.ts";
import { sandboxJob } from "#server/adapters/kubernetes/job-manifest.ts";
import { LABELS } from "#server/adapters/kubernetes/naming.ts";
import { gpuModelLabels } from "#server/adapters/kubernetes/nodes.ts";
import { BUILD_NETWORK_POLICY, DEFAULT_PLACEMENT } from "#server/adapters/kubernetes/options.ts";
import { exitOf, startFailure, waitingFor } from "#server/adapters/kubernetes/pod-state.ts";
import { PodWatch } from "#server/adapters/kubernetes/pod-watch.ts";
import { quantity } from "#server/adapters/kubernetes/quantity.ts";
import { Unavailable } from "#server/domain/errors.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import { sampleShape } from "../contract/engine-under-test.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";

const SANDBOX = "01J00000000000000000000001";
const shape = sampleShape(`sha256:${"0".repeat(64)}`);

function plan(changes: Partial<Parameters<typeof sandboxJob>[0]> = {}) {
  return {
    name: "longshore-x",
    sandboxId: SANDBOX,
    installationId: "01J00000000000000000000002",
    engine: "cluster",
    taskId: "01J00000000000000000000003",
    attempt: 1,
    shape,
    image: "registry.example/python@sha256:0",
    uid: 10_001,
    build: null,
    volume: { configMap: "longshore-runner-0", runner: [], programs: [] },
    placement: DEFAULT_PLACEMENT,
    nodeLabels: {},
    startSeconds: 300,
    holdSeconds: 3600,
    nodeAwaySeconds: 60,
    ...changes,
  };
}

function podSpecOf(changes: Parameters<typeof plan>[0] = {}) {
  const spec = sandboxJob(plan(changes)).spec?.template.spec;
  assert.ok(spec);
  return spec;
}

describe("the job of a sandbox", () => {
  test("gives no container more than it needs", () => {
    const spec = podSpecOf();
    assert.equal(spec.automountServiceAccountToken, false);
    assert.equal(spec.enableServiceLinks, false);
    assert.deepEqual(spec.securityContext?.seccompProfile, { type: "RuntimeDefault" });
    const containers = [...(spec.initContainers ?? []), ...spec.containers];
    const added = containers.map(({ name, securityContext }) => {
      assert.equal(securityContext?.privileged, false);
      assert.equal(securityContext?.allowPrivilegeEscalation, false);
      assert.equal(securityContext?.readOnlyRootFilesystem, true);
      assert.deepEqual(securityContext?.capabilities?.drop, ["ALL"]);
      return [name, securityContext?.capabilities?.add ?? []];
    });
    assert.deepEqual(added, [
      ["prepare", ["CHOWN"]],
      ["courier", []],
      ["runner", ["SETUID", "SETGID", "KILL"]],
    ]);
  });

  test("lets the task's container see files of the data volume, never the volume", () => {
    const runner = podSpecOf().containers.find(({ name }) => name === "runner");
    const data = runner?.volumeMounts?.filter(({ name }) => name === "data") ?? [];
    assert.deepEqual(data.map(({ subPath }) => subPath).sort(), ["artifacts", "input", "journal", "spec"]);
    assert.ok(!runner?.volumeMounts?.some(({ mountPath }) => mountPath === "/longshore/data"));
  });

  test("asks for what the limits are, and for GPUs by their resource's name", () => {
    const runner = podSpecOf({ shape: { ...shape, gpuIds: ["nvidia.com/gpu/0", "nvidia.com/gpu/1"] } })
      .containers[1];
    for (const name of ["cpu", "memory", "nvidia.com/gpu"])
      assert.equal(runner?.resources?.requests?.[name], runner?.resources?.limits?.[name], name);
    assert.equal(runner?.resources?.limits?.["nvidia.com/gpu"], "2");
    assert.equal(runner?.resources?.limits?.cpu, "1000m");
  });

  test("goes to a node of the GPU's model where one is asked for that nodes have told", () => {
    const known = [{ id: "n1/nvidia.com/gpu/0", model: "NVIDIA-H200" }];
    const at = { placement: { ...DEFAULT_PLACEMENT, nodeSelector: { pool: "tasks" } } };
    const nodeLabels = gpuModelLabels("NVIDIA-H200", known, at);
    assert.deepEqual(podSpecOf({ ...at, nodeLabels }).nodeSelector, {
      pool: "tasks",
      "nvidia.com/gpu.product": "NVIDIA-H200",
    });
    for (const model of ["", "T4", "nvidia.com/gpu"]) assert.deepEqual(gpuModelLabels(model, known, at), {});
    // Nodes that tell no model have it under the resource's name, which is no label.
    const unnamed = [{ id: "n1/nvidia.com/gpu/0", model: "nvidia.com/gpu" }];
    assert.deepEqual(gpuModelLabels("nvidia.com/gpu", unnamed, at), {});
  });

  test("is one attempt and no more, and goes by itself where its server never comes back", () => {
    const { spec } = sandboxJob(plan());
    assert.equal(spec?.backoffLimit, 0);
    assert.equal(spec?.template.spec?.restartPolicy, "Never");
    assert.ok((spec?.activeDeadlineSeconds ?? 0) > 3600 + shape.limits.runMillis / 1000);
    assert.ok((spec?.ttlSecondsAfterFinished ?? 0) > 0);
  });

  test("places as the operator says", () => {
    const placement = {
      ...DEFAULT_PLACEMENT,
      nodeSelector: { pool: "tasks" },
      priorityClass: "batch",
      runtimeClass: "kata",
      storage: "memory" as const,
    };
    const spec = podSpecOf({ placement });
    assert.deepEqual(spec.nodeSelector, { pool: "tasks" });
    assert.equal(spec.priorityClassName, "batch");
    assert.equal(spec.runtimeClassName, "kata");
    const volume = spec.volumes?.find(({ name }) => name === "volume");
    assert.deepEqual(volume?.emptyDir, { medium: "Memory", sizeLimit: String(shape.limits.storageBytes) });
    assert.equal(podSpecOf({ placement: DEFAULT_PLACEMENT }).runtimeClassName, undefined);
  });

  test("gives packages to the task read-only, and starts no interpreter before they are there", () => {
    const environment = { id: "0".repeat(64), folder: "/somewhere", preload: [] };
    const spec = podSpecOf({ shape: { ...shape, environment } });
    const mounts = spec.containers.map(({ name, volumeMounts = [] }) => [
      name,
      volumeMounts.filter((mount) => mount.name === "environment"),
    ]);
    assert.deepEqual(Object.fromEntries(mounts), {
      courier: [{ name: "environment", mountPath: "/longshore/environment" }],
      runner: [{ name: "environment", mountPath: "/environment", readOnly: true }],
    });
    const settings = JSON.parse(spec.containers[1]?.command?.at(-2) ?? "");
    assert.deepEqual([settings.environment, settings.prestart], ["/environment", false]);
    assert.ok(!JSON.stringify(spec).includes("/somewhere"), "a folder of the server's is nobody's to know");
    assert.ok(!podSpecOf().volumes?.some(({ name }) => name === "environment"));
  });

  test("gives a build its tools read-only, one by one, and a network only where that is wanted", () => {
    const changes = { taskId: "environment-0123456789abcdef" };
    const spec = podSpecOf({ ...changes, build: { network: false } });
    const tools = spec.containers[1]?.volumeMounts?.filter(({ name }) => name === "tools") ?? [];
    assert.deepEqual(
      tools.map(({ mountPath, subPath, readOnly }) => [mountPath, subPath, readOnly]),
      [
        ["/longshore/uv", "uv", true],
        ["/longshore/ca.pem", "ca.pem", true],
        ["/longshore/wheels", "wheels", true],
      ],
    );
    assert.equal(spec.dnsPolicy, "None");
    const open = sandboxJob(plan({ ...changes, build: { network: true } })).spec?.template;
    assert.equal(open?.spec?.dnsPolicy, "Default");
    assert.equal(open?.metadata?.labels?.[LABELS.network], "build");
    assert.equal(sandboxJob(plan()).spec?.template.metadata?.labels?.[LABELS.network], undefined);
    assert.throws(
      () => sandboxJob(plan({ taskId: "environment-../x", build: { network: true } })),
      RangeError,
    );
    assert.throws(() => sandboxJob(plan(changes)), RangeError);
  });

  test("takes no number that is none, and no id that is no ULID", () => {
    for (const bad of [{ cpuMillis: 0 }, { ramBytes: Number.NaN }, { storageBytes: -1 }, { runMillis: 0.5 }])
      assert.throws(
        () => sandboxJob(plan({ shape: { ...shape, limits: { ...shape.limits, ...bad } } })),
        RangeError,
      );
    assert.throws(() => sandboxJob(plan({ sandboxId: "../../etc" })), RangeError);
  });
});

describe("the network of a build", () => {
  const build = { uv: "/uv", caBundle: null, wheels: null, openNetwork: true };
  const ask = (changes: object, there: boolean, networkPolicyHolds = false) => {
    const order = { shape, build, ...changes };
    const cluster = { hasNetworkPolicy: async (name: string) => there && name === BUILD_NETWORK_POLICY };
    return requireBuildNetwork(cluster, order, { name: "cluster", networkPolicyHolds });
  };
  const guarded = {
    shape: { ...shape, network: "EGRESS" as const },
    build: { ...build, openNetwork: false },
  };

  test("is asked for only by those that take one, and is the operator's to give", async () => {
    await ask({ build: { ...build, openNetwork: false } }, false);
    await ask({}, true);
    await assert.rejects(ask({}, false), /deploy\/kubernetes\/builds.*LONGSHORE_BUILD_NETWORK=none/);
  });

  test("has rules that somebody vouches for where packages may decide what is reached", async () => {
    await ask(guarded, true, true);
    await assert.rejects(ask(guarded, true, false), /network_policy_holds/);
  });
});

describe("quantities of Kubernetes", () => {
  test("are read as they are written", () => {
    const read = ["3900m", "2", "32Gi", "1e3", "1500k", "1.5Gi", "junk", ""].map(quantity);
    assert.deepEqual(read, [3.9, 2, 32 * GIBIBYTE, 1000, 1_500_000, 1.5 * GIBIBYTE, 0, 0]);
  });
});

function podWith(status: V1Pod["status"], metadata: V1Pod["metadata"] = {}): V1Pod {
  return {
    metadata: { name: "p", uid: "u", labels: { [LABELS.sandbox]: SANDBOX }, ...metadata },
    ...(status && { status }),
  };
}

const container = (name: string, state: object) => ({
  ...{ name, image: "i", imageID: "", ready: false, restartCount: 0 },
  state,
});

describe("what a pod's status means", () => {
  test("memory is told by the container, whatever the job says", () => {
    const terminated = { exitCode: 137, reason: "OOMKilled" };
    const pod = podWith({ phase: "Running", containerStatuses: [container("runner", { terminated })] });
    assert.deepEqual(exitOf(pod), { exitCode: 137, oomKilled: true, lost: false, message: "OOMKilled" });
  });

  test("an evicted pod is lost, with the kubelet's reason", () => {
    const terminated = { exitCode: 137, reason: "Error" };
    const status = { phase: "Failed", reason: "Evicted", message: "The node was low on resource: memory." };
    const exit = exitOf(podWith({ ...status, containerStatuses: [container("runner", { terminated })] }));
    assert.equal(exit?.lost, true);
    assert.match(exit?.message ?? "", /^Evicted: The node was low/);
  });

  test("a runner that was told to go by the cluster is lost, one that ended by then is not", () => {
    const going = { deletionTimestamp: new Date() };
    const ended = (exitCode: number, metadata: V1Pod["metadata"]) =>
      exitOf(
        podWith(
          {
            phase: "Running",
            containerStatuses: [container("runner", { terminated: { exitCode, reason: "Error" } })],
          },
          { labels: { [LABELS.sandbox]: SANDBOX }, ...metadata },
        ),
      );
    assert.equal(ended(4, {})?.lost, true);
    assert.equal(ended(137, going)?.lost, true);
    assert.equal(ended(137, {})?.lost, false);
    assert.equal(ended(0, going)?.lost, false);
  });

  test("a pod goes on as long as its runner does", () => {
    assert.equal(
      exitOf(podWith({ phase: "Running", containerStatuses: [container("runner", { running: {} })] })),
      undefined,
    );
    assert.equal(exitOf(podWith({ phase: "Pending" })), undefined);
  });

  test("why it does not start is told in the cluster's words", () => {
    const condition = {
      type: "PodScheduled",
      status: "False",
      reason: "Unschedulable",
      message: "0/3 nodes are available",
    };
    const pending = podWith({ phase: "Pending", conditions: [condition] });
    assert.equal(waitingFor(pending), "no node takes it (Unschedulable: 0/3 nodes are available)");
    assert.equal(startFailure(pending), undefined);
    const pulling = container("runner", {
      waiting: { reason: "ImagePullBackOff", message: "no such image" },
    });
    assert.match(waitingFor(podWith({ containerStatuses: [pulling] })), /ImagePullBackOff: no such image/);
    const broken = container("runner", {
      waiting: { reason: "CreateContainerError", message: "no such device" },
    });
    assert.match(startFailure(podWith({ containerStatuses: [broken] }))?.message ?? "", /no such device/);
    assert.ok(startFailure(podWith({}, { deletionTimestamp: new Date() })) instanceof Unavailable);
  });
});

describe("PodWatch", () => {
  test("lists everything again where the cluster has forgotten the place", async () => {
    const lists = [[podWith({ phase: "Running" })], []];
    const gone = Promise.withResolvers<void>();
    let watches = 0;
    const cluster = {
      listPods: async () => ({ pods: lists.shift() ?? [], version: "7" }),
      watchPods: async (_: string, version: string, __: unknown, signal: AbortSignal) => {
        assert.equal(version, "7");
        if (++watches === 1) throw Object.assign(new Error("too old resource version"), { statusCode: 410 });
        await new Promise<void>((resolve) =>
          signal.addEventListener("abort", () => resolve(), { once: true }),
        );
      },
    };
    const watch = new PodWatch(cluster, "", new CollectingLog());
    await watch.start();
    assert.equal(watch.get(SANDBOX)?.status?.phase, "Running");
    watch.listen(SANDBOX, gone.resolve);
    await gone.promise;
    assert.equal(watch.get(SANDBOX), undefined);
    await watch.close();
  });

  test("does not take the removal of an earlier pod for that of the present one", async () => {
    const told = Promise.withResolvers<(type: string, object: unknown) => void>();
    const cluster = {
      listPods: async () => ({ pods: [podWith({ phase: "Running" }, { uid: "new" })], version: "7" }),
      watchPods: async (
        _: string,
        __: string,
        tell: (type: string, object: unknown) => void,
        signal: AbortSignal,
      ) => {
        told.resolve(tell);
        await new Promise<void>((resolve) =>
          signal.addEventListener("abort", () => resolve(), { once: true }),
        );
      },
    };
    const watch = new PodWatch(cluster, "", new CollectingLog());
    await watch.start();
    const tell = await told.promise;
    tell("DELETED", podWith({}, { uid: "old", resourceVersion: "8", labels: { [LABELS.sandbox]: SANDBOX } }));
    assert.notEqual(watch.get(SANDBOX), undefined);
    tell("DELETED", podWith({}, { uid: "new", resourceVersion: "9", labels: { [LABELS.sandbox]: SANDBOX } }));
    assert.equal(watch.get(SANDBOX), undefined);
    await watch.close();
  });
});
