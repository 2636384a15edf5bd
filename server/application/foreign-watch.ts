import type { Log } from "../domain/ports/telemetry.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import type { Scheduler } from "./scheduler.ts";

/** Keeps the ledgers informed of what others hold on the engines' hosts, and has the queue looked at when that changes. */
export class ForeignWatch {
  readonly #hosts: EngineHosts;
  readonly #scheduler: Scheduler;
  readonly #log: Log;
  readonly #closing = new AbortController();
  #watches: Promise<void>[] = [];

  constructor(deps: { hosts: EngineHosts; scheduler: Scheduler; log: Log }) {
    this.#hosts = deps.hosts;
    this.#scheduler = deps.scheduler;
    this.#log = deps.log;
  }

  /** Resolves with the first figures of every engine, so that no task is started on what others hold. */
  async start(): Promise<void> {
    const first = this.#hosts.all().map((host) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#watches.push(this.#watch(host, resolve).finally(resolve));
      return promise;
    });
    await Promise.all(first);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#watches);
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
