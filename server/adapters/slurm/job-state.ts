import type { SandboxExit } from "../../domain/ports/engine.ts";
import type { JobLine } from "./controller.ts";

/** What a job is to the server, of all that Slurm tells apart. */
export type JobPhase = "waiting" | "running" | "ended";

const WAITING = new Set([
  "PENDING",
  "REQUEUED",
  "REQUEUE_HOLD",
  "REQUEUE_FED",
  "RESV_DEL_HOLD",
  "SPECIAL_EXIT",
  "CONFIGURING",
]);
const RUNNING = new Set(["RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"]);

/** Undefined is a job that Slurm does not know any more. */
export function phaseOf(state: string | undefined): JobPhase {
  if (state !== undefined && WAITING.has(state)) return "waiting";
  return state !== undefined && RUNNING.has(state) ? "running" : "ended";
}

/** All of it has ended, on its node, too. */
export function isOver(job: Pick<JobLine, "state"> | undefined): boolean {
  return phaseOf(job?.state) === "ended" && job?.state !== "COMPLETING";
}

/** Exit status of a runner that Slurm has told to go; executor-image/CONTRACT.md. */
export const EVICTED = 4;
/** 128 + SIGKILL: the runner never ends itself that way. */
const KILLED = 137;

const LOST_BECAUSE: ReadonlyMap<string, string> = new Map([
  ["TIMEOUT", "Slurm ended the job at its time limit"],
  ["DEADLINE", "Slurm ended the job at its deadline"],
  ["NODE_FAIL", "the node of the job failed"],
  ["BOOT_FAIL", "the node of the job did not boot"],
  ["PREEMPTED", "Slurm preempted the job"],
  ["REVOKED", "a sibling of the job was chosen on another cluster"],
  ["CANCELLED", "the job was cancelled from outside"],
]);

/** How a job ended, for the record of its attempt. `status` is what the job left in its own file. */
export function exitOf(
  state: string | undefined,
  reason: string,
  status: number | undefined,
  ours: boolean,
): SandboxExit {
  const oomKilled = state === "OUT_OF_MEMORY";
  if (ours) return { exitCode: status ?? null, oomKilled, lost: false, message: "ended by this server" };
  if (status === KILLED && !oomKilled)
    return { exitCode: status, oomKilled, lost: true, message: "the sandbox was killed from outside" };
  if (status !== undefined && status !== EVICTED)
    return { exitCode: status, oomKilled, lost: false, message: "" };
  if (oomKilled)
    return { exitCode: null, oomKilled, lost: false, message: "Slurm ended the job for the memory it used" };
  const because = state === undefined ? "Slurm does not know the job any more" : LOST_BECAUSE.get(state);
  const message =
    because ?? `the job ended as ${state}${reason === "None" || reason === "" ? "" : ` (${reason})`}`;
  return { exitCode: status ?? null, oomKilled, lost: true, message };
}
