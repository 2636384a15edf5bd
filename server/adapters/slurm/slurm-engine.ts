import { chmod, mkdir, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { ForeignLoad } from "../../domain/capacity.ts";
import { SystemFault, Unavailable, Unsupported } from "../../domain/errors.ts";
import {
  type Engine,
  type EngineCapabilities,
  type ImageInfo,
  NotSent,
  type RunnerSpec,
  type Sandbox,
  type SandboxExit,
  type SandboxOrder,
  type SandboxShape,
  type SandboxStatus,
} from "../../domain/ports/engine.ts";
import { specMessage } from "../../domain/spec-message.ts";
import { Releases } from "../sandbox/releases.ts";
import { installRunner } from "../sandbox/runner-source.ts";
import { isSandboxId } from "../sandbox/sandbox-id.ts";
import { sandboxesFolder } from "../sandbox/sandbox-paths.ts";
import { UidPool } from "../sandbox/uids.ts";
import { ociBundle } from "./bundle.ts";
import { type Cluster, describeCluster, otherJobsLoad } from "./capabilities.ts";
import { type JobLine, type SlurmController, SlurmRefused } from "./controller.ts";
import { SlurmImages } from "./images.ts";
import { SlurmSandboxFiles } from "./job-files.ts";
import { jobRequest, jobScript } from "./job-request.ts";
import { EVICTED, exitOf, isOver, phaseOf } from "./job-state.ts";
import { JobWatch } from "./job-watch.ts";
import type { SlurmEngineOptions } from "./options.ts";
import { openRestController } from "./rest-controller.ts";
import { SharedEnvironments } from "./shared-environments.ts";
import { sharedParts } from "./shared-parts.ts";
import { ToolController } from "./tool-controller.ts";

/** A killed runner still writes its end frame; a job that does not end within this is killed by Slurm. */
const KILL_BOUND_MILLIS = 10_000;
/** Within it Slurm has sent SIGKILL to whatever runs of a cancelled job. */
const GONE_MILLIS = 120_000;
/** A script that has left its status has nothing more to do. */
const LEAVING_MILLIS = 5_000;
const FOREIGN_MILLIS = 15_000;
const NOWHERE = { account: "", partition: "", instanceType: "" };

interface Parts {
  readonly options: SlurmEngineOptions;
  readonly controller: SlurmController;
  readonly files: SlurmSandboxFiles;
  readonly images: SlurmImages;
  readonly environments: SharedEnvironments;
  readonly runnerFolder: string;
  readonly script: string;
}

/** A sandbox that this server made and that still waits for its spec, or has it. */
interface Live {
  readonly jobId: string;
  begun: boolean;
}

/** Whether or not the cluster can be reached: `capabilities` joins it. */
export async function openSlurmEngine(options: SlurmEngineOptions): Promise<SlurmEngine> {
  const { sharedDirectory } = options;
  const controller =
    options.slurmrestd === null
      ? new ToolController(options.configFile)
      : await openRestController(options.slurmrestd);
  await mkdir(sandboxesFolder(sharedDirectory), { recursive: true, mode: 0o700 });
  await chmod(sandboxesFolder(sharedDirectory), 0o700);
  return new SlurmEngine({
    options,
    controller,
    files: new SlurmSandboxFiles(sharedDirectory),
    images: new SlurmImages(options.images),
    environments: new SharedEnvironments(options.seesEnvironments ? null : sharedDirectory),
    runnerFolder: await installRunner(options.runnerDirectory, sharedDirectory),
    script: await readFile(options.jobScript, "utf8"),
  });
}

/** One job for each sandbox; server and job speak through files on a file system that both see. */
export class SlurmEngine implements Engine {
  readonly kind = "slurm";
  readonly name: string;
  readonly files: SlurmSandboxFiles;
  readonly removedAtOpen: string[] = [];
  readonly #parts: Parts;
  readonly #watch: JobWatch;
  readonly #uids: UidPool;
  readonly #live = new Map<string, Live>();
  readonly #releases = new Releases();
  /** Sandboxes whose end is our own doing, so that it is not taken for somebody else's. */
  readonly #endings = new Set<string>();
  readonly #killTimers = new Map<string, NodeJS.Timeout>();
  #joining: Promise<Cluster> | undefined;
  /** What the cluster has told, once it answers. */
  #joined: Cluster | undefined;
  readonly #arrival = Promise.withResolvers<void>();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.name = parts.options.name;
    this.files = parts.files;
    this.#watch = new JobWatch(parts.controller, parts.options.log);
    this.#uids = new UidPool(parts.options.uids);
  }

  /** Asks the cluster what it can hold, and takes over what an earlier server left: once, as soon as the cluster answers. */
  async capabilities(): Promise<EngineCapabilities> {
    this.#joining ??= this.#join().catch((error: unknown) => {
      this.#joining = undefined;
      throw error;
    });
    return (await this.#joining).capabilities;
  }

  resolveImage(name: string): Promise<ImageInfo> {
    return this.#parts.images.resolve(name);
  }

  /** A waiting job would hold a part of somebody else's cluster. */
  takeWarm(_shape: SandboxShape): undefined {
    return undefined;
  }

  warmCount(): number {
    return 0;
  }

  limitWarm(_ramBytes: number): void {
    // There are none.
  }

  async create(order: SandboxOrder, signal: AbortSignal): Promise<Sandbox> {
    const { sandboxId: id, shape } = order;
    signal.throwIfAborted();
    const { features } = this.#requireTier(shape);
    const rootfs = await this.#parts.images.rootfsOf(shape.imageDigest);
    const { environment, build } = await sharedParts(order, this.#parts);
    // Outside the try: an id that is there already is somebody else's sandbox, which must not be torn down.
    const paths = await this.files.prepare(id, false);
    try {
      const uid = this.#uids.acquire(id);
      const container = this.#containerOf(id);
      const { runnerFolder, options } = this.#parts;
      const nodeNetwork = shape.network !== "NONE" || build?.openNetwork === true;
      const plan = { shape, uid, container, rootfs, paths, runnerFolder, environment, build, nodeNetwork };
      await this.files.writeBundle(id, ociBundle(plan));
      const job = {
        ...{ shape, uid, container, features, folder: paths.folder },
        comment: `${this.#commentPrefix}${id}`,
        output: this.files.outputPath(id),
        placement: order.placement ?? NOWHERE,
      };
      await this.files.writeJob(id, { jobId: "", uid });
      signal.throwIfAborted();
      const script = jobScript(job, this.#parts.script);
      const jobId = await this.#parts.controller
        .submit(jobRequest(job, options), script)
        .catch((error: unknown) => {
          // Mostly what the task itself asked for: the cluster's own words say best what is wrong with it.
          throw error instanceof SlurmRefused
            ? new Unsupported(`Slurm takes no such job: ${error.said}`)
            : error;
        });
      this.#live.set(id, { jobId, begun: false });
      await this.files.writeJob(id, { jobId, uid });
      await this.#started(id, jobId, signal);
      return { id, containerId: jobId, warm: false };
    } catch (error) {
      await this.release(id);
      await this.files.remove(id);
      throw error;
    }
  }

  async forgetEnvironment(id: string): Promise<void> {
    await this.#parts.environments.forget(id);
  }

  async begin(sandbox: Sandbox, spec: RunnerSpec): Promise<void> {
    const live = this.#live.get(sandbox.id);
    if (live === undefined || live.begun)
      throw new SystemFault(`sandbox ${sandbox.id} is not one that waits for a spec of this server`);
    const job = (await this.#watch.jobs()).get(live.jobId);
    if (phaseOf(job?.state) === "ended") throw new SystemFault(`the job of sandbox ${sandbox.id} has ended`);
    const inputBytes = await this.files.writeInput(sandbox.id, spec).catch((error: unknown) => {
      throw new NotSent(error);
    });
    const message = specMessage(spec, inputBytes);
    live.begun = true;
    await this.files.writeSpec(sandbox.id, message);
  }

  async stop(sandboxId: string, how: "terminate" | "kill"): Promise<void> {
    const jobId = await this.#jobIdOf(sandboxId);
    if (jobId === undefined) return;
    await this.files.forbid(sandboxId);
    if (!(await this.files.hasSpec(sandboxId))) return;
    await this.#parts.controller.signal(jobId, how === "kill" ? "USR1" : "USR2");
    if (how === "kill") this.#armKill(sandboxId, jobId);
  }

  async ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit> {
    // A cluster that has told nothing yet says nothing about the sandbox.
    await this.#untilJoined(signal);
    const jobId = await this.#jobIdOf(sandboxId);
    return await this.#watch.until((jobs) => this.#exitIfEnded(sandboxId, jobs.get(jobId ?? "")), signal);
  }

  release(sandboxId: string): Promise<void> {
    return this.#releases.join(sandboxId, (sandbox) => this.#release(sandbox));
  }

  /** Jobs with our comment that have not ended, and sandboxes that were not released, whatever became of their jobs. */
  async list(): Promise<SandboxStatus[]> {
    const jobs = await this.#watch.jobs();
    const found = new Map<string, SandboxStatus>();
    for (const job of jobs.values()) {
      const id = this.#sandboxOf(job);
      if (id === undefined || phaseOf(job.state) === "ended") continue;
      found.set(id, { id, containerId: job.jobId, running: true, warm: false });
    }
    for (const id of await this.files.list()) {
      if (found.has(id)) continue;
      const record = await this.files.readJob(id);
      if (record !== undefined) found.set(id, { id, containerId: record.jobId, running: false, warm: false });
    }
    return [...found.values()];
  }

  async *foreignLoad(signal: AbortSignal): AsyncGenerator<ForeignLoad> {
    while (!signal.aborted) {
      const jobs = await this.#watch.jobs().catch((error: unknown) => {
        // What was told last stands until Slurm answers again.
        this.#parts.options.log.debug("jobs of others could not be counted", { error: String(error) });
        return undefined;
      });
      const others = [...(jobs?.values() ?? [])].filter((job) => this.#sandboxOf(job) === undefined);
      if (jobs !== undefined) yield { resources: otherJobsLoad(others), gpuIds: [] };
      await delay(FOREIGN_MILLIS, undefined, { signal }).catch(() => undefined);
    }
  }

  async close(): Promise<void> {
    for (const timer of this.#killTimers.values()) clearTimeout(timer);
    this.#killTimers.clear();
    await this.#releases.settled();
    await this.#watch.close();
    await this.files.close();
  }

  /** Until Slurm has found a node for it and its script runs, which comes a moment after Slurm says so. */
  async #started(id: string, jobId: string, signal: AbortSignal): Promise<void> {
    const ended = await this.#watch.until(async (jobs) => {
      if (await this.files.isWaiting(id)) return "";
      const job = jobs.get(jobId);
      // One that was only just taken may not be in an answer that was under way.
      return job !== undefined && phaseOf(job.state) === "ended" ? `${job.state} (${job.reason})` : undefined;
    }, signal);
    if (ended === "") return;
    const said = await this.files.output(id);
    throw new SystemFault(
      `job ${jobId} ended as ${ended} before it took a task${said === "" ? "" : `: ${said}`}`,
    );
  }

  async #join(): Promise<Cluster> {
    const { controller, options } = this.#parts;
    const cluster = await describeCluster(controller, options);
    await this.#takeOver();
    this.#joined = cluster;
    this.#arrival.resolve();
    return cluster;
  }

  /** Uids in use are kept from others; a job whose id a killed server could not note is found by its comment. */
  async #takeOver(): Promise<void> {
    const jobs = await this.#watch.jobs();
    for (const id of await this.files.list()) {
      const record = await this.files.readJob(id);
      if (record === undefined) continue;
      this.#uids.reserve(id, record.uid);
      const found =
        record.jobId === "" ? [...jobs.values()].find((job) => this.#sandboxOf(job) === id) : undefined;
      if (found !== undefined) await this.files.writeJob(id, { ...record, jobId: found.jobId });
    }
  }

  async #untilJoined(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#joined !== undefined) return;
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await Promise.race([this.#arrival.promise, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  #requireTier({ isolation, network }: SandboxShape): Cluster {
    if (this.#joined === undefined)
      throw new Unavailable(`the Slurm cluster of engine ${this.name} has not answered yet`, 5000);
    const { tiers } = this.#joined.capabilities;
    const tier = tiers.find((candidate) => candidate.isolation === isolation);
    if (tier === undefined) throw new Unsupported(`engine ${this.name} offers no isolation ${isolation}`);
    if (!tier.networks.includes(network))
      throw new Unsupported(`engine ${this.name} offers no network ${network} with isolation ${isolation}`);
    return this.#joined;
  }

  async #exitIfEnded(id: string, job: JobLine | undefined): Promise<SandboxExit | undefined> {
    const status = await this.files.exitStatus(id);
    // The job leaves its status a moment before Slurm knows of its end; why it had to go only Slurm can tell.
    const told = status !== undefined && status !== EVICTED;
    if (!told && !isOver(job)) return undefined;
    const exit = exitOf(job?.state, job?.reason ?? "", status, this.#endings.has(id));
    const said = exit.lost || (status !== undefined && status !== 0) ? await this.files.output(id) : "";
    return said === ""
      ? exit
      : { ...exit, message: [exit.message, said].filter((text) => text !== "").join(": ") };
  }

  async #release(id: string): Promise<void> {
    this.#endings.add(id);
    clearTimeout(this.#killTimers.get(id));
    this.#killTimers.delete(id);
    const jobId = await this.#jobIdOf(id);
    if (jobId !== undefined) await this.#end(id, jobId);
    // Whoever waits for the end is told before what it is told by goes away.
    await this.#watch.look();
    await this.files.retire(id);
    await this.files.removeJob(id);
    this.#uids.release(id);
    this.#live.delete(id);
    this.#endings.delete(id);
  }

  /** Kills what runs of a job, and waits until Slurm says that it is over. */
  async #end(id: string, jobId: string): Promise<void> {
    if (isOver((await this.#watch.jobs()).get(jobId))) return;
    // Its script is at its end: cut short, the site's books would have it as cancelled.
    const leaves = (await this.files.exitStatus(id)) !== undefined;
    if (leaves && (await this.#over(jobId, LEAVING_MILLIS).catch(() => false))) return;
    await this.#parts.controller.cancel(jobId);
    await this.#over(jobId, GONE_MILLIS);
  }

  #over(jobId: string, millis: number): Promise<true> {
    return this.#watch.until((jobs) => isOver(jobs.get(jobId)) || undefined, AbortSignal.timeout(millis));
  }

  #armKill(id: string, jobId: string): void {
    if (this.#killTimers.has(id)) return;
    const timer = setTimeout(() => {
      this.#killTimers.delete(id);
      this.#endings.add(id);
      this.#parts.controller.cancel(jobId).catch((error: unknown) => {
        this.#parts.options.log.warn("could not cancel a job", {
          sandboxId: id,
          jobId,
          error: String(error),
        });
      });
    }, KILL_BOUND_MILLIS);
    timer.unref();
    this.#killTimers.set(id, timer);
  }

  /** Undefined where there is no job, or was none when the server died. */
  async #jobIdOf(id: string): Promise<string | undefined> {
    const known = this.#live.get(id)?.jobId ?? (await this.files.readJob(id))?.jobId;
    if (known !== undefined && known !== "") return known;
    const jobs = [...(await this.#watch.jobs()).values()];
    return jobs.find((job) => this.#sandboxOf(job) === id && phaseOf(job.state) !== "ended")?.jobId;
  }

  #sandboxOf({ comment }: JobLine): string | undefined {
    if (!comment.startsWith(this.#commentPrefix)) return undefined;
    const id = comment.slice(this.#commentPrefix.length);
    return isSandboxId(id) ? id : undefined;
  }

  get #commentPrefix(): string {
    return `longshore:${this.#parts.options.installationId}:`;
  }

  #containerOf(id: string): string {
    return `longshore-${this.#parts.options.installationId.slice(0, 8).toLowerCase()}-${id.toLowerCase()}`;
  }
}
