import { Unavailable } from "../domain/errors.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";
import type { ForeignWatch } from "./foreign-watch.ts";
import type { Reconcile } from "./reconcile.ts";
import type { Scheduler } from "./scheduler.ts";
import { untilAvailable } from "./until-available.ts";

export interface EngineArrivalsDeps {
  readonly hosts: EngineHosts;
  readonly scheduler: Scheduler;
  readonly reconcile: Pick<Reconcile, "takeUp">;
  /** Null where what others hold is not counted. */
  readonly foreign: Pick<ForeignWatch, "watch"> | null;
  readonly log: Log;
}

/** Waits for the engines that did not answer while the server started. Their tasks wait, too, and say why. */
export class EngineArrivals {
  readonly #deps: EngineArrivalsDeps;
  readonly #closing = new AbortController();
  #waits: Promise<void>[] = [];

  constructor(deps: EngineArrivalsDeps) {
    this.#deps = deps;
  }

  /** Before anything can be started. */
  start(): void {
    for (const host of this.#deps.hosts.all())
      if (host.away) {
        this.#tell(host, host.away.message);
        this.#waits.push(this.#arrival(host));
      }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#waits);
  }

  async #arrival(host: EngineHost): Promise<void> {
    const { signal } = this.#closing;
    let told = host.away?.message;
    try {
      await untilAvailable(
        () => this.#takeUp(host),
        signal,
        ({ message }) => {
          // It may be another by now: a cluster that is up again, and says that its nodes are not.
          if (message !== told) this.#tell(host, message);
          told = message;
        },
      );
    } catch (error) {
      // Closing is the only way out but success: anything else is tried again.
      if (signal.aborted) return;
      throw error;
    }
    const { scheduler, log } = this.#deps;
    scheduler.unsuspend(host.engine.name);
    log.info("an engine answers at last, and starts tasks", { engine: host.engine.name });
  }

  /** What an earlier server left there, and what others hold, before anything is started. */
  async #takeUp(host: EngineHost): Promise<void> {
    const { reconcile, foreign } = this.#deps;
    try {
      await this.#joined(host);
      await reconcile.takeUp(host);
      await foreign?.watch(host);
    } catch (error) {
      if (error instanceof Unavailable || this.#closing.signal.aborted) throw error;
      throw new Unavailable(error instanceof Error ? error.message : String(error), 0, { cause: error });
    }
  }

  /** A server that ends does not wait for the answer of a cluster that gives none. */
  async #joined(host: EngineHost): Promise<void> {
    const { signal } = this.#closing;
    const ends = Promise.withResolvers<never>();
    const end = () => ends.reject(signal.reason);
    signal.addEventListener("abort", end, { once: true });
    try {
      signal.throwIfAborted();
      await Promise.race([host.join?.(), ends.promise]);
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  #tell(host: EngineHost, reason: string): void {
    const { scheduler, log } = this.#deps;
    const { name } = host.engine;
    log.warn("an engine is away since the start, and is asked again and again", {
      engine: name,
      error: reason,
    });
    scheduler.suspend(name, `engine ${name} is asked again in a moment: ${reason}`);
  }
}
