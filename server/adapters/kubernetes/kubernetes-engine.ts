import { createHash } from "node:crypto";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { ForeignLoad } from "../../domain/capacity.ts";
import { NotFound, SystemFault, Unavailable, Unsupported } from "../../domain/errors.ts";
import {
  type Engine,
  type EngineCapabilities,
  type ImageInfo,
  NotSent,
  type RunnerSpec,
  type Sandbox,
  type SandboxExit,
  type SandboxFiles,
  type SandboxOrder,
  type SandboxStatus,
} from "../../domain/ports/engine.ts";
import { specMessage } from "../../domain/spec-message.ts";
import { Releases } from "../sandbox/releases.ts";
import { bringFiles, inputOf, needsNetwork, requireBuildNetwork } from "./brought-files.ts";
import { describeCapabilities } from "./capabilities.ts";
import { Cluster } from "./cluster.ts";
import { Courier, CourierRefused, signalRunner } from "./courier.ts";
import { ForeignPods } from "./foreign-pods.ts";
import { Images } from "./images.ts";
import { JournalMirrors } from "./journal-mirrors.ts";
import { MirroredFiles } from "./mirrored-files.ts";
import { gpuModelLabels } from "./nodes.ts";
import { openNamespaces } from "./open-namespaces.ts";
import type { KubernetesEngineOptions } from "./options.ts";
import { isReady, isRunning } from "./pod-state.ts";
import { SandboxJobs } from "./sandbox-jobs.ts";
import type { SandboxNamespaces } from "./sandbox-namespaces.ts";

/** A killed runner still writes its end frame; one that does not end within this is killed by the cluster. */
const KILL_BOUND_MILLIS = 10_000;
const READ_BYTES = 1 << 20;
/** SIGUSR2 and SIGUSR1: SIGTERM is the kubelet's, for pods that have to go. */
const SIGNALS = { terminate: 12, kill: 10 } as const;
/** Within what a user namespace has, and above what systems give to their own. */
const FIRST_UID = 10_000;
const UID_COUNT = 50_000;

interface Parts {
  readonly options: KubernetesEngineOptions;
  readonly cluster: Cluster;
  readonly images: Images;
  readonly jobs: SandboxJobs;
  readonly namespaces: SandboxNamespaces;
  readonly mirrored: MirroredFiles;
}

/** Whether or not the cluster can be reached: `capabilities` joins it. Throws SystemFault for a kubeconfig that names none. */
export async function openKubernetesEngine(options: KubernetesEngineOptions): Promise<KubernetesEngine> {
  const { name, installationId, placement, log } = options;
  const cluster = Cluster.connect({ ...options, namespace: placement.namespace });
  const folder = join(options.dataDirectory, "mirrored", name);
  const mirrored = new MirroredFiles(folder);
  await mirrored.open();
  const namespaces = await openNamespaces(cluster, options, join(folder, "namespaces.json"));
  const references = options.imageReferences;
  const policy = { ...options, engine: name, allowed: options.allowedImages, references };
  const images = await Images.open(cluster, policy, log, join(folder, "images.json"));
  const jobs = new SandboxJobs(cluster, namespaces.source, {
    engine: name,
    installationId,
    startMillis: options.startMillis,
    log,
  });
  return new KubernetesEngine({ options, cluster, images, jobs, namespaces, mirrored });
}

export class KubernetesEngine implements Engine {
  readonly kind = "kubernetes";
  readonly name: string;
  readonly removedAtOpen: readonly string[] = [];
  readonly files: SandboxFiles;
  readonly #parts: Parts;
  readonly #mirrors: JournalMirrors;
  /** Made by this server and without a spec: nobody else may give it one. */
  readonly #waiting = new Set<string>();
  /** Sandboxes whose end is our own doing, so that it is not taken for somebody else's. */
  readonly #endings = new Set<string>();
  readonly #releases = new Releases();
  readonly #killTimers = new Map<string, NodeJS.Timeout>();
  #joining: Promise<EngineCapabilities> | undefined;
  /** What the cluster has told, once it answers. */
  #joined: EngineCapabilities | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.name = parts.options.name;
    const { mirrored, jobs, options } = parts;
    this.#mirrors = new JournalMirrors({ jobs, files: mirrored, log: options.log });
    this.files = {
      journal: (id) => mirrored.journal(id),
      artifacts: (id, signal) => this.#artifacts(id, signal),
      // They lie in the pod, and go with it.
      removeArtifacts: async () => undefined,
      remove: async (id) => {
        await this.#mirrors.stop(id);
        await mirrored.remove(id);
      },
      list: () => mirrored.list(),
    };
  }

  /** Looks at the cluster, puts the runner there, and goes on with what an earlier server left: once, as soon as the cluster answers. */
  async capabilities(): Promise<EngineCapabilities> {
    this.#joining ??= this.#join().catch((error: unknown) => {
      this.#joining = undefined;
      throw error;
    });
    return await this.#joining;
  }

  async resolveImage(name: string): Promise<ImageInfo> {
    this.#requireJoined();
    return await this.#parts.images.resolve(name);
  }

  /** A pod that waits would hold its share of the cluster: none is kept. */
  takeWarm(): undefined {
    return undefined;
  }

  warmCount(): number {
    return 0;
  }

  limitWarm(): void {
    // There are none.
  }

  async create(order: SandboxOrder, signal: AbortSignal): Promise<Sandbox> {
    signal.throwIfAborted();
    const { mirrored, jobs, namespaces } = this.#parts;
    const { sandboxId } = order;
    const plan = this.#plan(order);
    const place = await this.#placeOf(order);
    // Outside the try: an id that is there already is somebody else's sandbox, which must not be torn down.
    await mirrored.create(sandboxId);
    try {
      const pod = await jobs.start(plan, place, signal);
      await bringFiles(place, pod.metadata?.name ?? "", order, signal);
      this.#waiting.add(sandboxId);
      return { id: sandboxId, containerId: pod.metadata?.name ?? "", warm: false };
    } catch (error) {
      namespaces.doubt(order.tenant);
      await this.#discard(sandboxId);
      throw error;
    }
  }

  async begin(sandbox: Sandbox, spec: RunnerSpec): Promise<void> {
    const { jobs } = this.#parts;
    const cluster = jobs.at(sandbox.id);
    const pod = jobs.pod(sandbox.id);
    if (!this.#waiting.has(sandbox.id))
      throw new SystemFault(`sandbox ${sandbox.id} is not one that waits for a spec of this server`);
    if (pod === undefined || !isReady(pod))
      throw new SystemFault(`sandbox ${sandbox.id} takes no spec: its pod has ended or was removed`);
    const podName = pod.metadata?.name ?? "";
    using stack = new DisposableStack();
    let message: Buffer;
    let courier: Courier;
    try {
      courier = stack.use(await Courier.connect(cluster, podName));
      const brings = spec.projectTar !== null || spec.inputTar !== null;
      message = specMessage(spec, brings ? await courier.sendInput(inputOf(spec)) : 0);
    } catch (error) {
      throw new NotSent(error);
    }
    this.#waiting.delete(sandbox.id);
    // At the same time: what the task says first should not wait for a connection.
    this.#mirrors.start(sandbox.id);
    try {
      await courier.begin(message);
    } catch (error) {
      if (error instanceof CourierRefused) throw error;
      // All of it may have come over before the connection broke; whoever is first at the pipe decides.
      using again = await Courier.connect(cluster, podName);
      if (await again.hangUp()) throw error;
    }
  }

  async stop(sandboxId: string, how: "terminate" | "kill"): Promise<void> {
    this.#requireJoined();
    const { jobs } = this.#parts;
    const cluster = jobs.at(sandboxId);
    const pod = jobs.pod(sandboxId);
    const podName = pod?.metadata?.name;
    if (pod === undefined || podName === undefined || !isRunning(pod)) return;
    if (!isReady(pod)) {
      this.#endings.add(sandboxId);
      return await cluster.deletePod(podName, pod.metadata?.uid ?? "");
    }
    if (how === "kill") this.#armKill(sandboxId);
    const hungUp = await this.#hangUp(cluster, podName);
    if (!hungUp) await signalRunner(cluster, podName, SIGNALS[how]);
  }

  async ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit> {
    signal.throwIfAborted();
    const { jobs } = this.#parts;
    for (;;) {
      const exit = await this.#look(sandboxId);
      signal.throwIfAborted();
      if (exit !== undefined) return exit;
      await jobs.changed(sandboxId, signal);
    }
  }

  foreignLoad(signal: AbortSignal): AsyncIterable<ForeignLoad> {
    const { cluster, options } = this.#parts;
    return new ForeignPods(cluster, options, this.#requireJoined().total).watch(signal);
  }

  release(sandboxId: string): Promise<void> {
    return this.#releases.join(sandboxId, (sandbox) => this.#release(sandbox));
  }

  async list(): Promise<SandboxStatus[]> {
    this.#requireJoined();
    return await this.#parts.jobs.list();
  }

  async close(): Promise<void> {
    for (const timer of this.#killTimers.values()) clearTimeout(timer);
    this.#killTimers.clear();
    await this.#releases.settled();
    await this.#mirrors.close();
    await this.#parts.jobs.watch.close();
  }

  async #join(): Promise<EngineCapabilities> {
    const { cluster, options, images, jobs, namespaces, mirrored } = this.#parts;
    const capabilities = await describeCapabilities(cluster, options);
    await namespaces.join();
    await images.sweep();
    const kept = new Set(await mirrored.list());
    await jobs.watch.start();
    // Journals of pods that an earlier server began are read on from where its copies end, before anybody hears of an end.
    for (const id of jobs.watch.all().keys()) if (kept.has(id)) this.#mirrors.start(id);
    this.#joined = capabilities;
    return capabilities;
  }

  /** What is to be done needs what the cluster has told. Throws Unavailable while it has told nothing. */
  #requireJoined(): EngineCapabilities {
    if (this.#joined === undefined)
      throw new Unavailable(`the Kubernetes cluster of engine ${this.name} has not answered yet`, 5000);
    return this.#joined;
  }

  /** A build is no tenant's task: those in the shared one are all of the server's own making. */
  async #placeOf(order: SandboxOrder): Promise<Cluster> {
    const { cluster, namespaces, options } = this.#parts;
    if (order.build === undefined) return await namespaces.of(order.tenant);
    await requireBuildNetwork(cluster, order, options);
    return cluster;
  }

  #plan({ sandboxId, taskId, attempt, shape, placement, build }: SandboxOrder) {
    const { options, images, jobs, namespaces } = this.#parts;
    const capabilities = this.#requireJoined();
    const tier = capabilities.tiers.find(({ isolation }) => isolation === shape.isolation);
    if (tier === undefined)
      throw new Unsupported(`engine ${this.name} offers no isolation ${shape.isolation}`);
    if (build === undefined && !tier.networks.includes(shape.network))
      throw new Unsupported(`engine ${this.name} offers no network ${shape.network}`);
    return {
      name: jobs.nameOf(sandboxId),
      sandboxId,
      installationId: options.installationId,
      engine: this.name,
      taskId,
      attempt,
      shape,
      image: images.reference(shape.imageDigest),
      uid: FIRST_UID + (createHash("sha256").update(sandboxId).digest().readUInt32BE(0) % UID_COUNT),
      build: build === undefined ? null : { network: needsNetwork({ shape, build }) },
      volume: namespaces.volume,
      placement: options.placement,
      nodeLabels: gpuModelLabels(placement?.gpuModel ?? "", capabilities.gpus, options),
      startSeconds: Math.ceil(options.startMillis / 1000),
      holdSeconds: Math.ceil(options.holdMillis / 1000),
      nodeAwaySeconds: options.nodeAwaySeconds,
    };
  }

  async #look(sandboxId: string): Promise<SandboxExit | undefined> {
    // A cluster that has told nothing yet says nothing about the sandbox.
    if (this.#joined === undefined) return undefined;
    const exit = await this.#parts.jobs.look(sandboxId);
    if (exit === undefined) return undefined;
    if (exit.lost && this.#endings.has(sandboxId))
      return { ...exit, lost: false, message: "removed by the server" };
    await this.#mirrors.drained(sandboxId);
    return exit;
  }

  async *#artifacts(sandboxId: string, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const { jobs } = this.#parts;
    this.#requireJoined();
    const podName = jobs.pod(sandboxId)?.metadata?.name;
    if (podName === undefined)
      throw new NotFound("artifacts of sandbox", sandboxId, "its pod is gone, and they were in it");
    using courier = await Courier.connect(jobs.at(sandboxId), podName);
    for (let offset = 0; ; ) {
      signal?.throwIfAborted();
      const bytes = await courier.read("artifacts", offset, READ_BYTES);
      if (bytes.length === 0) return;
      offset += bytes.length;
      yield bytes;
    }
  }

  /** True when its runner had no spec, and was told to end. */
  async #hangUp(cluster: Cluster, podName: string): Promise<boolean> {
    using courier = await Courier.connect(cluster, podName);
    return await courier.hangUp();
  }

  async #release(sandboxId: string): Promise<void> {
    this.#requireJoined();
    this.#endings.add(sandboxId);
    this.#waiting.delete(sandboxId);
    clearTimeout(this.#killTimers.get(sandboxId));
    this.#killTimers.delete(sandboxId);
    try {
      await this.#parts.jobs.remove(sandboxId);
      await this.#mirrors.stop(sandboxId);
      // Those who wait for its end see that it was our doing.
      await nextTurn();
    } finally {
      this.#endings.delete(sandboxId);
    }
  }

  /** Leaves nothing at all of a sandbox; what the cluster does not do now is listed, and so removed later. */
  async #discard(sandboxId: string): Promise<void> {
    try {
      await this.release(sandboxId);
    } catch (error) {
      this.#parts.options.log.warn("a sandbox is left for later", { sandboxId, error: String(error) });
    }
    await this.files.remove(sandboxId);
  }

  #armKill(sandboxId: string): void {
    if (this.#killTimers.has(sandboxId)) return;
    const { jobs, options } = this.#parts;
    const timer = setTimeout(() => {
      this.#killTimers.delete(sandboxId);
      const pod = jobs.pod(sandboxId);
      if (pod?.metadata?.name === undefined || !isRunning(pod)) return;
      this.#endings.add(sandboxId);
      const gone = jobs.at(sandboxId).deletePod(pod.metadata.name, pod.metadata.uid ?? "");
      gone.catch((error: unknown) => {
        options.log.warn("could not kill a sandbox", { sandboxId, error: String(error) });
      });
    }, KILL_BOUND_MILLIS);
    timer.unref();
    this.#killTimers.set(sandboxId, timer);
  }
}
