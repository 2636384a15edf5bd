import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { ulid } from "ulid";
import type { SlurmEngineOptions } from "#server/adapters/slurm/options.ts";
import type { RestAccess } from "#server/adapters/slurm/rest-calls.ts";
import { openSlurmEngine, type SlurmEngine } from "#server/adapters/slurm/slurm-engine.ts";
import { CollectingLog } from "./fakes/collecting-log.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const run = promisify(execFile);
/** One of the hierarchies that runc knows. */
const GROUPS = "/sys/fs/cgroup/pids/longshore-jobs";

/** slurm.conf of the tests' own cluster, which scripts/test starts, and the executor image unpacked for its nodes. */
export const SLURM_CONF = process.env.LONGSHORE_TEST_SLURM ?? "";
export const SLURM_ROOTFS = process.env.LONGSHORE_TEST_SLURM_ROOTFS ?? "";
export const SLURM_IMAGE = "longshore/executor:dev";

/** Why tests against Slurm cannot run here; false when they can. */
export const slurmMissing: string | false =
  SLURM_CONF === "" &&
  "LONGSHORE_TEST_SLURM is not set: scripts/test starts a Slurm cluster where one can be had";

/** The way to its slurmrestd, as root. */
export function slurmRest(): RestAccess {
  const url = process.env.LONGSHORE_TEST_SLURM_REST ?? "";
  return { url, user: "root", tokenFile: join(dirname(SLURM_CONF), "token"), caFile: null };
}

/** Runs one of Slurm's tools, the tests' own way to the cluster beside the engine's. */
export async function slurm(command: string, ...args: string[]): Promise<string> {
  return (await run(command, args, { env: { ...process.env, SLURM_CONF } })).stdout.trim();
}

/** Ids of jobs that have not ended, by a text in their comment. */
export async function liveJobs(comment: string): Promise<string[]> {
  const lines = (await slurm("squeue", "--noheader", "--format=%A|%k")).split("\n");
  return lines.flatMap((line) => (line.includes(comment) ? [line.split("|")[0] ?? ""] : []));
}

/** Processes in the sandboxes' control groups whose name holds `part`; groups of killed jobs stay for a while, without any. */
async function processesIn(part: string): Promise<string[]> {
  const groups = (await readdir(GROUPS).catch(() => [])).filter((name) => name.includes(part));
  const lists = await Promise.all(
    groups.map((name) => readFile(join(GROUPS, name, "cgroup.procs"), "utf8").catch(() => "")),
  );
  return lists.flatMap((text) => text.split("\n").filter((line) => line !== ""));
}

/** A shared folder and an installation of its own on the tests' cluster; servers on it may come and go. */
export class SlurmBench implements AsyncDisposable {
  readonly installationId = ulid();
  readonly log = new CollectingLog();
  readonly #folder: TemporaryFolder;
  readonly #engines = new Set<SlurmEngine>();

  private constructor(folder: TemporaryFolder) {
    this.#folder = folder;
  }

  static async create(): Promise<SlurmBench> {
    return new SlurmBench(await TemporaryFolder.create());
  }

  async open(changes: Partial<SlurmEngineOptions> = {}): Promise<SlurmEngine> {
    const engine = await this.openUnasked(changes);
    await engine.capabilities();
    return engine;
  }

  /** As a server opens it, whether or not the cluster answers. */
  async openUnasked(changes: Partial<SlurmEngineOptions> = {}): Promise<SlurmEngine> {
    const image = join(import.meta.dirname, "../../executor-image");
    const engine = await openSlurmEngine({
      name: "cluster",
      sharedDirectory: this.#folder.path,
      seesEnvironments: false,
      installationId: this.installationId,
      runnerDirectory: join(image, "runner"),
      jobScript: join(image, "slurm/job.sh"),
      configFile: SLURM_CONF,
      slurmrestd: null,
      images: new Map([[SLURM_IMAGE, SLURM_ROOTFS]]),
      account: "",
      partition: "",
      constraints: new Map(),
      nodeNetwork: false,
      trackingServers: [],
      scratchBytesPerNode: 2 ** 36,
      uids: { first: 71_500, count: 100 },
      log: this.log,
      ...changes,
    });
    this.#engines.add(engine);
    return engine;
  }

  /** What is left of a sandbox, or of all, beside its kept files, in words. */
  async leftovers(sandboxId = ""): Promise<string[]> {
    const jobs = await liveJobs(`longshore:${this.installationId}:${sandboxId}`);
    const about = sandboxId === "" ? this.#folder.path : sandboxId;
    const mounts = (await readFile("/proc/self/mountinfo", "utf8"))
      .split("\n")
      .filter((line) => line.includes(about));
    const owner = (sandboxId || this.installationId.slice(0, 8)).toLowerCase();
    return [
      ...jobs.map((id) => `job ${id}`),
      ...mounts.map((line) => `mount ${line}`),
      ...(await processesIn(owner)).map((pid) => `process ${pid} in a control group`),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const engine of this.#engines) await engine.close();
    for (const job of await liveJobs(`longshore:${this.installationId}:`)) await slurm("scancel", job);
    await this.#folder[Symbol.asyncDispose]();
  }
}
