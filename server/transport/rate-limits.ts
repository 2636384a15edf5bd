import { setTimeout as delay } from "node:timers/promises";
import { RateLimited } from "#server/domain/errors.ts";
import { TokenBucket } from "#server/domain/token-bucket.ts";

/** What one credential may do; null where that has no limit. */
export interface RateLimitOptions {
  readonly requestsPerSecond: number | null;
  /** Both directions together, as messages are encoded. */
  readonly bytesPerSecond: number | null;
  /** Calls that stream, open at once. */
  readonly openStreams: number | null;
}

/** Counts the bytes of one call. */
export interface Meter {
  add(bytes: number): void;
  /** Undefined when the call may go on at once, else a promise to wait for; it rejects with the signal's reason. */
  ready(signal: AbortSignal): Promise<void> | undefined;
  /** The call is over. */
  release(): void;
}

export const UNMETERED: Meter = { add: () => undefined, ready: () => undefined, release: () => undefined };

/** Seconds' worth that may come at once. */
const BURST_SECONDS = 2;
/** How far its bytes may be overdrawn before a credential opens no more calls; its streams slow each other down below that. */
const MAX_DEBT_MILLIS = 1_000;
/** When to look for credentials that have been quiet for long enough to be forgotten. */
const MANY_ACCOUNTS = 1_000;
const STREAM_RETRY_MILLIS = 1_000;

/** Holds each credential to its share, so that one client cannot keep the server from all others. */
export class RateLimits {
  readonly #options: RateLimitOptions;
  readonly #now: () => number;
  readonly #accounts = new Map<string, Account>();

  constructor(options: RateLimitOptions, now: () => number = () => performance.now()) {
    this.#options = options;
    this.#now = now;
  }

  /** A call begins. Throws RateLimited. */
  enter(credential: string, isStream: boolean): Meter {
    return this.#account(credential).enter(isStream);
  }

  #account(credential: string): Account {
    const known = this.#accounts.get(credential);
    if (known !== undefined) return known;
    if (this.#accounts.size >= MANY_ACCOUNTS) {
      for (const [name, account] of this.#accounts) if (account.isIdle()) this.#accounts.delete(name);
    }
    const account = new Account(this.#options, this.#now);
    this.#accounts.set(credential, account);
    return account;
  }
}

/** What one credential has used. */
class Account {
  readonly #now: () => number;
  readonly #options: RateLimitOptions;
  readonly #requests: TokenBucket | undefined;
  readonly #bytes: TokenBucket | undefined;
  #openStreams = 0;

  constructor(options: RateLimitOptions, now: () => number) {
    const bucket = (perSecond: number | null) =>
      perSecond === null ? undefined : new TokenBucket(perSecond, perSecond * BURST_SECONDS, now());
    this.#now = now;
    this.#options = options;
    this.#requests = bucket(options.requestsPerSecond);
    this.#bytes = bucket(options.bytesPerSecond);
  }

  enter(isStream: boolean): Meter {
    const now = this.#now();
    const { requestsPerSecond, bytesPerSecond, openStreams } = this.#options;
    const wait = this.#requests?.waitMillis(1, now) ?? 0;
    if (wait > 0)
      throw new RateLimited(
        `this credential may make ${requestsPerSecond} calls a second; try again later`,
        wait,
      );
    const debt = this.#bytes?.waitMillis(0, now) ?? 0;
    if (debt > MAX_DEBT_MILLIS)
      throw new RateLimited(
        `this credential may move ${bytesPerSecond} bytes a second, and its calls move more; try again later`,
        debt - MAX_DEBT_MILLIS,
      );
    if (isStream && openStreams !== null && this.#openStreams >= openStreams)
      throw new RateLimited(
        `this credential has ${openStreams} streams open, the most that it may; end one and try again`,
        STREAM_RETRY_MILLIS,
      );
    this.#requests?.take(1, now);
    if (isStream) this.#openStreams += 1;
    return this.#meter(isStream);
  }

  isIdle(): boolean {
    const now = this.#now();
    return (
      this.#openStreams === 0 && (this.#requests?.isFull(now) ?? true) && (this.#bytes?.isFull(now) ?? true)
    );
  }

  #meter(isStream: boolean): Meter {
    return {
      add: (bytes) => this.#bytes?.take(bytes, this.#now()),
      ready: (signal) => {
        const wait = this.#bytes?.waitMillis(0, this.#now()) ?? 0;
        return wait === 0 ? undefined : pause(wait, signal);
      },
      release: () => {
        if (isStream) this.#openStreams -= 1;
      },
    };
  }
}

async function pause(millis: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(millis, undefined, { signal });
  } catch (error) {
    // Node wraps the signal's reason into an error of its own.
    signal.throwIfAborted();
    throw error;
  }
}
