import { setTimeout as delay } from "node:timers/promises";
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { SystemFault, Unavailable } from "../../domain/errors.ts";
import type { SandboxExit, SandboxStatus } from "../../domain/ports/engine.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { checkedSandboxId, isSandboxId } from "../sandbox/sandbox-id.ts";
import type { Cluster } from "./cluster.ts";
import { type JobPlan, sandboxJob } from "./job-manifest.ts";
import { jobName, LABELS } from "./naming.ts";
import { exitOf, isGoing, isReady, isRunning, startFailure, waitingFor } from "./pod-state.ts";
import { PodWatch } from "./pod-watch.ts";
import type { SandboxSource } from "./sandbox-namespaces.ts";

/** A look at what no event told: a job that will never have a pod, a node that never says what became of one. */
const LOOK_MILLIS = 5_000;
/** A pod that is to go and does not is on a node that is out of reach. */
const GOING_MILLIS = 30_000;
const REMOVED_MILLIS = 60_000;

export interface JobOwner {
  readonly engine: string;
  readonly installationId: string;
  readonly startMillis: number;
  readonly log: Log;
}

/** One job, and so one pod, for each sandbox: made, waited for and taken away. */
export class SandboxJobs {
  readonly #cluster: Cluster;
  readonly #source: SandboxSource;
  readonly #owner: JobOwner;
  readonly #selector: string;
  readonly watch: PodWatch;
  /** Had a pod: where there is none now, none comes. */
  readonly #seen = new Set<string>();
  /** Their namespaces, as far as they are known without a pod. */
  readonly #places = new Map<string, string>();

  constructor(cluster: Cluster, source: SandboxSource, owner: JobOwner) {
    this.#cluster = cluster;
    this.#source = source;
    this.#owner = owner;
    this.#selector = `${LABELS.role}=sandbox,${LABELS.installation}=${owner.installationId.toLowerCase()},${LABELS.engine}=${owner.engine}`;
    this.watch = new PodWatch(source, this.#selector, owner.log);
  }

  nameOf(sandboxId: string): string {
    return jobName(this.#owner.installationId, sandboxId);
  }

  pod(sandboxId: string): V1Pod | undefined {
    const pod = this.watch.get(sandboxId);
    if (pod !== undefined) this.#seen.add(sandboxId);
    return pod;
  }

  /** The cluster in the namespace of a sandbox that has, or had, a pod. */
  at(sandboxId: string): Cluster {
    const namespace = this.pod(sandboxId)?.metadata?.namespace ?? this.#places.get(sandboxId);
    return namespace === undefined ? this.#cluster : this.#cluster.in(namespace);
  }

  /** Resolves when runner and courier wait. What was made of it on rejection is the caller's to remove. */
  async start(plan: JobPlan, place: Cluster, signal: AbortSignal): Promise<V1Pod> {
    const { sandboxId } = plan;
    this.#places.set(sandboxId, place.namespace);
    if (!(await place.createJob(sandboxJob(plan))))
      throw new SystemFault(`there is a job ${plan.name} already`);
    const giveUp = Date.now() + this.#owner.startMillis;
    let told = "";
    for (;;) {
      signal.throwIfAborted();
      const pod = this.pod(sandboxId);
      if (pod !== undefined && isReady(pod)) return pod;
      const failure = pod === undefined ? undefined : startFailure(pod);
      if (failure !== undefined) throw failure;
      const why =
        pod === undefined ? "the cluster makes no pod of it (kubectl describe job)" : waitingFor(pod);
      if (Date.now() > giveUp)
        throw new Unavailable(
          `job ${plan.name} did not start within ${this.#owner.startMillis / 1000} s: ${why || "it is still starting"}`,
        );
      if (why !== told && pod !== undefined && why !== "")
        this.#owner.log.info("a sandbox waits for the cluster", { sandboxId, why });
      told = why;
      await this.changed(sandboxId, signal);
    }
  }

  /** How it ended; undefined while it goes on, or while nobody can tell. */
  async look(sandboxId: string): Promise<SandboxExit | undefined> {
    const pod = this.pod(sandboxId);
    if (pod !== undefined) {
      const exit = exitOf(pod);
      if (exit !== undefined || !isGoing(pod)) return exit;
      const since = pod.metadata?.deletionTimestamp?.valueOf() ?? Date.now();
      const late = Date.now() - new Date(since).getTime() > GOING_MILLIS;
      return late
        ? vanished(`its pod is to go, and node ${pod.spec?.nodeName ?? ""} does not answer`)
        : undefined;
    }
    if (this.#seen.has(sandboxId)) return vanished("its pod was removed");
    try {
      const job = await this.#job(sandboxId);
      if (job === undefined) return vanished("there is no job of it");
      const ended = job.status?.conditions?.find(
        ({ type, status }) => (type === "Failed" || type === "Complete") && status === "True",
      );
      return ended === undefined
        ? undefined
        : vanished(`its job ended: ${ended.reason ?? ""} ${ended.message ?? ""}`.trim());
    } catch (error) {
      // A cluster that is away says nothing about the sandbox.
      if (error instanceof Unavailable) return undefined;
      throw error;
    }
  }

  /** Resolves at the next news of its pod, or when it is time to look again; rejects on abort. */
  async changed(sandboxId: string, signal: AbortSignal, millis = LOOK_MILLIS): Promise<void> {
    signal.throwIfAborted();
    const news = Promise.withResolvers<void>();
    const deaf = this.watch.listen(sandboxId, news.resolve);
    const timer = setTimeout(news.resolve, millis);
    const abort = () => news.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await news.promise;
    } finally {
      deaf();
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
  }

  /** Resolves when neither job nor pod is there any more. Throws Unavailable where the cluster does not do it. */
  async remove(sandboxId: string): Promise<void> {
    const name = this.nameOf(sandboxId);
    const signal = AbortSignal.timeout(REMOVED_MILLIS);
    const pod = this.pod(sandboxId);
    // Without a pod the controller may be about to make one: then only the job's own end says that there is none.
    // One that is found nowhere has neither.
    if (pod === undefined && (await this.#job(sandboxId)) === undefined) return this.#forget(sandboxId);
    const cluster = this.at(sandboxId);
    await cluster.deleteJob(name, pod === undefined ? "Foreground" : "Background");
    if (pod?.metadata?.name !== undefined) await cluster.deletePod(pod.metadata.name, pod.metadata.uid ?? "");
    try {
      if (pod === undefined) await this.#untilJobIsGone(sandboxId, signal);
      else await this.#untilPodIsGone(sandboxId, pod.metadata?.name ?? "", signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      throw new Unavailable(`job ${name} is not gone ${REMOVED_MILLIS / 1000} s after it was deleted`, 5000, {
        cause: error,
      });
    }
    this.#forget(sandboxId);
  }

  /** Asks the cluster itself. */
  async list(): Promise<SandboxStatus[]> {
    const [jobs] = await Promise.all([this.#source.listJobs(this.#selector), this.watch.refresh()]);
    const jobIds = jobs
      .filter(({ metadata }) => metadata?.deletionTimestamp === undefined)
      .map((job) => this.#place(job));
    const ids = new Set([...jobIds, ...this.watch.all().keys()].filter(isSandboxId));
    return [...ids].map((id) => {
      const pod = this.pod(id);
      return {
        id,
        containerId: pod?.metadata?.name ?? "",
        running: pod !== undefined && isRunning(pod),
        warm: false,
      };
    });
  }

  /** Its namespace need not be known: an earlier server may have made it. */
  async #job(sandboxId: string): Promise<V1Job | undefined> {
    const place = this.#places.get(sandboxId);
    if (place !== undefined) return await this.#cluster.in(place).readJob(this.nameOf(sandboxId));
    const [job] = await this.#source.listJobs(
      `${this.#selector},${LABELS.sandbox}=${checkedSandboxId(sandboxId)}`,
    );
    if (job !== undefined) this.#place(job);
    return job;
  }

  /** Answers whose job it is. */
  #place({ metadata }: V1Job): string {
    const id = metadata?.labels?.[LABELS.sandbox] ?? "";
    if (isSandboxId(id) && metadata?.namespace !== undefined) this.#places.set(id, metadata.namespace);
    return id;
  }

  #forget(sandboxId: string): void {
    this.#seen.delete(sandboxId);
    this.#places.delete(sandboxId);
  }

  async #untilJobIsGone(sandboxId: string, signal: AbortSignal): Promise<void> {
    while ((await this.#job(sandboxId)) !== undefined) await delay(100, undefined, { signal });
  }

  async #untilPodIsGone(sandboxId: string, podName: string, signal: AbortSignal): Promise<void> {
    while (this.watch.get(sandboxId)?.metadata?.name === podName) {
      await this.changed(sandboxId, signal, 1000);
      // The watch may be behind, or broken.
      if (
        this.watch.get(sandboxId) !== undefined &&
        (await this.at(sandboxId).readPod(podName)) === undefined
      )
        await this.watch.refresh();
    }
  }
}

function vanished(message: string): SandboxExit {
  return { exitCode: null, oomKilled: false, lost: true, message };
}
