import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { Longshore, type Task, type TaskOptions, type TaskOutcome, WrongState } from "@longshore/client";
import { gvisorMissing } from "./docker-engine.ts";
import { type RunningServer, startServer, whyNoServer } from "./running-server.ts";

const run = promisify(execFile);
const FIXTURES = join(import.meta.dirname, "../fixtures/hostile");
/** Bytes that the server may have grown by; an output or a record that it kept in memory would be far beyond. */
const MOST_GROWTH = 256 * 2 ** 20;
/** Each bench has user ids of its own, so that what still runs as one of them is known to be ours. */
const FIRST_UID = 1_000_000 + (process.pid % 10_000) * 1000;
const UID_COUNT = 500;
const MOST_TRIES = 400;

export type Tier = "container" | "gvisor";

/** Why a tier cannot be tested here; false where it can. */
export async function tierMissing(tier: Tier): Promise<string | false> {
  const missing = await whyNoServer();
  if (missing !== undefined) return missing;
  return tier === "gvisor" ? await gvisorMissing() : false;
}

export const SECRET = { name: "kept-by-neighbour", text: `secret of a neighbour ${process.pid}` };

/**
 * A real server with an honest task on it, beside which hostile ones run. Its end shows that the neighbour is unharmed, that the
 * server has not grown, and that nothing is left: containers, mounts, loop devices, files, control groups, processes.
 */
export class HostileBench {
  readonly server: RunningServer;
  readonly client: Longshore;
  readonly #neighbour: Task;
  #rssBefore: number;
  readonly #tasks: Task[] = [];
  /** What a run before this one left is not this one's. */
  readonly #groupsBefore: readonly string[];

  private constructor(
    server: RunningServer,
    client: Longshore,
    neighbour: Task,
    before: { readonly rss: number; readonly groups: readonly string[] },
  ) {
    this.server = server;
    this.client = client;
    this.#neighbour = neighbour;
    this.#rssBefore = before.rss;
    this.#groupsBefore = before.groups;
  }

  static async start(env: Record<string, string> = {}): Promise<HostileBench> {
    const groups = await emptyGroups();
    const server = await startServer({
      LONGSHORE_FIRST_UID: String(FIRST_UID),
      LONGSHORE_UID_COUNT: String(UID_COUNT),
      ...env,
    });
    try {
      const client = new Longshore(server.address);
      const neighbour = await client.submit(
        { code: await fixture("neighbour") },
        { args: [SECRET.text], cpu: "0.3", ram: "96MB", storage: "32MB", timeout: "10m", name: "neighbour" },
      );
      for await (const event of neighbour.logs()) if (Buffer.from(event.data).includes("here")) break;
      // Once, so that what is loaded at a first task does not count as growth.
      const first = await client.submit({ code: "print(1)" }, { ram: "64MB", storage: "32MB" });
      await first.result();
      const bench = new HostileBench(server, client, neighbour, { rss: await rssOf(server.pid), groups });
      bench.#tasks.push(neighbour, first);
      return bench;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Submits a program of test/fixtures/hostile, in a small sandbox unless told otherwise. */
  async submit(name: string, options: TaskOptions = {}): Promise<Task> {
    const task = await this.client.submit(
      { code: await fixture(name) },
      { cpu: 1, ram: "64MB", storage: "32MB", timeout: "60s", name, ...options },
    );
    this.#tasks.push(task);
    return task;
  }

  /** The same, to its end. */
  async attack(name: string, options: TaskOptions = {}): Promise<TaskOutcome> {
    return await (await this.submit(name, options)).result({ reject: false });
  }

  /** Resolves once the task has printed this. */
  async printed(task: Task, text: string): Promise<void> {
    for await (const event of task.logs()) if (Buffer.from(event.data).includes(text)) return;
    assert.fail(`the task ended without printing ${text}`);
  }

  /** Looks until it is so; the test's own time limit is the end of patience. */
  async until(holds: () => Promise<boolean>): Promise<void> {
    while (!(await holds())) await pause(50);
  }

  /** Containers of this server that run now; asks Docker, so it needs no server. */
  async runningSandboxes(): Promise<number> {
    const installation = (await readFile(join(this.server.dataDirectory, "installation"), "utf8")).trim();
    const { stdout } = await run("docker", [
      "ps",
      "-q",
      "--filter",
      `label=longshore.installation=${installation}`,
    ]);
    return stdout.split("\n").filter((id) => id !== "").length;
  }

  async growth(): Promise<number> {
    return (await rssOf(this.server.pid)) - this.#rssBefore;
  }

  /** For `after`: fails on harm, growth and leftovers, and leaves nothing behind whatever it finds. */
  async finish(): Promise<void> {
    try {
      const growth = await this.growth();
      await this.#neighbour.cancel({ grace: "20s" });
      const neighbour = await this.#neighbour.result({ reject: false });
      for (const task of this.#tasks) await deleted(task);
      this.client.close();
      assert.equal(await this.server.stop(), 0);
      assert.equal(neighbour.stdoutTail, "here\nunharmed\n", JSON.stringify(neighbour.message));
      assert.ok(growth < MOST_GROWTH, `the server grew by ${Math.round(growth / 2 ** 20)} MB`);
      assert.deepEqual(await this.server.leftovers(), []);
      assert.deepEqual(await readdir(join(this.server.dataDirectory, "sandboxes")), []);
      assert.deepEqual(await processesOfSandboxes(), []);
      const groups = await emptyGroups();
      assert.deepEqual(
        groups.filter((group) => !this.#groupsBefore.includes(group)),
        [],
      );
    } finally {
      this.client.close();
      await this.server[Symbol.asyncDispose]();
    }
  }
}

/** A task that has ended can be deleted once its sandbox is gone, which no event tells. */
async function deleted(task: Task): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await task.delete();
    } catch (error) {
      if (!(error instanceof WrongState) || tries === MOST_TRIES) throw error;
    }
    await pause(50);
  }
}

export async function fixture(name: string): Promise<string> {
  return await readFile(join(FIXTURES, `${name}.py`), "utf8");
}

async function rssOf(pid: number): Promise<number> {
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kibibytes) * 1024;
}

/** Processes on the host that run as one of the bench's user ids. */
async function processesOfSandboxes(): Promise<string[]> {
  const { stdout } = await run("ps", ["-eo", "uid=,pid=,comm="]);
  return stdout
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => {
      const uid = Number(line.split(/\s+/)[0]);
      return uid >= FIRST_UID && uid < FIRST_UID + UID_COUNT;
    });
}

/** Periods in which the kernel held back a gVisor sandbox for its CPU quota, over all there are now. */
export async function throttledPeriods(): Promise<number> {
  let periods = 0;
  for (const folder of await sandboxGroups("cpu")) {
    const text = await readFile(join(folder, "cpu.stat"), "utf8").catch(() => "");
    periods += Number(/^nr_throttled (\d+)$/m.exec(text)?.[1] ?? 0);
  }
  return periods;
}

/** Groups that the server makes for gVisor and leaves behind empty; those of other servers hold processes. */
async function emptyGroups(): Promise<string[]> {
  const found: string[] = [];
  for (const controller of ["memory", "cpu", "pids"]) {
    for (const folder of await sandboxGroups(controller))
      if ((await readFile(join(folder, "cgroup.procs"), "utf8").catch(() => "gone")) === "")
        found.push(folder);
  }
  return found;
}

async function sandboxGroups(controller: string): Promise<string[]> {
  const parent = `/sys/fs/cgroup/${controller}/longshore`;
  // No such folder: the host has other control groups, or no gVisor sandbox was ever there.
  const entries = await readdir(parent, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(parent, entry.name));
}
