import { chmod, mkdir } from "node:fs/promises";
import type { ForeignLoad } from "../../domain/capacity.ts";
import { SystemFault } from "../../domain/errors.ts";
import {
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
import { CommandHost } from "./command-host.ts";
import { Daemon } from "./daemon.ts";
import { namesOf as egressNames, openEgress } from "./egress-network.ts";
import type { EngineParts } from "./engine-parts.ts";
import { ExitWatch } from "./exit-watch.ts";
import { ForeignContainers } from "./foreign-containers.ts";
import { probeGvisor } from "./gvisor.ts";
import { ImageNames } from "./image-names.ts";
import { Images } from "./images.ts";
import type { LiveSandbox } from "./live-sandbox.ts";
import { containerName, LABELS } from "./naming.ts";
import type { DockerEngineOptions } from "./options.ts";
import { SandboxStarter } from "./sandbox-starter.ts";
import { KILL_BOUND_MILLIS, SandboxTeardown } from "./sandbox-teardown.ts";
import { SandboxStorage } from "./storage.ts";
import { TrackingNetworks } from "./tracking-networks.ts";
import { WarmPool } from "./warm-pool.ts";

/** Finds out what the host can do, refuses hosts where sandboxes would not hold, and takes over what an earlier server left. */
export async function openDockerEngine(options: DockerEngineOptions): Promise<DockerEngine> {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    throw new SystemFault(
      "the Docker engine needs a server that runs as root on Linux: sandboxes get files, mounts and uids of their own. " +
        "Start it as root (deploy/compose does so in a container), or name other engines alone in LONGSHORE_ENGINES (docs/engines.md)",
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
  readonly #parts: EngineParts;
  readonly #uids: UidPool;
  readonly #watch: ExitWatch;
  readonly #pool: WarmPool<LiveSandbox>;
  readonly #live = new Map<string, LiveSandbox>();
  readonly #starter: SandboxStarter;
  readonly #teardown: SandboxTeardown;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.name = parts.options.name;
    this.files = parts.files;
    this.#uids = new UidPool(parts.options.uids);
    this.#watch = new ExitWatch(parts.daemon, this.#label, this.#ends(), parts.options.log);
    this.#pool = new WarmPool({
      settings: parts.options.pool,
      make: (id, shape) => this.#starter.make(id, shape, { [LABELS.warm]: "1" }, true),
      discard: (id) => this.#teardown.discard(id),
      log: parts.options.log,
    });
    const shared = { uids: this.#uids, live: this.#live };
    this.#teardown = new SandboxTeardown(parts, {
      ...shared,
      forgetWarm: (id) => this.#pool.forget(id),
      look: (id) => this.#watch.look(id),
    });
    this.#starter = new SandboxStarter(parts, { ...shared, discard: (id) => this.#teardown.discard(id) });
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
        await this.#teardown.discard(id);
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
    const live = await this.#starter.make(order.sandboxId, order.shape, labels, false, signal, order.build);
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
    this.#teardown.killSoon(sandboxId);
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
    return this.#teardown.release(sandboxId);
  }

  warmCount(): number {
    return this.#pool.idleCount;
  }

  limitWarm(ramBytes: number): void {
    this.#pool.limit(ramBytes);
  }

  async list(): Promise<SandboxStatus[]> {
    await this.#teardown.finishDiscards();
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
    await this.#teardown
      .finishDiscards()
      .catch((error: unknown) =>
        this.#parts.options.log.warn("sandboxes are left for the next start", { error: String(error) }),
      );
    this.#teardown.disarm();
    await this.#watch.close();
    await this.#parts.imageNames.close();
    await this.#teardown.settled();
    for (const live of this.#live.values()) live.hangUp();
    await this.files.close();
    await this.#parts.commands.close();
  }

  async #neverBegan(id: string): Promise<boolean> {
    try {
      return (await this.files.journal(id).size()) === 0;
    } catch (error) {
      this.#parts.options.log.warn("a sandbox has no journal", { sandboxId: id, error: String(error) });
      return true;
    }
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
      isEnding: (id: string) => this.#teardown.isEnding(id),
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
