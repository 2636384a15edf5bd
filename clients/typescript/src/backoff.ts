import { setTimeout as sleep } from "node:timers/promises";

export interface BackoffOptions {
  /** Gives up this long after the first of an unbroken row of failures. */
  readonly giveUpMillis: number;
  readonly firstMillis?: number;
  readonly mostMillis?: number;
}

/** Waits between tries: longer each time, spread at random so that a restarted server is not stormed by all clients at once. */
export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #failures = 0;
  #firstFailure = 0;

  constructor(options: BackoffOptions) {
    this.#options = { firstMillis: 100, mostMillis: 2_000, ...options };
  }

  /** Something worked: the next failure is a first one again. */
  reset(): void {
    this.#failures = 0;
  }

  /** Waits before the next try, or throws `error` when it is time to give up. */
  async wait(error: unknown, signal: AbortSignal | undefined): Promise<void> {
    const now = performance.now();
    if (this.#failures === 0) this.#firstFailure = now;
    const { firstMillis, mostMillis, giveUpMillis } = this.#options;
    const grown = Math.min(mostMillis, firstMillis * 2 ** this.#failures);
    const asked = askedDelay(error);
    const delay = Math.max(asked, grown * (0.5 + Math.random() / 2));
    if (now + delay - this.#firstFailure > giveUpMillis) throw error;
    this.#failures += 1;
    try {
      await sleep(delay, undefined, { signal });
    } catch (cause) {
      signal?.throwIfAborted();
      throw cause;
    }
  }
}

function askedDelay(error: unknown): number {
  if (typeof error !== "object" || error === null || !("retryAfterMillis" in error)) return 0;
  return typeof error.retryAfterMillis === "number" ? error.retryAfterMillis : 0;
}
