import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "../../domain/ports/telemetry.ts";

const RECONNECT_MILLIS = 500;

/** The part of the daemon that is needed here. */
export interface ImageDaemon {
  image(name: string): Promise<{ readonly Id: string } | undefined>;
  /** Lines, one for each image that got or lost a name. */
  imageEvents(signal: AbortSignal): Promise<NodeJS.ReadableStream>;
}

/**
 * Which content a name stands for. Asked of the daemon once, and again after it told that any image got or lost a name: every
 * task asks twice, and the question costs more than all else that is done to create one. While the daemon's events do not come
 * in, nothing is remembered.
 */
export class ImageNames {
  readonly #daemon: ImageDaemon;
  readonly #log: Log;
  readonly #known = new Map<string, Promise<string | undefined>>();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #listening = false;

  constructor(daemon: ImageDaemon, log: Log) {
    this.#daemon = daemon;
    this.#log = log;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** undefined when there is no such image. */
  idOf(name: string): Promise<string | undefined> {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const asked = this.#daemon.image(name).then((image) => image?.Id);
    if (this.#listening) {
      // Before the answer: a change that comes meanwhile takes this entry away with the others.
      this.#known.set(name, asked);
      const forget = () => {
        if (this.#known.get(name) === asked) this.#known.delete(name);
      };
      // Names come from clients, and those that stand for nothing could be without end.
      asked.then((id) => (id === undefined ? forget() : undefined), forget);
    }
    return asked;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const stream = await this.#daemon.imageEvents(signal);
        this.#listening = true;
        for await (const _ of createInterface({ input: stream })) this.#known.clear();
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn("the image events of the Docker engine broke; connecting again", {
          error: error instanceof Error ? error.message : String(error),
        });
      } finally {
        this.#listening = false;
        this.#known.clear();
      }
      // The only reason to end early is the stop itself.
      await delay(RECONNECT_MILLIS, undefined, { signal }).catch(() => undefined);
    }
  }
}
