import { createInterface } from "node:readline";
import { addResources, type ForeignLoad, NO_RESOURCES } from "../../domain/capacity.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { MEBIBYTE, type Resources } from "../../domain/resources.ts";
import type { ContainerClaim, Daemon } from "./daemon.ts";
import { LABELS } from "./naming.ts";

/** How often what has no limit is measured again; limits themselves change only with an event. */
const MEASURE_MILLIS = 30_000;
const RECONNECT_MILLIS = 1000;

export interface ForeignOptions {
  readonly daemon: Daemon;
  readonly installationId: string;
  /** The host's GPUs in the order that indices count them. */
  readonly gpuIds: readonly string[];
  readonly log: Log;
}

/**
 * What containers without our label hold. One with limits holds these, used or not: they were promised. One without holds the
 * memory that it uses, and no CPU: the kernel shares that out. Idle warm sandboxes of another server count like the latter.
 */
export class ForeignContainers {
  readonly #options: ForeignOptions;
  #changed: (() => void) | undefined;
  #dirty = true;

  constructor(options: ForeignOptions) {
    this.#options = options;
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ForeignLoad> {
    const stop = new AbortController();
    const following = this.#follow(AbortSignal.any([signal, stop.signal]));
    let told: string | undefined;
    try {
      while (!signal.aborted) {
        this.#dirty = false;
        const load = await this.#measure();
        const text = JSON.stringify(load);
        if (text !== told) yield load;
        told = text;
        if (!this.#dirty) await this.#pause(MEASURE_MILLIS, signal);
      }
    } finally {
      stop.abort();
      await following;
    }
  }

  async #measure(): Promise<ForeignLoad> {
    const { daemon, installationId, gpuIds, log } = this.#options;
    let resources: Resources = NO_RESOURCES;
    const gpus = new Set<string>();
    try {
      for (const { Id: id, Labels: labels } of await daemon.running()) {
        if (labels[LABELS.installation] === installationId) continue;
        const claim = await daemon.claim(id);
        if (claim === undefined) continue;
        const byUse = claim.memoryBytes === 0 || labels[LABELS.warm] !== undefined;
        resources = addResources(resources, {
          ...NO_RESOURCES,
          cpuMillis: labels[LABELS.warm] === undefined ? Math.round(claim.cpuMillis) : 0,
          ramBytes: byUse ? wholeMebibytes(await daemon.memoryInUse(id)) : claim.memoryBytes,
        });
        for (const gpu of claimedGpus(claim, gpuIds)) gpus.add(gpu);
      }
    } catch (error) {
      // The engine is away, which its own watch tells of; what is known of the others is as good as it gets.
      log.debug("containers of others could not be counted", { error: String(error) });
    }
    return { resources: { ...resources, gpuCount: gpus.size }, gpuIds: [...gpus] };
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { daemon, installationId, log } = this.#options;
    while (!signal.aborted) {
      try {
        const stream = await daemon.lifeEvents(signal);
        this.#tell();
        for await (const line of createInterface({ input: stream }))
          if (!line.includes(`"${LABELS.installation}":"${installationId}"`)) this.#tell();
      } catch (error) {
        if (signal.aborted) return;
        log.debug("the event stream of the Docker engine broke; connecting again", { error: String(error) });
      }
      if (!signal.aborted) await this.#rest(RECONNECT_MILLIS, signal);
    }
  }

  #tell(): void {
    this.#dirty = true;
    this.#changed?.();
  }

  /** Until something changed, the time is up, or `signal` aborts. */
  #pause(millis: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.#changed = undefined;
        resolve();
      };
      const timer = setTimeout(done, millis);
      signal.addEventListener("abort", done);
      this.#changed = done;
    });
  }

  #rest(millis: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, millis);
      signal.addEventListener("abort", done);
    });
  }
}

/** The host's GPUs that a container was given; a request for a number gets the first ones, as Docker does it. */
export function claimedGpus(
  { gpuRequests, visibleGpus }: ContainerClaim,
  gpuIds: readonly string[],
): string[] {
  const byName = (name: string) => gpuIds.filter((id, index) => name === id || name === String(index));
  const asked = gpuRequests.flatMap(({ count, ids }) => {
    if (ids.length > 0) return ids.flatMap(byName);
    return count < 0 ? gpuIds : gpuIds.slice(0, count);
  });
  const visible = visibleGpus === "all" ? gpuIds : visibleGpus.split(",").flatMap(byName);
  return [...new Set([...asked, ...visible])];
}

/** Rounded up, so that a byte more or less is no change. */
function wholeMebibytes(bytes: number): number {
  return Math.ceil(bytes / MEBIBYTE) * MEBIBYTE;
}
