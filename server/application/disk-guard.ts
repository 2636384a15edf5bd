import { Unavailable } from "../domain/errors.ts";
import type { DataDisk } from "../domain/ports/data-disk.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import { formatSize } from "../domain/resources.ts";
import type { Scheduler } from "./scheduler.ts";

const INTERVAL_MILLIS = 1_000;
/** So much above the least it begins again, or every small file would turn admission off and on. */
const COMFORT = 1.25;
const RETRY_MILLIS = 5_000;

/** Takes and starts nothing while the data disk is nearly full, so that what runs can still be recorded. */
export class DiskGuard {
  readonly #disk: DataDisk;
  readonly #leastFreeBytes: number;
  readonly #scheduler: Scheduler;
  readonly #log: Log;
  #full: string | undefined;
  #freeBytes: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(deps: { disk: DataDisk; leastFreeBytes: number; scheduler: Scheduler; log: Log }) {
    this.#disk = deps.disk;
    this.#leastFreeBytes = deps.leastFreeBytes;
    this.#scheduler = deps.scheduler;
    this.#log = deps.log;
  }

  /** Resolves after the first look. No event tells of a disk that fills, so it is looked at again and again. */
  async start(): Promise<void> {
    await this.look();
    this.#timer = setInterval(() => {
      this.#running = this.look();
    }, INTERVAL_MILLIS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  /** As the latest look found it; undefined before the first. */
  get freeBytes(): number | undefined {
    return this.#freeBytes;
  }

  /** Throws Unavailable while there is no room for more. */
  requireRoom(): void {
    if (this.#full !== undefined) throw new Unavailable(this.#full, RETRY_MILLIS);
  }

  /** Never rejects: a disk that cannot be asked is left to whoever writes to it. */
  async look(): Promise<void> {
    try {
      const free = await this.#disk.freeBytes();
      this.#freeBytes = free;
      if (free < this.#leastFreeBytes) this.#stopAdmission(free);
      else if (free >= this.#leastFreeBytes * COMFORT) this.#resume(free);
    } catch (error) {
      this.#log.warn("the data disk could not be asked for its free space", { error: String(error) });
    }
  }

  #stopAdmission(free: number): void {
    if (this.#full !== undefined) return;
    const least = formatSize(this.#leastFreeBytes);
    this.#full = `the server's disk is nearly full: less than the ${least} it keeps free is left; tasks go on when its operator has made room`;
    this.#log.error("the data disk is nearly full; nothing is taken or started", { free, least });
    this.#scheduler.pause("disk", this.#full);
  }

  #resume(free: number): void {
    if (this.#full === undefined) return;
    this.#full = undefined;
    this.#log.info("the data disk has room again", { free });
    this.#scheduler.resume("disk");
  }
}
