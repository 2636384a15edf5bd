import { Releases } from "../sandbox/releases.ts";
import type { UidPool } from "../sandbox/uids.ts";
import type { EngineParts } from "./engine-parts.ts";
import type { LiveSandbox } from "./live-sandbox.ts";
import { containerName, LABELS } from "./naming.ts";

/** A killed runner still writes its end frame; one that does not end within this is killed by the engine. */
export const KILL_BOUND_MILLIS = 10_000;

/** What of the engine's state an end touches. */
export interface Shared {
  readonly uids: UidPool;
  readonly live: Map<string, LiveSandbox>;
  forgetWarm(id: string): void;
  /** Lets those who wait for the sandbox's end see it. */
  look(id: string): Promise<unknown>;
}

/** Ends sandboxes: container, mounts, volume, uid; of those that nobody had, the files, too. */
export class SandboxTeardown {
  readonly #parts: EngineParts;
  readonly #shared: Shared;
  /** Begun and not finished, because the daemon was away or because it is being done. */
  readonly #discards = new Set<string>();
  readonly #releases = new Releases();
  /** Sandboxes whose end is our own doing, so that it is not taken for somebody else's. */
  readonly #endings = new Set<string>();
  readonly #killTimers = new Map<string, NodeJS.Timeout>();

  constructor(parts: EngineParts, shared: Shared) {
    this.#parts = parts;
    this.#shared = shared;
  }

  isEnding(id: string): boolean {
    return this.#endings.has(id);
  }

  /** Idempotent; at most one under way for each sandbox. */
  release(id: string): Promise<void> {
    return this.#releases.join(id, (sandbox) => this.#release(sandbox));
  }

  /** Leaves nothing at all of a sandbox; where the daemon is away, as soon as it is asked for its containers again. */
  async discard(id: string): Promise<void> {
    this.#discards.add(id);
    await this.release(id);
    await this.#parts.files.remove(id);
    this.#discards.delete(id);
  }

  async finishDiscards(): Promise<void> {
    for (const id of [...this.#discards]) await this.discard(id);
  }

  async #release(id: string): Promise<void> {
    const { daemon, storage, options } = this.#parts;
    this.#endings.add(id);
    try {
      this.#shared.forgetWarm(id);
      this.#disarmKill(id);
      const live = this.#shared.live.get(id);
      live?.hangUp();
      const state =
        live === undefined
          ? await daemon.inspect(containerName(this.#parts.options.installationId, id))
          : undefined;
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
      await this.#shared.look(id);
      await storage.detach(this.#parts.files.paths(id));
      await this.#parts.cgroups?.remove(id);
      await this.#parts.files.retire(id);
      this.#shared.uids.release(id);
      this.#shared.live.delete(id);
    } finally {
      this.#endings.delete(id);
    }
  }

  /** A runner that was asked to end writes its end frame first; one that does not end in time is killed by the engine. */
  killSoon(id: string): void {
    if (this.#killTimers.has(id)) return;
    const timer = setTimeout(() => {
      this.#killTimers.delete(id);
      this.#endings.add(id);
      this.#parts.daemon
        .kill(containerName(this.#parts.options.installationId, id), "SIGKILL")
        .catch((error: unknown) => {
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

  disarm(): void {
    for (const timer of this.#killTimers.values()) clearTimeout(timer);
    this.#killTimers.clear();
  }

  async settled(): Promise<void> {
    await this.#releases.settled();
  }
}
