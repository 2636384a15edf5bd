import { setTimeout as delay } from "node:timers/promises";
import type { V1Pod } from "@kubernetes/client-node";
import { z } from "zod";
import type { Log } from "../../domain/ports/telemetry.ts";
import { isSandboxId } from "../sandbox/sandbox-id.ts";
import type { Cluster } from "./cluster.ts";
import { messageOf, statusOf } from "./cluster-errors.ts";
import { LABELS } from "./naming.ts";

const FIRST_PAUSE_MILLIS = 200;
const LONGEST_PAUSE_MILLIS = 5_000;

const versioned = z.object({ metadata: z.object({ resourceVersion: z.string() }) }).loose();
const failed = z.object({ code: z.number().optional(), message: z.string().optional() }).loose();

type PodSource = Pick<Cluster, "listPods" | "watchPods">;

/**
 * The pods of this installation as the cluster tells of them. Watches end after some seconds and go on from where they were; where the
 * cluster has forgotten that place, or was away, everything is listed again, so that nothing is missed for longer than that takes.
 */
export class PodWatch {
  readonly #cluster: PodSource;
  readonly #selector: string;
  readonly #log: Log;
  readonly #pods = new Map<string, V1Pod>();
  readonly #listeners = new Map<string, Set<() => void>>();
  readonly #closing = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #version = "";

  constructor(cluster: PodSource, selector: string, log: Log) {
    this.#cluster = cluster;
    this.#selector = selector;
    this.#log = log;
  }

  /** Resolves when all pods are known. */
  async start(): Promise<void> {
    await this.refresh();
    this.#running = this.#watch();
  }

  get(sandboxId: string): V1Pod | undefined {
    return this.#pods.get(sandboxId);
  }

  all(): ReadonlyMap<string, V1Pod> {
    return this.#pods;
  }

  /** Calls back after every change of this sandbox's pod, its removal included, until the answer is called. */
  listen(sandboxId: string, tell: () => void): () => void {
    const listeners = this.#listeners.get(sandboxId) ?? new Set();
    this.#listeners.set(sandboxId, listeners.add(tell));
    return () => {
      listeners.delete(tell);
      if (listeners.size === 0 && this.#listeners.get(sandboxId) === listeners)
        this.#listeners.delete(sandboxId);
    };
  }

  /** Lists everything again. */
  async refresh(): Promise<void> {
    const { pods, version } = await this.#cluster.listPods(this.#selector);
    const present = new Map(pods.map((pod) => [sandboxOf(pod), pod]));
    for (const id of [...this.#pods.keys()]) if (!present.has(id)) this.#remove(id);
    for (const pod of pods) this.#put(pod);
    this.#version = version;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closing;
    let pause = FIRST_PAUSE_MILLIS;
    while (!signal.aborted) {
      try {
        await this.#cluster.watchPods(
          this.#selector,
          this.#version,
          (type, object) => this.#take(type, object),
          signal,
        );
        pause = FIRST_PAUSE_MILLIS;
      } catch (error) {
        if (signal.aborted) return;
        if (statusOf(error) !== 410)
          this.#log.warn("the cluster's pods cannot be watched", { error: messageOf(error) });
        await this.#again(pause);
        pause = Math.min(pause * 2, LONGEST_PAUSE_MILLIS);
      }
    }
  }

  async #again(pause: number): Promise<void> {
    try {
      await delay(pause, undefined, { signal: this.#closing.signal });
      await this.refresh();
    } catch (error) {
      // Told with the next watch that fails, which is at once.
      this.#log.debug("the cluster's pods cannot be listed", { error: messageOf(error) });
    }
  }

  #take(type: string, object: unknown): void {
    if (type === "ERROR") {
      const { code, message } = failed.parse(object);
      throw Object.assign(new Error(message ?? "the watch failed"), { statusCode: code });
    }
    this.#version = versioned.parse(object).metadata.resourceVersion;
    if (type === "BOOKMARK") return;
    // The API's own object; what is used of it is optional in its type.
    const pod = object as V1Pod;
    if (type !== "DELETED") this.#put(pod);
    else if (this.#pods.get(sandboxOf(pod))?.metadata?.uid === pod.metadata?.uid)
      this.#remove(sandboxOf(pod));
  }

  #put(pod: V1Pod): void {
    const id = sandboxOf(pod);
    if (!isSandboxId(id)) return;
    this.#pods.set(id, pod);
    this.#tell(id);
  }

  #remove(id: string): void {
    this.#pods.delete(id);
    this.#tell(id);
  }

  #tell(id: string): void {
    for (const tell of [...(this.#listeners.get(id) ?? [])]) tell();
  }
}

function sandboxOf(pod: V1Pod): string {
  return pod.metadata?.labels?.[LABELS.sandbox] ?? "";
}
