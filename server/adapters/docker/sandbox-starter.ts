import type { ContainerCreateOptions } from "dockerode";
import { SystemFault, Unsupported } from "../../domain/errors.ts";
import type { BuildTools, SandboxShape } from "../../domain/ports/engine.ts";
import type { UidPool } from "../sandbox/uids.ts";
import type { EngineParts } from "./engine-parts.ts";
import { containerOptions, type EgressAttachment, hostLimits, SENTRY_GROWTH_BYTES } from "./host-config.ts";
import { LiveSandbox } from "./live-sandbox.ts";
import { containerName, LABELS } from "./naming.ts";
import { shapeKey } from "./warm-pool.ts";

/** What starting and ending sandboxes share. */
export interface Shared {
  readonly uids: UidPool;
  /** Sandboxes whose stdin this server holds. */
  readonly live: Map<string, LiveSandbox>;
  discard(id: string): Promise<void>;
}

/** Makes sandboxes: files, volume, container, limits. */
export class SandboxStarter {
  readonly #parts: EngineParts;
  readonly #shared: Shared;

  constructor(parts: EngineParts, shared: Shared) {
    this.#parts = parts;
    this.#shared = shared;
  }

  /** Made, started, under its limits, waiting for its spec. On rejection `discard` has left nothing of it. */
  async make(
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
    const paths = await this.#parts.files.prepare(id, warm);
    try {
      const uid = this.#shared.uids.acquire(id);
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
      await this.#shared.discard(id);
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
    const containerId = await daemon.create(containerName(this.#parts.options.installationId, id), options);
    signal?.throwIfAborted();
    // Before the start, or the runner would read end of file.
    const stream = await daemon.attach(containerId, { stdin: true, stderr: true });
    const live = new LiveSandbox(id, containerId, shape, warm, stream);
    this.#shared.live.set(id, live);
    await daemon.start(containerId);
    if (shape.isolation === "GVISOR") await this.#confine(id, containerId, shape);
    signal?.throwIfAborted();
    return live;
  }

  #runtimeOf(shape: SandboxShape): string {
    const tier = this.#parts.capabilities.tiers.find(({ isolation }) => isolation === shape.isolation);
    if (tier === undefined)
      throw new Unsupported(`engine ${this.#parts.options.name} offers no isolation ${shape.isolation}`);
    if (!tier.networks.includes(shape.network))
      throw new Unsupported(
        `engine ${this.#parts.options.name} offers no network ${shape.network} with isolation ${shape.isolation}`,
      );
    const runtime = this.#parts.options.runtimes[shape.isolation === "GVISOR" ? "gvisor" : "container"];
    if (runtime === null)
      throw new Unsupported(
        `engine ${this.#parts.options.name} has no runtime for isolation ${shape.isolation}`,
      );
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
}
