import type { Capabilities, Capacity, EnvironmentSupport } from "../domain/capabilities.ts";
import { NO_RESOURCES } from "../domain/capacity.ts";
import type { Policy } from "../domain/policy.ts";
import type { EngineTier } from "../domain/ports/engine.ts";
import type { Isolation } from "../domain/task.ts";
import { Latch } from "./changes.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import type { Builds } from "./resolve-environment.ts";
import type { Scheduler } from "./scheduler.ts";
import type { TaskQueue } from "./task-queue.ts";

/** At most twice a second: a busy server changes more often than anybody can read. */
const LEAST_INTERVAL_MILLIS = 500;
const MAX_CHUNK_BYTES = 2 ** 20;

/** What this server can do, and what it holds now. */
export class DescribeServer {
  readonly #hosts: EngineHosts;
  readonly #queue: TaskQueue;
  readonly #scheduler: Scheduler;
  readonly #policy: Policy;
  readonly #version: string;
  readonly #traceUrl: string;
  readonly #builds: Builds;
  readonly #presignedUrls: boolean;

  constructor(deps: {
    hosts: EngineHosts;
    queue: TaskQueue;
    scheduler: Scheduler;
    policy: Policy;
    version: string;
    traceUrl: string;
    builds: Builds;
    presignedUrls: boolean;
  }) {
    this.#hosts = deps.hosts;
    this.#queue = deps.queue;
    this.#scheduler = deps.scheduler;
    this.#policy = deps.policy;
    this.#version = deps.version;
    this.#traceUrl = deps.traceUrl;
    this.#builds = deps.builds;
    this.#presignedUrls = deps.presignedUrls;
  }

  capabilities(): Capabilities {
    const policy = this.#policy;
    return {
      version: this.#version,
      engines: this.#hosts.all().map(({ engine, capabilities, ledger }) => ({
        name: engine.name,
        kind: engine.kind,
        version: capabilities.version,
        tiers: defaultFirst(capabilities.tiers, policy.defaultIsolation),
        largestTask: ledger.largest,
        gpuModels: [...new Set(capabilities.gpus.map(({ model }) => model))],
        aliases: this.#hosts.aliasesOf(engine.name),
        trackers: capabilities.trackers ?? new Map(),
        unavailable: this.#scheduler.suspendedReason(engine.name) ?? "",
      })),
      defaultResources: policy.defaultResources,
      defaultBudgets: policy.defaultBudgets,
      maxBudgets: policy.maxBudgets,
      defaultTimeoutMillis: policy.defaultTimeoutMillis,
      maxTimeoutMillis: policy.maxTimeoutMillis,
      maxCodeBytes: policy.maxCodeBytes,
      maxUploadBytes: policy.maxUploadBytes,
      maxChunkBytes: MAX_CHUNK_BYTES,
      allowedImages: policy.allowedImages,
      imageAliases: [...policy.imageAliases.keys()],
      instanceTypes: policy.instanceTypes,
      environments: environmentSupport(this.#buildsSomewhere()),
      presignedUrls: this.#presignedUrls,
      traceUrl: this.#traceUrl,
    };
  }

  /** What is there to build with helps nobody where no engine takes what was built. */
  #buildsSomewhere(): Builds {
    const may = ({ capabilities, away }: EngineHost) => capabilities.environments === true || Boolean(away);
    if (this.#hosts.all().some(may)) return this.#builds;
    return { kit: null, whyNot: "no engine of this server gives tasks packages; use an image that has them" };
  }

  capacity(engineName: string): Capacity {
    const { ledger, engine } = this.#hosts.get(engineName);
    const { total, reserve, held, foreign, free } = ledger;
    return {
      total,
      reserve,
      held,
      foreign,
      free,
      running: ledger.holdCount,
      queued: this.#queue.count,
      warm: engine.warmCount(),
    };
  }

  async *watchCapacity(engineName: string, signal: AbortSignal): AsyncGenerator<Capacity> {
    const { engine } = this.#hosts.get(engineName);
    const latch = new Latch();
    const deaf = this.#scheduler.changes.listen(engine.name, () => latch.set());
    try {
      while (!signal.aborted) {
        yield this.capacity(engineName);
        await new Latch().wait(signal, LEAST_INTERVAL_MILLIS);
        await latch.wait(signal);
      }
      signal.throwIfAborted();
    } finally {
      deaf();
    }
  }
}

function environmentSupport(builds: Builds): EnvironmentSupport {
  if (builds.kit === null) {
    const nothing = {
      installer: "",
      sources: false,
      addresses: false,
      resources: NO_RESOURCES,
      timeoutMillis: 0,
    };
    return { unsupported: builds.whyNot, ...nothing };
  }
  const { uvVersion, sources, urls, limits } = builds.kit;
  const { cpuMillis, ramBytes, storageBytes, gpuCount } = limits;
  return {
    ...{ unsupported: "", installer: `uv ${uvVersion}`, sources, addresses: urls },
    resources: { cpuMillis, ramBytes, storageBytes, gpuCount },
    timeoutMillis: limits.runMillis,
  };
}

function defaultFirst(tiers: readonly EngineTier[], isolation: Isolation): EngineTier[] {
  return tiers.toSorted((a, b) => Number(b.isolation === isolation) - Number(a.isolation === isolation));
}
