import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "../../domain/ports/telemetry.ts";
import type { JobLine, SlurmController } from "./controller.ts";

/** Slurm tells nobody of changes; one question for all jobs at once costs the controller milliseconds. */
const POLL_MILLIS = 250;
/** Where it costs more than that, for there are many jobs, it is asked the less often. */
const PAUSES = 4;
const AFTER_TROUBLE_MILLIS = 2000;

type Jobs = ReadonlyMap<string, JobLine>;
type Look = (jobs: Jobs) => Promise<void>;

/** Asks Slurm for all jobs again and again as long as somebody waits for a change of one. */
export class JobWatch {
  readonly #controller: SlurmController;
  readonly #log: Log;
  readonly #looks = new Set<Look>();
  readonly #stop = new AbortController();
  #polling: Promise<void> | undefined;

  constructor(controller: SlurmController, log: Log) {
    this.#controller = controller;
    this.#log = log;
  }

  async jobs(): Promise<Jobs> {
    return new Map((await this.#controller.jobs()).map((job) => [job.jobId, job]));
  }

  /** Resolves with the first answer other than undefined that `find` gives; rejects only when `signal` aborts. */
  async until<T>(
    find: (jobs: Jobs) => Promise<T | undefined> | T | undefined,
    signal: AbortSignal,
  ): Promise<T> {
    signal.throwIfAborted();
    return await new Promise<T>((resolve, reject) => {
      const done = (settle: () => void) => {
        this.#looks.delete(look);
        signal.removeEventListener("abort", aborted);
        settle();
      };
      const aborted = () => done(() => reject(signal.reason));
      const look: Look = async (jobs) => {
        try {
          const found = await find(jobs);
          if (found !== undefined && this.#looks.has(look)) done(() => resolve(found));
        } catch (error) {
          this.#log.warn("could not look at a job", { error: String(error) });
        }
      };
      signal.addEventListener("abort", aborted, { once: true });
      this.#looks.add(look);
      this.#polling ??= this.#poll();
    });
  }

  /** Asks at once, so that all who wait have seen the present state when it resolves. */
  async look(): Promise<void> {
    if (this.#looks.size === 0) return;
    const jobs = await this.jobs();
    await Promise.all([...this.#looks].map((look) => look(jobs)));
  }

  /** Leaves those who still wait without an answer. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#polling;
  }

  async #poll(): Promise<void> {
    const { signal } = this.#stop;
    let away = false;
    while (this.#looks.size > 0 && !signal.aborted) {
      const asked = performance.now();
      let pause = AFTER_TROUBLE_MILLIS;
      try {
        const jobs = await this.jobs();
        pause = Math.max(POLL_MILLIS, PAUSES * (performance.now() - asked));
        away = false;
        await Promise.all([...this.#looks].map((look) => look(jobs)));
      } catch (error) {
        if (!away) this.#log.warn("Slurm does not tell of its jobs; asking again", { error: String(error) });
        away = true;
      }
      await delay(pause, undefined, { signal }).catch(() => undefined);
    }
    this.#polling = undefined;
  }
}
