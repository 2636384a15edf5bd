import type { V1Node } from "@kubernetes/client-node";
import { type Gpu, subtractResources } from "../../domain/capacity.ts";
import { SystemFault, Unavailable } from "../../domain/errors.ts";
import type { Limit } from "../../domain/limits.ts";
import type { EngineCapabilities, EngineTier } from "../../domain/ports/engine.ts";
import type { Resources } from "../../domain/resources.ts";
import {
  advisory,
  enforced,
  limitTable,
  SERVER_LIMITS,
  type Support,
  unsupported,
} from "../sandbox/limit-table.ts";
import type { Cluster } from "./cluster.ts";
import { SANDBOX_OVERHEAD } from "./job-manifest.ts";
import { gpuIdsOf, gpuModelLabel, offerOf, takes } from "./nodes.ts";
import { type KubernetesEngineOptions, NETWORK_POLICY } from "./options.ts";

export async function describeCapabilities(
  cluster: Cluster,
  options: KubernetesEngineOptions,
): Promise<EngineCapabilities> {
  const nodes = (await cluster.nodes())?.filter((node) => takes(node, options));
  const offers = nodes?.map((node) => offerOf(node, options)) ?? [];
  const total = options.capacity ?? sum(offers);
  if (options.capacity === null && nodes === undefined)
    throw new SystemFault(
      `engine ${options.name}: the server may not list the cluster's nodes, so it cannot know what they hold; apply deploy/kubernetes/nodes.yaml, or set "capacity" in LONGSHORE_ENGINES`,
    );
  // They may be about to come up, as after the power came back.
  if (options.capacity === null && offers.length === 0)
    throw new Unavailable(
      'no node of the cluster takes tasks; look at kubectl get nodes and at "node_selector" in LONGSHORE_ENGINES',
      5000,
    );
  const limits = limitTable(supports(options, await cluster.hasNetworkPolicy(NETWORK_POLICY), total));
  const { runtimeClass } = options.placement;
  // Not GVISOR, whatever the cluster has: in its pods a file of the data volume never reaches the node (docs/kubernetes.md).
  const tier: EngineTier = {
    isolation: "CONTAINER",
    runtime: runtimeClass === "" ? "the cluster's default" : `runtime class ${runtimeClass}`,
    limits,
    networks: ["NONE"],
  };
  return {
    version: `Kubernetes ${await cluster.version()}`,
    tiers: [tier],
    total,
    environments: true,
    ...(offers.length === 0 ? {} : { largest: subtractResources(largest(offers), SANDBOX_OVERHEAD) }),
    gpus: gpusOf(total.gpuCount, nodes ?? [], options),
  };
}

const NOTHING: Resources = { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 };

function combine(offers: readonly Resources[], f: (a: number, b: number) => number): Resources {
  return offers.reduce(
    (a, b) => ({
      cpuMillis: f(a.cpuMillis, b.cpuMillis),
      ramBytes: f(a.ramBytes, b.ramBytes),
      storageBytes: f(a.storageBytes, b.storageBytes),
      gpuCount: f(a.gpuCount, b.gpuCount),
    }),
    NOTHING,
  );
}

const sum = (offers: readonly Resources[]) => combine(offers, (a, b) => a + b);
/** Of each resource what the best node has: a task runs on one. */
const largest = (offers: readonly Resources[]) => combine(offers, Math.max);

/** Which device a pod gets is the cluster's to say; these only count them. */
function gpusOf(count: number, nodes: readonly V1Node[], options: KubernetesEngineOptions): Gpu[] {
  const { gpuResource } = options.placement;
  const found = nodes.flatMap((node) => {
    const model = node.metadata?.labels?.[gpuModelLabel(gpuResource)] ?? gpuResource;
    return gpuIdsOf(node, options).map((id) => ({ id, model }));
  });
  // As many as the operator says, whatever there is at the moment.
  return Array.from(
    { length: count },
    (_, at) => found[at] ?? { id: `${gpuResource}/${at}`, model: gpuResource },
  );
}

/** Every limit there is, once; the record type makes a forgotten one a type error. */
function supports(
  { placement, networkPolicyHolds }: KubernetesEngineOptions,
  hasPolicy: boolean,
  total: Resources,
): Readonly<Record<Limit, Support>> {
  return {
    CPU: enforced("the container's CPU quota, kept by the kubelet"),
    RAM: enforced("the container's memory limit, kept by the kubelet; swap as the cluster allows it"),
    STORAGE:
      placement.storage === "memory"
        ? enforced("a tmpfs of this size for /workspace, /tmp and HOME; what is stored counts as RAM")
        : advisory(
            "the kubelet evicts a pod some seconds after it used more than its emptyDir's size limit",
            'set "storage": "memory" in LONGSHORE_ENGINES',
          ),
    GPU:
      total.gpuCount > 0
        ? enforced(`whole devices by the cluster's device plugin, as ${placement.gpuResource}`)
        : unsupported("no node offers a GPU", `install a device plugin that offers ${placement.gpuResource}`),
    PROCESSES: advisory(
      "the nodes' limit for all of a pod, if they have one",
      "set podPidsLimit in the kubelets' configuration",
    ),
    OPEN_FILES: enforced("RLIMIT_NOFILE of every process"),
    INODES: unsupported("Kubernetes does not count them", "use engine docker where the number matters"),
    ...SERVER_LIMITS,
    RUN_TIME: enforced("the runner's clock, backed by the server's and the job's deadline"),
    NETWORK: networkSupport(hasPolicy, networkPolicyHolds),
  };
}

function networkSupport(hasPolicy: boolean, holds: boolean): Support {
  if (!hasPolicy)
    return unsupported(
      `there is no network policy ${NETWORK_POLICY} in the namespace`,
      "apply deploy/kubernetes/network-policy.yaml",
    );
  const policy = `network policy ${NETWORK_POLICY}: nothing in, nothing out`;
  if (holds) return enforced(`${policy}; the operator vouches for the network plugin`);
  return advisory(
    `${policy}, as far as the cluster's network plugin holds to policies`,
    'set "network_policy_holds": true in LONGSHORE_ENGINES once you have seen that it does',
  );
}
