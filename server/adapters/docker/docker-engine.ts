import { chmod, mkdir } from "node:fs/promises";
import type { ContainerCreateOptions } from "dockerode";
import type { ForeignLoad } from "../../domain/capacity.ts";
import { SystemFault, Unsupported } from "../../domain/errors.ts";
import {
  type BuildTools,
  type Engine,
  type EngineCapabilities,
  type ImageInfo,
  NotSent,
  type RunnerSpec,
  type Sandbox,
  type SandboxExit,
  type SandboxOrder,
  type SandboxShape,
  type SandboxStatus,
} from "../../domain/ports/engine.ts";
import { specMessage } from "../../domain/spec-message.ts";
import { installRunner } from "../sandbox/runner-source.ts";
import { LocalSandboxFiles } from "../sandbox/sandbox-files.ts";
import { isSandboxId } from "../sandbox/sandbox-id.ts";
import { sandboxesFolder } from "../sandbox/sandbox-paths.ts";
import { UidPool } from "../sandbox/uids.ts";
import { probeHost } from "./boot-probe.ts";
import { describeCapabilities } from "./capabilities.ts";
import type { SandboxCgroups } from "./cgroups.ts";
import { CommandHost } from "./command-host.ts";
import { Daemon } from "./daemon.ts";
import { type Egress, namesOf as egressNames, openEgress } from "./egress-network.ts";
import { ExitWatch } from "./exit-watch.ts";
import { ForeignContainers } from "./foreign-containers.ts";
import { probeGvisor } from "./gvisor.ts";
import { containerOptions, type EgressAttachment, hostLimits, SENTRY_GROWTH_BYTES } from "./host-config.ts";
import { ImageNames } from "./image-names.ts";
import { Images } from "./images.ts";
import { LiveSandbox } from "./live-sandbox.ts";
import { containerName, LABELS } from "./naming.ts";
import type { DockerEngineOptions } from "./options.ts";
import { SandboxStorage } from "./storage.ts";
import { TrackingNetworks } from "./tracking-networks.ts";
import { shapeKey, WarmPool } from "./warm-pool.ts";

/** A killed runner still writes its end frame; one that does not end within this is killed by the engine. */
const KILL_BOUND_MILLIS = 10_000;

interface Parts {
  readonly options: DockerEngineOptions;
  readonly daemon: Daemon;
  readonly images: Images;
  readonly imageNames: ImageNames;
  readonly commands: CommandHost;
  readonly files: LocalSandboxFiles;
  readonly storage: SandboxStorage;
  readonly runnerFolder: string;
  /** For sandboxes that the runtime leaves outside of control groups. */
  readonly cgroups: SandboxCgroups | undefined;
  readonly egress: Egress;
  readonly tracking: TrackingNetworks;
  readonly capabilities: EngineCapabilities;
}

/** Finds out what the host can do, refuses hosts where sandboxes would not hold, and takes over what an earlier server left. */
export async function openDockerEngine(options: DockerEngineOptions): Promise<DockerEngine> {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    throw new Unsupported(
      "the Docker engine needs a server that runs as root on Linux: sandboxes get files, mounts and uids of their own",
    );
  }
  const { dataDirectory, installationId, log } = options;
  const daemon = new Daemon(options.connection, options.parallelCalls);
  const host = await daemon.host();
  await mkdir(sandboxesFolder(dataDirectory), { recursive: true, mode: 0o700 });
  await chmod(sandboxesFolder(dataDirectory), 0o700);
  const runnerFolder = await installRunner(options.runnerDirectory, dataDirectory);
  const imageNames = new ImageNames(daemon, log);
  const images = new Images(daemon, imageNames, {
    defaultImage: options.defaultImage,
    allowed: options.allowedImages,
    installationId,
  });
  const { digest } = await images.resolve(options.defaultImage);
  const probe = await probeHost(daemon, installationId, digest, dataDirectory, log);
  const gvisor = await probeGvisor(daemon, host, options, digest);
  const egress = await openEgress(daemon, options, digest);
  const kept = egress.network === undefined ? [] : [egressNames(installationId).network];
  const tracking = await TrackingNetworks.open(daemon, options, digest, kept);
  const capabilities = await describeCapabilities(host, probe, gvisor, { egress, tracking }, options);
  const commands = new CommandHost();
  const engine = new DockerEngine({
    options,
    daemon,
    images,
    imageNames,
    files: new LocalSandboxFiles(dataDirectory),
    storage: new SandboxStorage(probe.storage, (command, args) => commands.run(command, args)),
    commands,
    runnerFolder,
    cgroups: gvisor?.cgroups,
    egress,
    tracking,
    capabilities,
  });
  await engine.takeOver();
  return engine;
}

export class DockerEngine implements Engine {
  readonly kind = "docker";
  readonly name: string;
  readonly files: LocalSandboxFiles;
  readonly removedAtOpen: string[] = [];
  readonly #parts: Parts;
  readonly #uids: UidPool;
  readonly #watch: ExitWatch;
  readonly #pool: WarmPool<LiveSandbox>;
  readonly #live = new Map<string, LiveSandbox>();
  /** Begun and not finished, because the daemon was away or because it is being done. */
  readonly #discards = new Set<string>();
  readonly #releases = new Map<string, Promise<void>>();
  /** Sandboxes whose end is our own doing, so that it is not taken for somebody else's. */
  readonly #endings = new Set<string>();
  readonly #killTimers = new Map<string, NodeJS.Timeout>();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.name = parts.options.name;
    this.files = parts.files;
    this.#uids = new UidPool(parts.options.uids);
    this.#watch = new ExitWatch(parts.daemon, this.#label, this.#ends(), parts.options.log);
    this.#pool = new WarmPool({
      settings: parts.options.pool,
      make: (id, shape) => this.#make(id, shape, { [LABELS.warm]: "1" }, true),
      discard: (id) => this.#discard(id),
      log: parts.options.log,
    });
  }

  /** What an earlier server left: uids in use are kept from others; what no attempt has, and volumes of the dead, are removed. */
  async takeOver(): Promise<void> {
    this.#watch.start();
    this.#parts.imageNames.start();
    const containers = await this.#parts.daemon.list([this.#label]);
    const present = new Set<string>();
    for (const container of containers) {
      const id = container.Labels[LABELS.sandbox];
      if (id === undefined || !isSandboxId(id)) {
        // A probe that a killed server could not take away.
        await this.#parts.daemon.remove(container.Id);
        continue;
      }
      present.add(id);
      const uid = Number(container.Labels[LABELS.uid]);
      if (Number.isSafeInteger(uid)) this.#uids.reserve(id, uid);
    }
    for (const { id, idle, held } of await this.files.all()) {
      if (idle) {
        await this.#discard(id);
        this.removedAtOpen.push(id);
      } else if (held && !present.has(id)) {
        await this.release(id);
        this.removedAtOpen.push(id);
      }
    }
  }

  async capabilities(): Promise<EngineCapabilities> {
    return this.#parts.capabilities;
  }

  resolveImage(name: string): Promise<ImageInfo> {
    return this.#parts.images.resolve(name);
  }

  takeWarm(shape: SandboxShape): Sandbox | undefined {
    const live = this.#pool.take(shape);
    if (live === undefined) return undefined;
    this.files.unmarkIdle(live.id);
    return { id: live.id, containerId: live.containerId, warm: true };
  }

  async forgetEnvironment(id: string): Promise<void> {
    await this.#pool.forgetShapes(({ environment }) => environment?.id === id);
  }

  async create(order: SandboxOrder, signal: AbortSignal): Promise<Sandbox> {
    signal.throwIfAborted();
    const labels = { [LABELS.task]: order.taskId, [LABELS.attempt]: String(order.attempt) };
    const live = await this.#make(order.sandboxId, order.shape, labels, false, signal, order.build);
    return { id: live.id, containerId: live.containerId, warm: false };
  }

  async begin(sandbox: Sandbox, spec: RunnerSpec): Promise<void> {
    const live = this.#live.get(sandbox.id);
    if (live === undefined)
      throw new SystemFault(`sandbox ${sandbox.id} is not one that waits for a spec of this server`);
    if (!live.waiting) return live.send(Buffer.alloc(0));
    // A warm one may have waited for long.
    if (live.shape.network === "EGRESS") await this.#parts.egress.network?.ensure();
    if (live.shape.tracker !== undefined) await this.#parts.tracking.ensure(live.shape.tracker);
    const inputBytes = await this.files.writeInput(sandbox.id, spec).catch((error: unknown) => {
      throw new NotSent(error);
    });
    const message = specMessage(spec, inputBytes);
    try {
      await live.send(message);
    } catch (error) {
      // The daemon may have passed on all of it before the connection broke: only a dead runner with an empty journal has not run.
      await this.#parts.daemon.kill(live.containerId, "SIGKILL");
      await this.#watch.ended(sandbox.id, AbortSignal.timeout(KILL_BOUND_MILLIS));
      if (await this.#neverBegan(sandbox.id)) throw error;
    }
  }

  async stop(sandboxId: string, how: "terminate" | "kill"): Promise<void> {
    const live = this.#live.get(sandboxId);
    // PID 1 has no handlers before its spec came, and the kernel drops signals for it: end of file is what ends it.
    if (live !== undefined && !live.begun) return live.hangUp();
    const name = this.#nameOf(sandboxId);
    if (how === "terminate") return this.#parts.daemon.kill(name, "SIGTERM");
    await this.#parts.daemon.kill(name, "SIGUSR1");
    this.#armKill(sandboxId);
  }

  ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit> {
    return this.#watch.ended(sandboxId, signal);
  }

  foreignLoad(signal: AbortSignal): AsyncIterable<ForeignLoad> {
    const { daemon, options, capabilities } = this.#parts;
    const { installationId, log } = options;
    const gpuIds = capabilities.gpus.map(({ id }) => id);
    return new ForeignContainers({ daemon, installationId, gpuIds, log }).watch(signal);
  }

  release(sandboxId: string): Promise<void> {
    const running = this.#releases.get(sandboxId);
    if (running !== undefined) return running;
    const release = this.#release(sandboxId).finally(() => this.#releases.delete(sandboxId));
    this.#releases.set(sandboxId, release);
    return release;
  }

  warmCount(): number {
    return this.#pool.idleCount;
  }

  limitWarm(ramBytes: number): void {
    this.#pool.limit(ramBytes);
  }

  async list(): Promise<SandboxStatus[]> {
    await this.#finishDiscards();
    const containers = await this.#parts.daemon.list([
      `${LABELS.installation}=${this.#parts.options.installationId}`,
    ]);
    return containers.flatMap((container) => {
      const id = container.Labels[LABELS.sandbox];
      if (id === undefined || !isSandboxId(id)) return [];
      return [
        // Marked from before its container is made until it is handed out, so that nobody takes one under way for an orphan.
        {
          id,
          containerId: container.Id,
          running: container.State === "running",
          warm: this.files.isIdle(id),
        },
      ];
    });
  }

  async close(): Promise<void> {
    this.#parts.egress.network?.close();
    await this.#parts.tracking.close();
    await this.#pool.close();
    await this.#finishDiscards().catch((error: unknown) =>
      this.#parts.options.log.warn("sandboxes are left for the next start", { error: String(error) }),
    );
    for (const timer of this.#killTimers.values()) clearTimeout(timer);
    this.#killTimers.clear();
    await this.#watch.close();
    await this.#parts.imageNames.close();
    await Promise.allSettled(this.#releases.values());
    for (const live of this.#live.values()) live.hangUp();
    await this.files.close();
    await this.#parts.commands.close();
  }

  async #make(
    id: string,
    shape: SandboxShape,
    labels: Record<string, string>,
    warm: boolean,
    signal?: AbortSignal,
    build?: BuildTools,
  ): Promise<LiveSandbox> {
    const { daemon, storage, options } = this.#parts;
    const runtime = this.#runtimeOf(shape);
    const image = await this.#parts.images.byDigest(shape.imageDigest);
    // Outside the try: an id that is there already is somebody else's sandbox, which must not be torn down.
    const paths = await this.files.prepare(id, warm);
    try {
      const uid = this.#uids.acquire(id);
      await storage.attach(paths, uid, shape.limits);
      signal?.throwIfAborted();
      const plan = {
        shape,
        runtime,
        uid,
        paths,
        storage: storage.tier,
        runnerFolder: this.#parts.runnerFolder,
        egress: await this.#attachment(shape),
        ...(build !== undefined && { build }),
        imageEnvNames: image.envNames,
        labels: {
          [LABELS.installation]: options.installationId,
          [LABELS.sandbox]: id,
          [LABELS.shape]: shapeKey(shape),
          [LABELS.uid]: String(uid),
          ...labels,
        },
      };
      // One slot for the whole start: with create and start in turns, all of many would be ready only at the very end.
      return await daemon.gate.run(
        () => this.#start(id, shape, warm, containerOptions(plan), signal),
        warm ? "patient" : "urgent",
      );
    } catch (error) {
      await this.#discard(id);
      throw error;
    }
  }

  async #attachment({ network, tracker }: SandboxShape): Promise<EgressAttachment | undefined> {
    if (network === "TRACKING" && tracker !== undefined)
      return await this.#parts.tracking.attachment(tracker);
    return network === "EGRESS" ? await this.#parts.egress.network?.attachment() : undefined;
  }

  async #start(
    id: string,
    shape: SandboxShape,
    warm: boolean,
    options: ContainerCreateOptions,
    signal: AbortSignal | undefined,
  ): Promise<LiveSandbox> {
    const { daemon } = this.#parts;
    signal?.throwIfAborted();
    const containerId = await daemon.create(this.#nameOf(id), options);
    signal?.throwIfAborted();
    // Before the start, or the runner would read end of file.
    const stream = await daemon.attach(containerId, { stdin: true, stderr: true });
    const live = new LiveSandbox(id, containerId, shape, warm, stream);
    this.#live.set(id, live);
    await daemon.start(containerId);
    if (shape.isolation === "GVISOR") await this.#confine(id, containerId, shape);
    signal?.throwIfAborted();
    return live;
  }

  #runtimeOf(shape: SandboxShape): string {
    const tier = this.#parts.capabilities.tiers.find(({ isolation }) => isolation === shape.isolation);
    if (tier === undefined)
      throw new Unsupported(`engine ${this.name} offers no isolation ${shape.isolation}`);
    if (!tier.networks.includes(shape.network))
      throw new Unsupported(
        `engine ${this.name} offers no network ${shape.network} with isolation ${shape.isolation}`,
      );
    const runtime = this.#parts.options.runtimes[shape.isolation === "GVISOR" ? "gvisor" : "container"];
    if (runtime === null)
      throw new Unsupported(`engine ${this.name} has no runtime for isolation ${shape.isolation}`);
    return runtime;
  }

  async #confine(id: string, containerId: string, shape: SandboxShape): Promise<void> {
    const { cgroups, daemon } = this.#parts;
    if (cgroups === undefined) return;
    const state = await daemon.inspect(containerId);
    if (state === undefined || !state.running)
      throw new SystemFault(`sandbox ${id} ended before it was under its limits`);
    await cgroups.confine(id, state.pid, hostLimits(shape, SENTRY_GROWTH_BYTES));
  }

  /** Leaves nothing at all of a sandbox; where the daemon is away, as soon as it is asked for its containers again. */
  async #discard(id: string): Promise<void> {
    this.#discards.add(id);
    await this.release(id);
    await this.files.remove(id);
    this.#discards.delete(id);
  }

  async #finishDiscards(): Promise<void> {
    for (const id of [...this.#discards]) await this.#discard(id);
  }

  async #release(id: string): Promise<void> {
    const { daemon, storage, options } = this.#parts;
    this.#endings.add(id);
    try {
      this.#pool.forget(id);
      this.#disarmKill(id);
      const live = this.#live.get(id);
      live?.hangUp();
      const state = live === undefined ? await daemon.inspect(this.#nameOf(id)) : undefined;
      if (state !== undefined && state.labels[LABELS.installation] !== options.installationId) {
        options.log.warn(
          "a container has the name of a sandbox of ours but not our label; it is left alone",
          {
            sandboxId: id,
            containerId: state.id,
          },
        );
      } else {
        const containerId = live?.containerId ?? state?.id;
        if (containerId !== undefined) await daemon.remove(containerId);
      }
      await this.#watch.look(id);
      await storage.detach(this.files.paths(id));
      await this.#parts.cgroups?.remove(id);
      await this.files.retire(id);
      this.#uids.release(id);
      this.#live.delete(id);
    } finally {
      this.#endings.delete(id);
    }
  }

  async #neverBegan(id: string): Promise<boolean> {
    try {
      return (await this.files.journal(id).size()) === 0;
    } catch (error) {
      this.#parts.options.log.warn("a sandbox has no journal", { sandboxId: id, error: String(error) });
      return true;
    }
  }

  #armKill(id: string): void {
    if (this.#killTimers.has(id)) return;
    const timer = setTimeout(() => {
      this.#killTimers.delete(id);
      this.#endings.add(id);
      this.#parts.daemon.kill(this.#nameOf(id), "SIGKILL").catch((error: unknown) => {
        this.#parts.options.log.warn("could not kill a sandbox", { sandboxId: id, error: String(error) });
      });
    }, KILL_BOUND_MILLIS);
    timer.unref();
    this.#killTimers.set(id, timer);
  }

  #disarmKill(id: string): void {
    clearTimeout(this.#killTimers.get(id));
    this.#killTimers.delete(id);
  }

  get #label(): string {
    return `${LABELS.installation}=${this.#parts.options.installationId}`;
  }

  #nameOf(id: string): string {
    return containerName(this.#parts.options.installationId, id);
  }

  #ends() {
    return {
      nameOf: (id: string) => this.#nameOf(id),
      isEnding: (id: string) => this.#endings.has(id),
      details: async (id: string) => {
        const touched = await this.#parts.cgroups?.touched(id);
        return {
          message: this.#live.get(id)?.stderr ?? "",
          oomKilled: touched?.ram ?? false,
          processesRefused: touched?.processes ?? false,
        };
      },
    };
  }
}
