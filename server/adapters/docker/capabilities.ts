import { readFile } from "node:fs/promises";
import type { Limit } from "../../domain/limits.ts";
import type { EngineCapabilities, EngineTier } from "../../domain/ports/engine.ts";
import { formatSize } from "../../domain/resources.ts";
import {
  advisory,
  enforced,
  limitTable,
  SERVER_LIMITS,
  type Support,
  unsupported,
} from "../sandbox/limit-table.ts";
import { sandboxesFolder } from "../sandbox/sandbox-paths.ts";
import type { ProbeResult } from "./boot-probe.ts";
import { CommandFailed, runCommand } from "./command.ts";
import type { HostFacts } from "./daemon.ts";
import type { Egress } from "./egress-network.ts";
import { findGpus, type Gpu } from "./gpus.ts";
import type { Gvisor } from "./gvisor.ts";
import { RUNNER_RAM_BYTES, SENTRY_GROWTH_BYTES } from "./host-config.ts";
import type { DockerEngineOptions } from "./options.ts";
import { freeBytes } from "./storage.ts";
import type { TrackingNetworks } from "./tracking-networks.ts";

/** What decides how well limits hold; found out once, when the server starts. */
export interface LimitFacts {
  readonly host: HostFacts;
  readonly probe: ProbeResult;
  readonly gpus: readonly Gpu[];
  readonly hostSwapBytes: number;
  /** Why network EGRESS is not offered; empty where it is. */
  readonly noEgress: string;
}

export async function describeCapabilities(
  host: HostFacts,
  probe: ProbeResult,
  gvisor: Gvisor | undefined,
  { egress, tracking }: { readonly egress: Egress; readonly tracking: Pick<TrackingNetworks, "offers"> },
  options: DockerEngineOptions,
): Promise<EngineCapabilities> {
  // Without NVIDIA's runtime the daemon cannot give a device away, whatever nvidia-smi says.
  const gpus = host.runtimes.has("nvidia") ? await findGpus(options.log) : [];
  const noEgress = egress.network === undefined ? egress.whyNot : "";
  const facts: LimitFacts = { host, probe, gpus, hostSwapBytes: await swapBytes(), noEgress };
  const tiers: EngineTier[] = [
    {
      isolation: "CONTAINER",
      runtime: `${options.runtimes.container} ${host.runcVersion}`.trim(),
      limits: limitTable(containerLimits(facts)),
      networks: [
        "NONE",
        ...(egress.network === undefined ? [] : (["EGRESS"] as const)),
        // Where packet rules hold, they hold for any one address.
        ...(egress.network !== undefined || [...tracking.offers.values()].includes("")
          ? (["TRACKING"] as const)
          : []),
      ],
    },
  ];
  if (gvisor !== undefined) {
    tiers.push({
      isolation: "GVISOR",
      runtime: `${gvisor.runtime} ${await gvisorVersion(gvisor.runtime)}`.trim(),
      limits: limitTable(gvisorLimits(facts, gvisor)),
      networks: ["NONE"],
    });
  }
  return {
    environments: true,
    version: `Docker ${host.engineVersion}`,
    tiers,
    total: {
      cpuMillis: host.cpus * 1000,
      ramBytes: host.memoryBytes,
      storageBytes:
        probe.storage === "loop" ? await freeBytes(sandboxesFolder(options.dataDirectory)) : host.memoryBytes,
      gpuCount: gpus.length,
    },
    gpus: gpus.map(({ id, model }) => ({ id, model })),
    trackers: tracking.offers,
  };
}

/** Every limit there is, once; the record type makes a forgotten one a type error. */
export function containerLimits(facts: LimitFacts): Readonly<Record<Limit, Support>> {
  const { host } = facts;
  const cgroup = `cgroup v${host.cgroupVersion}`;
  return {
    CPU: host.cpuQuota
      ? enforced(`${cgroup} CPU quota`)
      : advisory("CPU shares only", "use a kernel with CONFIG_CFS_BANDWIDTH"),
    RAM: ramSupport(facts, cgroup),
    STORAGE: storageSupport(facts.probe),
    GPU:
      facts.gpus.length > 0
        ? enforced("whole devices, given to one task at a time by id")
        : unsupported(
            "the host offers no GPU",
            "install the NVIDIA driver and container toolkit, and restart the server",
          ),
    PROCESSES: host.pidsLimit
      ? enforced(`${cgroup} pids limit`)
      : unsupported("no pids cgroup", "use a kernel with CONFIG_CGROUP_PIDS"),
    OPEN_FILES: enforced("RLIMIT_NOFILE of every process"),
    INODES:
      facts.probe.storage === "engine-tmpfs"
        ? advisory("per folder, not in total", facts.probe.storageAdvice)
        : enforced("inodes of the sandbox's own file system"),
    ...SERVER_LIMITS,
    NETWORK: networkSupport(facts.noEgress),
  };
}

/** gVisor's own kernel takes the place of the host's, so what holds through cgroups depends on who puts it into them. */
export function gvisorLimits(facts: LimitFacts, gvisor: Gvisor): Readonly<Record<Limit, Support>> {
  const base = containerLimits(facts);
  const threads =
    "the host's pids limit counts gVisor's threads, about five for a process: a bound, not an exact count";
  const common = {
    ...base,
    GPU: unsupported("devices are not passed into gVisor", "use isolation CONTAINER for GPUs"),
    PROCESSES: advisory(threads, "use isolation CONTAINER where the exact number matters"),
    NETWORK: networkSupport(
      gvisor.withoutNetwork
        ? "the daemon's gVisor runtime has --network=none; use isolation CONTAINER"
        : "Docker's resolver does not work inside gVisor; use isolation CONTAINER",
    ),
  };
  if (!gvisor.ignoresCgroups) return common;
  if (gvisor.cgroups === undefined) {
    const advice = "start the daemon's gVisor runtime without --ignore-cgroups";
    const none = advisory("gVisor runs outside of control groups here", advice);
    return { ...common, CPU: none, RAM: none, PROCESSES: none };
  }
  const own = "cgroup v1 of the server's own, entered before the task starts";
  return {
    ...common,
    CPU: enforced(`${own}: CPU quota`),
    RAM: enforced(
      `${own}: the RAM asked for and ${formatSize(RUNNER_RAM_BYTES + SENTRY_GROWTH_BYTES)} for the runner and gVisor`,
    ),
  };
}

function networkSupport(noEgress: string): Support {
  const none = "network namespace without interfaces but loopback";
  if (noEgress !== "") return { ...enforced(none), advice: `network EGRESS is not offered: ${noEgress}` };
  return enforced(`${none}; egress: a bridge whose packet rules leave public IPv4 addresses alone`);
}

function ramSupport({ host, hostSwapBytes }: LimitFacts, cgroup: string): Support {
  if (!host.memoryLimit) return unsupported("no memory cgroup", "boot the host with cgroup_enable=memory");
  const mechanism = `${cgroup} memory limit: the RAM asked for and ${formatSize(RUNNER_RAM_BYTES)} for the runner`;
  if (host.swapLimit || hostSwapBytes === 0) return enforced(`${mechanism}; no swap`);
  return advisory(
    `${mechanism}, but the host may swap beyond it`,
    "boot the host with swapaccount=1, or turn swap off",
  );
}

function storageSupport(probe: ProbeResult): Support {
  switch (probe.storage) {
    case "loop":
      return enforced("an ext4 file system of this size per sandbox, loop-mounted");
    case "tmpfs":
      return {
        ...enforced("a tmpfs of this size per sandbox; what is stored counts as RAM"),
        advice: probe.storageAdvice,
      };
    case "engine-tmpfs":
      return advisory(
        "a tmpfs of this size for each of /workspace, /tmp and HOME; what is stored counts as RAM",
        probe.storageAdvice,
      );
  }
}

async function gvisorVersion(runtime: string): Promise<string> {
  try {
    return /version (\S+)/.exec(await runCommand(runtime, ["--version"]))?.[1] ?? "";
  } catch (error) {
    // The daemon may know it under a path that is not ours; its name says enough.
    if (error instanceof CommandFailed) return "";
    throw error;
  }
}

async function swapBytes(): Promise<number> {
  const kibibytes = /^SwapTotal:\s+(\d+) kB$/m.exec(await readFile("/proc/meminfo", "utf8"))?.[1];
  return Number(kibibytes ?? 0) * 1024;
}
