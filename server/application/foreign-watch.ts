import type { Log } from "../domain/ports/telemetry.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import type { Scheduler } from "./scheduler.ts";

/** Keeps the ledgers informed of what others hold on the engines' hosts, and has the queue looked at when that changes. */
export class ForeignWatch {
  readonly #hosts: EngineHosts;
  readonly #scheduler: Scheduler;
  readonly #log: Log;
  readonly #closing = new AbortController();
  readonly #watches = new Map<EngineHost, Promise<void>>();

  constructor(deps: { hosts: EngineHosts; scheduler: Scheduler; log: Log }) {
    this.#hosts = deps.hosts;
    this.#scheduler = deps.scheduler;
    this.#log = deps.log;
  }

  /** Resolves with the first figures of every engine that is there, so that no task is started on what others hold. */
  async start(): Promise<void> {
    await Promise.all(
      this.#hosts
        .all()
        .filter((host) => !host.away)
        .map((host) => this.watch(host)),
    );
  }

  /** Of an engine that was away until now. Resolves with its first figures. */
  async watch(host: EngineHost): Promise<void> {
    if (this.#closing.signal.aborted || this.#watches.has(host)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#watches.set(host, this.#watch(host, resolve).finally(resolve));
    await promise;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#watches.values());
  }

  async #watch(host: EngineHost, told: () => void): Promise<void> {
    try {
      for await (const load of host.engine.foreignLoad(this.#closing.signal)) {
        host.ledger.noteForeign(load);
        told();
        this.#scheduler.wake();
      }
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#log.error("containers of others are counted no more", {
        engine: host.engine.name,
        error: String(error),
      });
    }
  }
}
