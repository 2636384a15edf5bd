import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "../../domain/ports/telemetry.ts";
import type { Cluster } from "./cluster.ts";
import { Courier } from "./courier.ts";
import type { JournalAppender, MirroredFiles } from "./mirrored-files.ts";

const READ_BYTES = 1 << 20;
/** How long one question may wait in the pod for news; also how late the end of a runner that said nothing is seen. */
const WAIT_MILLIS = 1_000;
const FIRST_PAUSE_MILLIS = 100;
const LONGEST_PAUSE_MILLIS = 5_000;

export interface MirrorTarget {
  readonly sandboxId: string;
  /** Its pod, where a courier may answer; undefined once there is none. */
  podName(): string | undefined;
  /** The runner has ended, so that its journal grows no more. */
  hasEnded(): boolean;
}

/** Brings the journal of one pod over, byte after byte from where the copy ends, through lost connections, until all of it is there. */
export class JournalMirror {
  readonly #cluster: Cluster;
  readonly #files: MirroredFiles;
  readonly #target: MirrorTarget;
  readonly #log: Log;
  readonly #stop = new AbortController();
  /** Resolves when there is nothing more to come, or nobody to ask, or it was stopped. */
  readonly done: Promise<void>;

  constructor(deps: { cluster: Cluster; files: MirroredFiles; log: Log }, target: MirrorTarget) {
    this.#cluster = deps.cluster;
    this.#files = deps.files;
    this.#log = deps.log;
    this.#target = target;
    this.done = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.done;
  }

  async #run(): Promise<void> {
    const copy = await this.#files.appender(this.#target.sandboxId);
    if (copy === undefined) return;
    try {
      let pause = FIRST_PAUSE_MILLIS;
      while (!this.#stop.signal.aborted) {
        const pod = this.#target.podName();
        if (pod === undefined) return;
        const before = copy.size;
        try {
          await this.#follow(pod, copy);
          return;
        } catch (error) {
          if (this.#stop.signal.aborted) return;
          this.#log.debug("a journal is read on in a moment", { pod, at: copy.size, error: String(error) });
        }
        pause = copy.size > before ? FIRST_PAUSE_MILLIS : Math.min(pause * 2, LONGEST_PAUSE_MILLIS);
        // The abort is the only way it rejects, and the loop looks at that.
        await delay(pause, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      }
    } finally {
      await copy.close();
    }
  }

  /** Over one connection, until the end. */
  async #follow(pod: string, copy: JournalAppender): Promise<void> {
    using courier = await Courier.connect(this.#cluster, pod);
    const hangUp = () => courier.close();
    this.#stop.signal.addEventListener("abort", hangUp, { once: true });
    try {
      for (;;) {
        // Asked before the read: what was written before the runner ended is then never missed.
        const last = this.#target.hasEnded();
        const bytes = await courier.read("journal", copy.size, READ_BYTES, last ? 0 : WAIT_MILLIS);
        if (bytes.length > 0) await copy.append(bytes);
        else if (last) return;
      }
    } finally {
      this.#stop.signal.removeEventListener("abort", hangUp);
    }
  }
}
