import { type EngineHost, EngineHosts } from "#server/application/engine-host.ts";
import { Scheduler } from "#server/application/scheduler.ts";
import { NO_RESOURCES } from "#server/domain/capacity.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";
import { FairShare } from "#server/domain/fair-share.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";
import type { Task } from "#server/domain/task.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface ClusterSize {
  readonly engines: number;
  /** Of each; with 4 GiB of memory to a CPU. */
  readonly cpus: number;
  /** Of each engine; none when left out. */
  readonly gpus?: number;
}

export const cpusOf = ({ engines, cpus }: ClusterSize): number => engines * cpus;

/** The server's own scheduler, ledgers and fair share over engines that start nothing. */
export interface Cluster {
  readonly hosts: EngineHosts;
  readonly scheduler: Scheduler;
}

export async function openCluster(
  { engines, cpus, gpus: gpuCount = 0 }: ClusterSize,
  options: {
    readonly time: VirtualTime;
    readonly agingMillis: number;
    readonly launch: (task: Task, host: EngineHost) => void;
  },
): Promise<Cluster> {
  const total = {
    cpuMillis: cpus * 1000,
    ramBytes: cpus * 4 * GIBIBYTE,
    storageBytes: cpus * 100 * GIBIBYTE,
    gpuCount,
  };
  const gpus = Array.from({ length: gpuCount }, (_, place) => ({ id: `gpu-${place}`, model: "" }));
  const { time } = options;
  const clock = () => new Date(time.now);
  const all: EngineHost[] = [];
  for (let place = 0; place < engines; place++) {
    const engine = new FakeEngine({ name: `engine-${place}`, total });
    const ledger = new CapacityLedger(total, NO_RESOURCES, gpus);
    all.push({ engine, capabilities: await engine.capabilities(), ledger });
  }
  const [first, ...others] = all;
  if (first === undefined) throw new Error("a cluster has one engine at least");
  const hosts = new EngineHosts([first, ...others]);
  const silent = () => undefined;
  const scheduler = new Scheduler({
    hosts,
    fairShare: new FairShare(new Map(), clock),
    agingMillis: options.agingMillis,
    launch: options.launch,
    tell: silent,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    clock,
  });
  return { hosts, scheduler };
}
