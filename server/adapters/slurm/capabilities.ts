import { Unavailable } from "../../domain/errors.ts";
import type { Limit } from "../../domain/limits.ts";
import type { EngineCapabilities } from "../../domain/ports/engine.ts";
import { formatSize, type Resources } from "../../domain/resources.ts";
import {
  advisory,
  enforced,
  limitTable,
  SERVER_LIMITS,
  type Support,
  unsupported,
} from "../sandbox/limit-table.ts";
import { RUNNER_RAM_BYTES } from "./bundle.ts";
import type { JobLine, SlurmController } from "./controller.ts";
import type { SlurmEngineOptions } from "./options.ts";

const DOWN = /down|drain|fail|unknown|power|not_resp|\*$/i;

export interface Cluster {
  readonly capabilities: EngineCapabilities;
  /** Features that some node has. */
  readonly features: ReadonlySet<string>;
}

/** What the cluster has and holds, in its own words. */
export async function describeCluster(
  controller: SlurmController,
  options: SlurmEngineOptions,
): Promise<Cluster> {
  const [version, nodes] = await Promise.all([controller.version(), controller.nodes()]);
  const up = nodes.filter(({ state }) => !DOWN.test(state));
  // They may be about to come up, as after the power came back.
  if (up.length === 0) throw new Unavailable("no node of the Slurm cluster is up; look at sinfo", 5000);
  const sum = (of: (node: (typeof up)[number]) => number) => up.reduce((total, node) => total + of(node), 0);
  const networks = options.nodeNetwork ? (["NONE", "EGRESS", "TRACKING"] as const) : (["NONE"] as const);
  return {
    features: new Set(nodes.flatMap(({ features }) => features)),
    capabilities: {
      version,
      environments: true,
      ...(!options.nodeNetwork && { buildsOffline: true }),
      tiers: [
        {
          isolation: "CONTAINER",
          runtime: "runc in a Slurm job",
          limits: limitTable(clusterLimits(options.nodeNetwork)),
          networks,
        },
      ],
      total: {
        cpuMillis: sum(({ cpus }) => cpus) * 1000,
        ramBytes: sum(({ memoryBytes }) => memoryBytes),
        storageBytes: up.length * options.scratchBytesPerNode,
        gpuCount: 0,
      },
      gpus: [],
      ...(options.nodeNetwork && { trackers: new Map(options.trackingServers.map((name) => [name, ""])) }),
    },
  };
}

/** Every limit there is: what a bundle limits holds whatever the cluster itself constrains. */
export function clusterLimits(nodeNetwork: boolean): Readonly<Record<Limit, Support>> {
  return {
    CPU: enforced("CPU quota of the sandbox's own control group; Slurm gives whole CPUs away"),
    RAM: enforced(
      `memory limit of the sandbox's own control group: the RAM asked for and ${formatSize(RUNNER_RAM_BYTES)} for the runner; no swap where the node's kernel counts it`,
    ),
    STORAGE: enforced("an ext4 file system of this size per sandbox, loop-mounted on the node"),
    GPU: unsupported("GPUs of the cluster are not passed in", "run tasks that need one on another engine"),
    PROCESSES: enforced("pids limit of the sandbox's own control group"),
    OPEN_FILES: enforced("RLIMIT_NOFILE of every process"),
    INODES: enforced("inodes of the sandbox's own file system"),
    ...SERVER_LIMITS,
    NETWORK: nodeNetwork
      ? advisory(
          "network namespace without interfaces but loopback; with egress or tracking the node's own network",
          "keep node_network off, or set packet rules on the nodes",
        )
      : enforced("network namespace without interfaces but loopback"),
  };
}

/** What running jobs of others hold. */
export function otherJobsLoad(jobs: readonly JobLine[]): Resources {
  const running = jobs.filter(({ state }) => state === "RUNNING");
  return {
    cpuMillis: running.reduce((sum, { cpus }) => sum + cpus * 1000, 0),
    ramBytes: running.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0),
    storageBytes: 0,
    gpuCount: 0,
  };
}
