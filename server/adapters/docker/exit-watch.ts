import { createInterface } from "node:readline";
import type { SandboxExit } from "../../domain/ports/engine.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import type { ContainerState, Daemon } from "./daemon.ts";
import { LABELS } from "./naming.ts";

const RECONNECT_MILLIS = 500;
const LOOK_AGAIN_MILLIS = 1000;
/** The daemon subscribes a moment after it answers, so events are asked for from a little earlier. */
const OVERLAP_MILLIS = 5000;

/** Knows what the container of a sandbox is called, and what the engine knows beside Docker about how it ended. */
export interface SandboxEnds {
  nameOf(sandboxId: string): string;
  /** Our own removal or kill is under way. */
  isEnding(sandboxId: string): boolean;
  /** Last words of PID 1, and what the kernel did that Docker cannot know of. */
  details(sandboxId: string): Promise<EndDetails>;
}

export interface EndDetails {
  readonly message: string;
  readonly oomKilled: boolean;
  readonly processesRefused: boolean;
}

interface Follower {
  readonly tell: (exit: SandboxExit) => void;
}

/** One event stream for all sandboxes; whoever waits for an end is told from it, and by inspection whenever the stream had a hole. */
export class ExitWatch {
  readonly #daemon: Daemon;
  readonly #label: string;
  readonly #ends: SandboxEnds;
  readonly #log: Log;
  readonly #followers = new Map<string, Set<Follower>>();
  /** Sandboxes that are looked at again in a moment. */
  readonly #late = new Set<string>();
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(daemon: Daemon, label: string, ends: SandboxEnds, log: Log) {
    this.#daemon = daemon;
    this.#label = label;
    this.#ends = ends;
    this.#log = log;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Resolves at the end of the sandbox, at once when that is past. */
  ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit> {
    return new Promise((resolve, reject) => {
      const finish = () => {
        unfollow();
        signal.removeEventListener("abort", abort);
      };
      const abort = () => {
        finish();
        reject(signal.reason);
      };
      const unfollow = this.follow(sandboxId, (exit) => {
        finish();
        resolve(exit);
      });
      if (signal.aborted) return abort();
      signal.addEventListener("abort", abort, { once: true });
      // Following came first, so an end between this look and the next event is told twice rather than never.
      void this.look(sandboxId);
    });
  }

  follow(sandboxId: string, tell: (exit: SandboxExit) => void): () => void {
    const follower = { tell };
    const followers = this.#followers.get(sandboxId) ?? new Set();
    this.#followers.set(sandboxId, followers.add(follower));
    return () => {
      followers.delete(follower);
      if (followers.size === 0 && this.#followers.get(sandboxId) === followers)
        this.#followers.delete(sandboxId);
    };
  }

  async #run(): Promise<void> {
    const stop = this.#stop.signal;
    let since = new Date();
    while (!stop.aborted) {
      try {
        const stream = await this.#daemon.events(
          this.#label,
          new Date(since.getTime() - OVERLAP_MILLIS),
          stop,
        );
        since = new Date();
        // What ended while nobody listened has no event left.
        for (const sandboxId of this.#followers.keys()) void this.look(sandboxId);
        for await (const line of createInterface({ input: stream })) {
          since = new Date();
          const sandboxId = sandboxOf(line);
          if (sandboxId !== undefined && this.#followers.has(sandboxId)) void this.look(sandboxId);
        }
        if (!stop.aborted) this.#log.warn("the event stream of the Docker engine ended; connecting again");
      } catch (error) {
        if (stop.aborted) return;
        this.#log.warn("the event stream of the Docker engine broke; connecting again", {
          error: error instanceof Error ? error.message : String(error),
        });
      }
      await pause(RECONNECT_MILLIS, stop);
    }
  }

  /** Inspects a sandbox and tells its followers if it has ended. */
  async look(sandboxId: string): Promise<void> {
    try {
      const state = await this.#daemon.inspect(this.#ends.nameOf(sandboxId));
      if (state?.running === true) return;
      const exit = await this.#exitOf(sandboxId, state);
      for (const follower of [...(this.#followers.get(sandboxId) ?? [])]) follower.tell(exit);
    } catch (error) {
      this.#log.warn("could not look at a sandbox", {
        sandboxId,
        error: error instanceof Error ? error.message : String(error),
      });
      this.#lookLater(sandboxId);
    }
  }

  /** The event that asked for the look does not come again, and a daemon that only failed once breaks no event stream. */
  #lookLater(sandboxId: string): void {
    if (!this.#followers.has(sandboxId) || this.#late.has(sandboxId)) return;
    this.#late.add(sandboxId);
    void pause(LOOK_AGAIN_MILLIS, this.#stop.signal).then(() => {
      this.#late.delete(sandboxId);
      if (this.#followers.has(sandboxId) && !this.#stop.signal.aborted) return this.look(sandboxId);
    });
  }

  async #exitOf(sandboxId: string, state: ContainerState | undefined): Promise<SandboxExit> {
    const ours = this.#ends.isEnding(sandboxId);
    const { message: lastWords, oomKilled, processesRefused } = await this.#ends.details(sandboxId);
    if (state === undefined || state.removing) {
      const message = ours ? "removed by this server" : "the container was removed from outside";
      return { exitCode: null, oomKilled, processesRefused, lost: !ours, message };
    }
    const killed = state.exitCode === KILLED && !ours && !oomKilled && !state.oomKilled;
    const message = killed ? "the container was killed from outside" : state.error || lastWords;
    return {
      exitCode: state.exitCode,
      oomKilled: state.oomKilled || oomKilled,
      processesRefused,
      lost: killed,
      message,
    };
  }
}

/** 128 + SIGKILL: the runner never ends itself that way. */
const KILLED = 137;

function sandboxOf(line: string): string | undefined {
  try {
    const event: { Actor?: { Attributes?: Record<string, string> } } = JSON.parse(line);
    return event.Actor?.Attributes?.[LABELS.sandbox];
  } catch {
    // A line cut short by a dying connection; the look after the next connect covers what it said.
    return undefined;
  }
}

function pause(millis: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, millis);
    signal.addEventListener("abort", done, { once: true });
  });
}
