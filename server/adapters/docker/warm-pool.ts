import { ulid } from "ulid";
import type { SandboxShape } from "../../domain/ports/engine.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { MEBIBYTE } from "../../domain/resources.ts";
import type { PoolSettings } from "./options.ts";

/** What an idle sandbox holds: PID 1 and a waiting interpreter (measured: 10 MB), their shim (13 MB). Its limits are not in use before its task is. */
export const IDLE_SANDBOX_BYTES = 32 * MEBIBYTE;

/** The same with modules imported: scikit-learn, scipy and pandas come to 170 MB (measured). */
export const PRELOADED_SANDBOX_BYTES = 224 * MEBIBYTE;

/** Asks within this long count as one wave of demand, and the next is expected to be as high. */
const WAVE_MILLIS = 5000;
/** What is expected falls by half in this time. */
const HALF_LIFE_MILLIS = 120_000;
/** A refill costs a fifth of a second of CPU; the attempts of a wave go first. */
const REFILL_DELAY_MILLIS = 30;
/** A wave that goes on and on is refilled in the middle. */
const LONGEST_DELAY_MILLIS = 300;
/** One alone leaves the daemon idle for half of its time; more than this take the host away from the attempts. */
const REFILLS_AT_ONCE = 2;
const SWEEP_MILLIS = 30_000;
/** After a failure the shape waits: the same failure would come again at once. */
const FAILURE_PAUSE_MILLIS = 10_000;

/** What the pool needs to know of a sandbox. */
export interface Poolable {
  readonly id: string;
  readonly waiting: boolean;
  onLost(tell: () => void): void;
}

export interface PoolParts<S extends Poolable> {
  readonly settings: PoolSettings;
  make(id: string, shape: SandboxShape): Promise<S>;
  discard(id: string): Promise<void>;
  readonly log: Log;
  readonly now?: () => number;
}

interface Shelf<S> {
  readonly shape: SandboxShape;
  readonly idle: S[];
  making: number;
  asks: number[];
  /** The highest wave, as it was at `peakTime`. */
  peak: number;
  peakTime: number;
  lastAsk: number;
  pausedUntil: number;
}

/** What makes two sandboxes interchangeable, without what only the spec tells the runner (times). */
export function shapeKey(shape: SandboxShape): string {
  const { cpuMillis, ramBytes, storageBytes, processes, openFiles, inodes, logBytes, artifactBytes } =
    shape.limits;
  return JSON.stringify([
    shape.imageDigest,
    shape.isolation,
    shape.network,
    shape.tracker?.name ?? "",
    shape.tracker?.url ?? "",
    [...shape.gpuIds].sort(),
    [cpuMillis, ramBytes, storageBytes, processes, openFiles, inodes, logBytes, artifactBytes],
    [shape.environment?.id ?? "", ...(shape.environment?.preload ?? [])],
  ]);
}

/** What an idle sandbox of this shape holds; a preload that fails for memory leaves less. */
function idleBytes({ environment, limits }: SandboxShape): number {
  if (environment === undefined || environment.preload.length === 0) return IDLE_SANDBOX_BYTES;
  return Math.min(PRELOADED_SANDBOX_BYTES, limits.ramBytes + IDLE_SANDBOX_BYTES);
}

/** Started sandboxes that wait for their one spec, as many of each shape as were asked for lately. */
export class WarmPool<S extends Poolable> {
  readonly #parts: PoolParts<S>;
  readonly #shelves = new Map<string, Shelf<S>>();
  readonly #discards = new Set<Promise<void>>();
  readonly #sweep: NodeJS.Timeout;
  #refillTimer: NodeJS.Timeout | undefined;
  #waveSince: number | undefined;
  #refilling: Promise<unknown> | undefined;
  #closed = false;
  /** What attempts leave free of the host's memory. */
  #roomBytes = Number.POSITIVE_INFINITY;

  constructor(parts: PoolParts<S>) {
    this.#parts = parts;
    this.#sweep = setInterval(() => this.#dropStale(), SWEEP_MILLIS);
    this.#sweep.unref();
  }

  /** Hands one out, once, if a living one is there; either way the ask counts as demand. */
  take(shape: SandboxShape): S | undefined {
    const shelf = this.#ask(shape);
    if (shelf === undefined) return undefined;
    for (;;) {
      // The youngest: an older one is likelier to be next in line to be dropped.
      const sandbox = shelf.idle.pop();
      if (sandbox === undefined) return undefined;
      if (sandbox.waiting) return sandbox;
      this.#discard(sandbox.id);
    }
  }

  /** Takes it off its shelf without a word: somebody else removes it. */
  forget(id: string): boolean {
    for (const shelf of this.#shelves.values()) {
      const at = shelf.idle.findIndex((sandbox) => sandbox.id === id);
      if (at < 0) continue;
      shelf.idle.splice(at, 1);
      return true;
    }
    return false;
  }

  /** Resolves when no sandbox of these shapes idles any more; those that are being made are dropped as they come. */
  async forgetShapes(matches: (shape: SandboxShape) => boolean): Promise<void> {
    for (const [key, shelf] of [...this.#shelves]) {
      if (!matches(shelf.shape)) continue;
      this.#shelves.delete(key);
      this.#empty(shelf);
    }
    await Promise.all(this.#discards);
  }

  get idleCount(): number {
    return [...this.#shelves.values()].reduce((sum, shelf) => sum + shelf.idle.length, 0);
  }

  /** Idle ones may hold this much memory together from now on; those over it give way, least wanted first. */
  limit(roomBytes: number): void {
    const before = this.#capacityBytes;
    this.#roomBytes = roomBytes;
    this.#giveWay();
    if (this.#capacityBytes > before && this.#shelves.size > 0) this.#scheduleRefill(REFILL_DELAY_MILLIS);
  }

  /** Resolves when nothing of the pool is left and nothing is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweep);
    clearTimeout(this.#refillTimer);
    await this.#refilling;
    for (const shelf of this.#shelves.values()) this.#empty(shelf);
    this.#shelves.clear();
    await Promise.all(this.#discards);
  }

  /** What idle ones may hold now. */
  get #capacityBytes(): number {
    return Math.max(0, Math.min(this.#parts.settings.idleRamBytes, this.#roomBytes));
  }

  /** Idle ones and those under way. */
  #sum(of: (shelf: Shelf<S>) => number): number {
    return [...this.#shelves.values()].reduce((sum, shelf) => sum + of(shelf), 0);
  }

  /** Of one shape alone. */
  #most(shape: SandboxShape): number {
    return Math.min(this.#parts.settings.maxIdle, Math.floor(this.#capacityBytes / idleBytes(shape)));
  }

  #hasRoomFor(shape: SandboxShape): boolean {
    const count = this.#sum(({ idle, making }) => idle.length + making);
    const bytes = this.#sum((shelf) => (shelf.idle.length + shelf.making) * idleBytes(shelf.shape));
    return count < this.#parts.settings.maxIdle && bytes + idleBytes(shape) <= this.#capacityBytes;
  }

  #now(): number {
    return this.#parts.now?.() ?? performance.now();
  }

  #ask(shape: SandboxShape): Shelf<S> | undefined {
    // Whole GPUs are held exclusively: an idle sandbox must not hold one.
    if (this.#closed || this.#parts.settings.maxIdle === 0 || shape.gpuIds.length > 0) return undefined;
    const key = shapeKey(shape);
    let shelf = this.#shelves.get(key);
    if (shelf === undefined) {
      shelf = { shape, idle: [], making: 0, asks: [], peak: 0, peakTime: 0, lastAsk: 0, pausedUntil: 0 };
      this.#shelves.set(key, shelf);
    }
    shelf.lastAsk = this.#now();
    const since = shelf.lastAsk - WAVE_MILLIS;
    shelf.asks = [...shelf.asks.filter((time) => time > since), shelf.lastAsk];
    if (shelf.asks.length >= expected(shelf, shelf.lastAsk)) {
      shelf.peak = shelf.asks.length;
      shelf.peakTime = shelf.lastAsk;
    }
    this.#refillAfterWave();
    return shelf;
  }

  /** Once the wave is over, or after a while if it goes on and on. */
  #refillAfterWave(): void {
    const now = this.#now();
    this.#waveSince ??= now;
    if (now - this.#waveSince < LONGEST_DELAY_MILLIS) {
      clearTimeout(this.#refillTimer);
      this.#refillTimer = undefined;
    }
    this.#scheduleRefill(REFILL_DELAY_MILLIS);
  }

  #scheduleRefill(delay: number): void {
    if (this.#closed || this.#refillTimer !== undefined) return;
    this.#refillTimer = setTimeout(() => {
      this.#refillTimer = undefined;
      this.#waveSince = undefined;
      this.#refilling ??= Promise.all(Array.from({ length: REFILLS_AT_ONCE }, () => this.#refill())).finally(
        () => {
          this.#refilling = undefined;
        },
      );
    }, delay);
    this.#refillTimer.unref();
  }

  async #refill(): Promise<void> {
    for (;;) {
      const shelf = this.#neediest();
      if (shelf === undefined || this.#closed) return;
      if (!this.#makeRoomFor(shelf)) return;
      shelf.making++;
      try {
        const sandbox = await this.#parts.make(ulid(), shelf.shape);
        if (this.#closed) return this.#discard(sandbox.id);
        if (this.#shelves.get(shapeKey(shelf.shape)) !== shelf) {
          this.#discard(sandbox.id);
          continue;
        }
        this.#put(shelf, sandbox);
      } catch (error) {
        shelf.pausedUntil = this.#now() + FAILURE_PAUSE_MILLIS;
        this.#parts.log.warn("a warm sandbox could not be made; trying again later", {
          error: String(error),
        });
        this.#scheduleRefill(FAILURE_PAUSE_MILLIS);
      } finally {
        shelf.making--;
      }
    }
  }

  #put(shelf: Shelf<S>, sandbox: S): void {
    shelf.idle.push(sandbox);
    sandbox.onLost(() => {
      if (!this.forget(sandbox.id)) return;
      this.#discard(sandbox.id);
      this.#scheduleRefill(FAILURE_PAUSE_MILLIS);
    });
    // The room may have shrunk while it was made.
    this.#giveWay();
  }

  /** The most recently asked shape that has fewer idle sandboxes than a wave is expected to take. */
  #neediest(): Shelf<S> | undefined {
    const now = this.#now();
    const needy = [...this.#shelves.values()].filter(
      (shelf) => shelf.pausedUntil <= now && shelf.idle.length + shelf.making < this.#target(shelf, now),
    );
    return needy.sort((a, b) => b.lastAsk - a.lastAsk)[0];
  }

  #target(shelf: Shelf<S>, now: number): number {
    const wanted =
      now - shelf.lastAsk < this.#parts.settings.keepMillis
        ? Math.max(1, Math.round(expected(shelf, now)))
        : 0;
    return Math.min(wanted, this.#most(shelf.shape));
  }

  /** Drops idle sandboxes of the shapes that were asked for longest ago, as long as that is longer ago than this one. */
  #makeRoomFor(needy: Shelf<S>): boolean {
    while (!this.#hasRoomFor(needy.shape)) {
      const oldest = this.#leastWanted();
      if (oldest === undefined || oldest === needy || oldest.lastAsk > needy.lastAsk) return false;
      this.#dropOne(oldest);
    }
    return true;
  }

  #giveWay(): void {
    const { maxIdle } = this.#parts.settings;
    const bytes = () => this.#sum(({ idle, shape }) => idle.length * idleBytes(shape));
    while (this.idleCount > maxIdle || bytes() > this.#capacityBytes) {
      const oldest = this.#leastWanted();
      if (oldest === undefined) return;
      this.#dropOne(oldest);
    }
  }

  #leastWanted(): Shelf<S> | undefined {
    return [...this.#shelves.values()]
      .filter((shelf) => shelf.idle.length > 0)
      .sort((a, b) => a.lastAsk - b.lastAsk)[0];
  }

  #dropOne(shelf: Shelf<S>): void {
    const victim = shelf.idle.shift();
    if (victim !== undefined) this.#discard(victim.id);
  }

  #dropStale(): void {
    const now = this.#now();
    for (const [key, shelf] of this.#shelves) {
      if (now - shelf.lastAsk < this.#parts.settings.keepMillis) continue;
      this.#empty(shelf);
      this.#shelves.delete(key);
    }
  }

  #empty(shelf: Shelf<S>): void {
    for (const sandbox of shelf.idle.splice(0)) this.#discard(sandbox.id);
  }

  #discard(id: string): void {
    const done = this.#parts
      .discard(id)
      .catch((error: unknown) =>
        this.#parts.log.warn("a warm sandbox could not be removed", { sandboxId: id, error: String(error) }),
      )
      .finally(() => this.#discards.delete(done));
    this.#discards.add(done);
  }
}

function expected({ peak, peakTime }: { peak: number; peakTime: number }, now: number): number {
  return peak * 0.5 ** ((now - peakTime) / HALF_LIFE_MILLIS);
}
