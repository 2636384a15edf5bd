import { setTimeout as delay } from "node:timers/promises";
import type { Unavailable } from "../domain/errors.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { EngineHost } from "./engine-host.ts";
import type { Scheduler } from "./scheduler.ts";

/** Also the pause after trouble that the engine itself does not know of: the next start would meet it again at once. */
const FIRST_PAUSE_MILLIS = 500;
const LONGEST_PAUSE_MILLIS = 5_000;

/** Keeps tasks in the queue while their engine cannot start any, and lets them go on when it answers again. */
export class EngineProbe {
  readonly #scheduler: Scheduler;
  readonly #log: Log;
  readonly #closing = new AbortController();
  readonly #probes = new Map<string, Promise<void>>();

  constructor(deps: { scheduler: Scheduler; log: Log }) {
    this.#scheduler = deps.scheduler;
    this.#log = deps.log;
  }

  /** To be told of every start that failed because something that all need is away. */
  trouble(host: EngineHost, error: Unavailable): void {
    const { name } = host.engine;
    if (this.#probes.has(name) || this.#closing.signal.aborted) return;
    this.#log.warn("an engine starts nothing until it answers", { engine: name, error: error.message });
    this.#scheduler.suspend(name, `engine ${name} is tried again in a moment: ${error.message}`);
    this.#probes.set(
      name,
      this.#untilAnswer(host).finally(() => this.#probes.delete(name)),
    );
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#probes.values());
  }

  async #untilAnswer(host: EngineHost): Promise<void> {
    const { signal } = this.#closing;
    for (let pause = FIRST_PAUSE_MILLIS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MILLIS)) {
      try {
        await delay(pause, undefined, { signal });
      } catch {
        // The delay rejects only when the server closes.
        return;
      }
      try {
        await host.engine.list();
        this.#scheduler.unsuspend(host.engine.name);
        return;
      } catch (error) {
        this.#log.debug("an engine does not answer yet", { engine: host.engine.name, error: String(error) });
      }
    }
  }
}
