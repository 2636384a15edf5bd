import { Agent } from "node:http";
import type { Duplex } from "node:stream";
import { inspect } from "node:util";
import Docker, {
  type ContainerCreateOptions,
  type ContainerInfo,
  type ContainerInspectInfo,
  type DockerOptions,
  type ImageInspectInfo,
  type NetworkCreateOptions,
  type NetworkInspectInfo,
} from "dockerode";
import { SystemFault } from "../../domain/errors.ts";
import { CallGate } from "./call-gate.ts";
import { engineError, isMissing, statusOf } from "./docker-errors.ts";

const VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES=";

/** Not running, or gone already: what a kill or a removal wanted has happened. */
const ALREADY_SO = new Set([304, 404, 409]);

export interface ContainerState {
  readonly id: string;
  readonly running: boolean;
  /** The daemon is taking it away: somebody asked for its removal. */
  readonly removing: boolean;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly error: string;
  /** The process on the host; 0 when not running. */
  readonly pid: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** What somebody's container may take of the host; 0 and empty stand for no limit and nothing. */
export interface ContainerClaim {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  /** As `docker run --gpus` asks: by id or index, or so many; -1 is all. */
  readonly gpuRequests: readonly { readonly count: number; readonly ids: readonly string[] }[];
  /** As containers of NVIDIA's own runtime ask: "all", ids or indices. */
  readonly visibleGpus: string;
}

export interface HostFacts {
  readonly engineVersion: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Name of each runtime and the arguments it is started with. */
  readonly runtimes: ReadonlyMap<string, readonly string[]>;
  readonly runcVersion: string;
  readonly cgroupVersion: string;
  readonly memoryLimit: boolean;
  readonly swapLimit: boolean;
  readonly cpuQuota: boolean;
  readonly pidsLimit: boolean;
  readonly liveRestore: boolean;
}

/**
 * docker-modem formats each request for a debug line that nobody reads, with all that hangs from its agent: the sockets of
 * every call under way, 20 ms of CPU a call (seen in a profile).
 */
class TerseAgent extends Agent {
  [inspect.custom](): string {
    return "Agent";
  }
}

/** The few calls that are made to the Docker daemon, with its errors turned into ours. */
export class Daemon {
  readonly #docker: Docker;
  /** For starts (create to running, as one) and removals. */
  readonly gate: CallGate;

  constructor(connection: DockerOptions | undefined, parallelCalls: number) {
    // A kept connection that a restarted daemon closed would fail the next call; a new one costs a Unix socket nothing.
    const options: DockerOptions & { agent: Agent } = {
      ...connection,
      agent: new TerseAgent({ keepAlive: false }),
    };
    this.#docker = new Docker(options);
    this.gate = new CallGate(parallelCalls);
  }

  /** Without a signal on purpose: a create that is cut off half-way may leave a container that nobody knows. */
  async create(name: string, options: ContainerCreateOptions): Promise<string> {
    try {
      return (await this.#docker.createContainer({ name, ...options })).id;
    } catch (error) {
      throw engineError(error, `create container ${name}`);
    }
  }

  /** The raw connection to a container's streams; writes go to its stdin, reads are Docker's multiplexed output. */
  async attach(
    id: string,
    streams: { stdin?: boolean; stdout?: boolean; stderr?: boolean },
  ): Promise<Duplex> {
    try {
      const stream = await this.#docker.getContainer(id).attach({ stream: true, hijack: true, ...streams });
      if (!isDuplex(stream))
        throw new SystemFault(`the Docker engine gave no two-way stream to container ${id}`);
      return stream;
    } catch (error) {
      throw engineError(error, `attach to container ${id}`);
    }
  }

  async start(id: string): Promise<void> {
    try {
      await this.#docker.getContainer(id).start();
    } catch (error) {
      throw engineError(error, `start container ${id}`);
    }
  }

  /** Quietly does nothing when the container does not run. */
  async kill(idOrName: string, signal: "SIGTERM" | "SIGUSR1" | "SIGKILL"): Promise<void> {
    try {
      await this.#docker.getContainer(idOrName).kill({ signal });
    } catch (error) {
      if (!ALREADY_SO.has(statusOf(error) ?? 0))
        throw engineError(error, `send ${signal} to container ${idOrName}`);
    }
  }

  async inspect(idOrName: string): Promise<ContainerState | undefined> {
    let info: ContainerInspectInfo;
    try {
      info = await this.#docker.getContainer(idOrName).inspect();
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw engineError(error, `inspect container ${idOrName}`);
    }
    return {
      id: info.Id,
      running: info.State.Running,
      removing: info.State.Status === "removing" || info.State.Dead,
      exitCode: info.State.ExitCode,
      oomKilled: info.State.OOMKilled,
      error: info.State.Error,
      pid: info.State.Pid,
      labels: info.Config.Labels,
    };
  }

  /** Kills what runs, removes the container and its anonymous volumes; resolves once it is gone. */
  async remove(id: string): Promise<void> {
    await this.gate.run(async () => {
      try {
        await this.#docker.getContainer(id).remove({ force: true, v: true });
      } catch (error) {
        if (isMissing(error)) return;
        // Somebody else removes it at this moment; its mounts are free only when that is done.
        if (statusOf(error) === 409) return this.#removed(id);
        throw engineError(error, `remove container ${id}`);
      }
    }, "patient");
  }

  async #removed(id: string): Promise<void> {
    try {
      await this.#docker.getContainer(id).wait({ condition: "removed" });
    } catch (error) {
      if (!isMissing(error)) throw engineError(error, `wait for the removal of container ${id}`);
    }
  }

  async exitCode(id: string): Promise<number> {
    try {
      const answer: { StatusCode: number } = await this.#docker.getContainer(id).wait();
      return answer.StatusCode;
    } catch (error) {
      throw engineError(error, `wait for container ${id}`);
    }
  }

  async list(labels: readonly string[]): Promise<ContainerInfo[]> {
    try {
      return await this.#docker.listContainers({ all: true, filters: { label: [...labels] } });
    } catch (error) {
      throw engineError(error, "list containers");
    }
  }

  /** What runs now, whoever started it. */
  async running(): Promise<ContainerInfo[]> {
    try {
      return await this.#docker.listContainers({ filters: { status: ["running", "paused"] } });
    } catch (error) {
      throw engineError(error, "list what runs");
    }
  }

  /** What a container may take of the host; undefined when it is gone. */
  async claim(id: string): Promise<ContainerClaim | undefined> {
    try {
      const { HostConfig: host, Config: config } = await this.#docker.getContainer(id).inspect();
      const { NanoCpus = 0, CpuQuota = 0, CpuPeriod = 0, Memory = 0, DeviceRequests } = host;
      const visible = config.Env.find((entry) => entry.startsWith(VISIBLE_DEVICES));
      return {
        cpuMillis: NanoCpus > 0 ? NanoCpus / 1e6 : Math.max(0, (CpuQuota * 1000) / (CpuPeriod || 100_000)),
        memoryBytes: Memory,
        gpuRequests: (DeviceRequests ?? [])
          .filter(({ Capabilities }) => Capabilities?.flat().includes("gpu"))
          .map(({ Count = 0, DeviceIDs }) => ({ count: Count, ids: DeviceIDs ?? [] })),
        visibleGpus: host.Runtime === "nvidia" ? (visible?.slice(VISIBLE_DEVICES.length) ?? "") : "",
      };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw engineError(error, `inspect container ${id}`);
    }
  }

  /** Memory that a container uses now, without what the kernel could take back at once; 0 when it is gone. */
  async memoryInUse(id: string): Promise<number> {
    try {
      const { memory_stats: memory } = await this.#docker
        .getContainer(id)
        .stats({ stream: false, "one-shot": true });
      const details: Readonly<Record<string, number>> = { ...memory.stats };
      const cache = details.total_inactive_file ?? details.inactive_file ?? 0;
      return Math.max(0, (memory.usage ?? 0) - cache);
    } catch (error) {
      if (isMissing(error) || statusOf(error) === 409) return 0;
      throw engineError(error, `measure container ${id}`);
    }
  }

  async image(name: string): Promise<ImageInspectInfo | undefined> {
    try {
      return await this.#docker.getImage(name).inspect();
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw engineError(error, `inspect image ${name}`);
    }
  }

  /** Ends of containers with this label, as lines of JSON, from `since` on. */
  async events(label: string, since: Date, signal: AbortSignal): Promise<NodeJS.ReadableStream> {
    try {
      return await this.#docker.getEvents({
        since: Math.floor(since.getTime() / 1000),
        filters: { type: ["container"], event: ["die", "destroy"], label: [label] },
        abortSignal: signal,
      });
    } catch (error) {
      throw engineError(error, "follow events");
    }
  }

  async network(name: string): Promise<NetworkInspectInfo | undefined> {
    try {
      return await this.#docker.getNetwork(name).inspect();
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw engineError(error, `inspect network ${name}`);
    }
  }

  /** Networks with this label. */
  async networks(label: string): Promise<{ name: string; labels: Readonly<Record<string, string>> }[]> {
    try {
      const found = await this.#docker.listNetworks({ filters: { label: [label] } });
      return found.map(({ Name, Labels }) => ({ name: Name, labels: Labels ?? {} }));
    } catch (error) {
      throw engineError(error, "list networks");
    }
  }

  async createNetwork(options: NetworkCreateOptions): Promise<void> {
    try {
      await this.#docker.createNetwork(options);
    } catch (error) {
      throw engineError(error, `create network ${options.Name}`);
    }
  }

  async removeNetwork(name: string): Promise<void> {
    try {
      await this.#docker.getNetwork(name).remove();
    } catch (error) {
      if (!isMissing(error)) throw engineError(error, `remove network ${name}`);
    }
  }

  /** Images that get or lose a name from now on, as lines of JSON. */
  async imageEvents(signal: AbortSignal): Promise<NodeJS.ReadableStream> {
    try {
      return await this.#docker.getEvents({ filters: { type: ["image"] }, abortSignal: signal });
    } catch (error) {
      throw engineError(error, "follow events of images");
    }
  }

  /** Starts, ends and changed limits of all containers, as lines of JSON, from now on. */
  async lifeEvents(signal: AbortSignal): Promise<NodeJS.ReadableStream> {
    try {
      return await this.#docker.getEvents({
        filters: { type: ["container"], event: ["start", "die", "update"] },
        abortSignal: signal,
      });
    } catch (error) {
      throw engineError(error, "follow events");
    }
  }

  async host(): Promise<HostFacts> {
    try {
      const [info, version]: [DaemonInfo, { Version: string }] = await Promise.all([
        this.#docker.info(),
        this.#docker.version(),
      ]);
      return {
        engineVersion: version.Version,
        cpus: info.NCPU,
        memoryBytes: info.MemTotal,
        runtimes: new Map(
          Object.entries(info.Runtimes).map(([name, { runtimeArgs }]) => [name, runtimeArgs ?? []]),
        ),
        runcVersion: info.RuncCommit?.ID ?? "",
        cgroupVersion: info.CgroupVersion ?? "1",
        memoryLimit: info.MemoryLimit,
        swapLimit: info.SwapLimit,
        cpuQuota: info.CpuCfsQuota,
        pidsLimit: info.PidsLimit ?? false,
        liveRestore: info.LiveRestoreEnabled ?? false,
      };
    } catch (error) {
      throw engineError(error, "tell about its host");
    }
  }
}

/** dockerode types /info as `any`; these are the fields read from it. */
interface DaemonInfo {
  readonly NCPU: number;
  readonly MemTotal: number;
  readonly Runtimes: Readonly<Record<string, { readonly runtimeArgs?: readonly string[] }>>;
  readonly RuncCommit?: { readonly ID?: string };
  readonly CgroupVersion?: string;
  readonly MemoryLimit: boolean;
  readonly SwapLimit: boolean;
  readonly CpuCfsQuota: boolean;
  readonly PidsLimit?: boolean;
  readonly LiveRestoreEnabled?: boolean;
}

function isDuplex(stream: NodeJS.ReadWriteStream): stream is Duplex {
  return "destroy" in stream && typeof stream.destroy === "function";
}
