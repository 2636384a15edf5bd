import { access, constants, mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { SystemFault } from "../../domain/errors.ts";
import { errnoOf } from "../sandbox/errno.ts";
import { checkedSandboxId } from "../sandbox/sandbox-id.ts";

const CONTROLLERS = ["memory", "cpu", "pids"] as const;
type Controller = (typeof CONTROLLERS)[number];

const PARENT = "longshore";
const CPU_PERIOD_MICROS = 100_000;
/** A process tree that still forks is moved in rounds; each round takes a pass over /proc. */
const MOST_ROUNDS = 50;
const EMPTY_WITHIN_MILLIS = 5000;

export interface CgroupLimits {
  readonly ramBytes: number;
  readonly cpuMillis: number;
  readonly processes: number;
}

/**
 * Control groups (version 1) of our own, for a runtime that runs with --ignore-cgroups: its processes would otherwise stay in
 * the daemon's group, where no limit of theirs holds.
 */
export class SandboxCgroups {
  readonly #roots: Readonly<Record<Controller, string>>;

  private constructor(roots: Readonly<Record<Controller, string>>) {
    this.#roots = roots;
  }

  /** undefined where this host has no such groups that we may write to. */
  static async open(): Promise<SandboxCgroups | undefined> {
    const roots: Partial<Record<Controller, string>> = {};
    for (const line of (await readFile("/proc/self/mountinfo", "utf8")).split("\n")) {
      const [before, after] = line.split(" - ");
      const path = before?.split(" ")[4];
      const [type, , options] = after?.split(" ") ?? [];
      if (type !== "cgroup" || path === undefined) continue;
      for (const controller of CONTROLLERS) {
        if (options?.split(",").includes(controller)) roots[controller] = path;
      }
    }
    const { memory, cpu, pids } = roots;
    if (memory === undefined || cpu === undefined || pids === undefined) return undefined;
    try {
      for (const root of [memory, cpu, pids]) await access(root, constants.W_OK);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return undefined;
    }
    return new SandboxCgroups({ memory, cpu, pids });
  }

  /** Puts the container's processes under limits, before any of the task's code is there to get away. */
  async confine(sandboxId: string, containerPid: number, limits: CgroupLimits): Promise<void> {
    for (const controller of CONTROLLERS)
      await mkdir(this.#folder(controller, sandboxId), { recursive: true });
    const quota = Math.ceil((limits.cpuMillis * CPU_PERIOD_MICROS) / 1000);
    await this.#set("memory", sandboxId, "memory.limit_in_bytes", limits.ramBytes);
    // Absent where the kernel does not count swap.
    await this.#set("memory", sandboxId, "memory.memsw.limit_in_bytes", limits.ramBytes, true);
    await this.#set("cpu", sandboxId, "cpu.cfs_period_us", CPU_PERIOD_MICROS);
    await this.#set("cpu", sandboxId, "cpu.cfs_quota_us", quota);
    await this.#set("pids", sandboxId, "pids.max", limits.processes);
    await this.#move(sandboxId, containerPid);
  }

  /** Which limits the kernel had to enforce: a kill for memory, a refused thread. */
  async touched(sandboxId: string): Promise<{ readonly ram: boolean; readonly processes: boolean }> {
    const [oomKills, refusals] = await Promise.all([
      this.#count("memory", sandboxId, "memory.oom_control", /^oom_kill (\d+)$/m),
      this.#count("pids", sandboxId, "pids.events", /^max (\d+)$/m),
    ]);
    return { ram: oomKills > 0, processes: refusals > 0 };
  }

  /** Idempotent; after the container is gone. */
  async remove(sandboxId: string): Promise<void> {
    for (const controller of CONTROLLERS) await removeEmptied(this.#folder(controller, sandboxId));
  }

  async #move(sandboxId: string, containerPid: number): Promise<void> {
    const moved = new Set<number>();
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const fresh = (await processesOf(containerPid)).filter((pid) => !moved.has(pid));
      // Children of a moved process are born in its groups, so a round without news means that all are in.
      if (fresh.length === 0) return;
      for (const pid of fresh) {
        for (const controller of CONTROLLERS)
          await moveProcess(join(this.#folder(controller, sandboxId), "cgroup.procs"), pid);
        moved.add(pid);
      }
    }
    throw new SystemFault(`the processes of sandbox ${sandboxId} could not all be put under its limits`);
  }

  async #set(
    controller: Controller,
    sandboxId: string,
    file: string,
    value: number,
    optional = false,
  ): Promise<void> {
    try {
      await writeFile(join(this.#folder(controller, sandboxId), file), String(value), {
        flag: constants.O_WRONLY,
      });
    } catch (error) {
      if (!optional || errnoOf(error) !== "ENOENT") throw error;
    }
  }

  async #count(controller: Controller, sandboxId: string, file: string, pattern: RegExp): Promise<number> {
    try {
      return Number(
        pattern.exec(await readFile(join(this.#folder(controller, sandboxId), file), "utf8"))?.[1] ?? 0,
      );
    } catch (error) {
      // This sandbox has no groups of ours, or no longer.
      if (errnoOf(error) === "ENOENT") return 0;
      throw error;
    }
  }

  #folder(controller: Controller, sandboxId: string): string {
    return join(this.#roots[controller], PARENT, checkedSandboxId(sandboxId));
  }
}

async function moveProcess(file: string, pid: number): Promise<void> {
  try {
    await writeFile(file, String(pid), { flag: constants.O_WRONLY });
  } catch (error) {
    // It ended meanwhile.
    if (errnoOf(error) !== "ESRCH") throw error;
  }
}

/** The sandbox's main process, its siblings below the same shim (gVisor's file server), and all their descendants. */
async function processesOf(containerPid: number): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = await parentOf(pid);
    if (parent !== undefined) parents.set(pid, parent);
  }
  const shim = parents.get(containerPid);
  if (shim === undefined) return [];
  if (shim === 1) throw new SystemFault(`process ${containerPid} of a sandbox has lost its shim`);
  const below = (pid: number): boolean => {
    for (let at = parents.get(pid); at !== undefined && at !== 0; at = parents.get(at))
      if (at === shim) return true;
    return false;
  };
  return [...parents.keys()].filter(below);
}

async function parentOf(pid: number): Promise<number | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold anything, spaces and parentheses too.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ESRCH") return undefined;
    throw error;
  }
}

async function removeEmptied(folder: string): Promise<void> {
  const deadline = performance.now() + EMPTY_WITHIN_MILLIS;
  for (;;) {
    try {
      return await rmdir(folder);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return;
      if (errnoOf(error) !== "EBUSY" || performance.now() > deadline) throw error;
    }
    // The kernel lets go of a killed process a moment after its parent saw it end, and version 1 has no event for that.
    await pause(10);
  }
}
