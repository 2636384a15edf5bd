import { Unavailable } from "../../domain/errors.ts";

export interface UidRange {
  readonly first: number;
  readonly count: number;
}

/** One uid per live sandbox: inotify watches and pipe memory are counted per uid, so a shared one lets sandboxes starve each other. */
export class UidPool {
  readonly #range: UidRange;
  readonly #bySandbox = new Map<string, number>();
  readonly #used = new Set<number>();
  #next = 0;

  constructor(range: UidRange) {
    this.#range = range;
  }

  acquire(sandboxId: string): number {
    const { first, count } = this.#range;
    for (let tried = 0; tried < count; tried++) {
      // Round robin: a uid rests as long as possible before another sandbox gets it.
      const uid = first + ((this.#next + tried) % count);
      if (this.#used.has(uid)) continue;
      this.#next = (this.#next + tried + 1) % count;
      this.reserve(sandboxId, uid);
      return uid;
    }
    throw new Unavailable(
      `all ${count} uids from ${first} on are held by live sandboxes; configure a larger range`,
    );
  }

  /** For sandboxes that were there before this server. */
  reserve(sandboxId: string, uid: number): void {
    this.#used.add(uid);
    this.#bySandbox.set(sandboxId, uid);
  }

  release(sandboxId: string): void {
    const uid = this.#bySandbox.get(sandboxId);
    if (uid === undefined) return;
    this.#bySandbox.delete(sandboxId);
    this.#used.delete(uid);
  }
}
