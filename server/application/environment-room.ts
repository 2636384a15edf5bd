import type { EnvironmentStore } from "../domain/ports/environment-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { formatSize } from "../domain/resources.ts";
import type { EngineHosts } from "./engine-host.ts";

export interface EnvironmentRoomDeps {
  readonly store: EnvironmentStore;
  /** What environments may take of the disk together. */
  readonly mostBytes: number;
  readonly hosts: EngineHosts;
  readonly log: Log;
}

/** Keeps environments within their size: those used longest ago give way, never one in use. */
export class EnvironmentRoom {
  readonly #deps: EnvironmentRoomDeps;
  readonly #isUsed: (id: string) => boolean;
  readonly #evictions = new Map<string, Promise<void>>();

  constructor(deps: EnvironmentRoomDeps, isUsed: (id: string) => boolean) {
    this.#deps = deps;
    this.#isUsed = isUsed;
  }

  /** Resolves when it is not on its way out: from then on it is there whole, or not at all. */
  async settled(id: string): Promise<void> {
    await this.#evictions.get(id);
  }

  async make(): Promise<void> {
    const { store, mostBytes, log } = this.#deps;
    const stored = store.list().toSorted((a, b) => a.useTime.getTime() - b.useTime.getTime());
    let total = stored.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    for (const { id, sizeBytes } of stored) {
      if (total <= mostBytes) return;
      if (this.#isUsed(id)) continue;
      log.info("an environment gives way to others", { environment: id, size: formatSize(sizeBytes) });
      const eviction = this.#evict(id).finally(() => this.#evictions.delete(id));
      this.#evictions.set(id, eviction);
      await eviction;
      total -= sizeBytes;
    }
  }

  /** Warm sandboxes have it mounted, and are nobody's. */
  async #evict(id: string): Promise<void> {
    for (const { engine } of this.#deps.hosts.all()) await engine.forgetEnvironment?.(id);
    await this.#deps.store.remove(id);
  }
}
