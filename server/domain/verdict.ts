import type { RunnerEnd } from "./journal.ts";
import type { Limit, TaskLimits } from "./limits.ts";
import type { SandboxExit } from "./ports/engine.ts";
import { formatSize } from "./resources.ts";
import type { ResultReason, TaskResult, Termination } from "./task.ts";

/** What the server itself did to an attempt; its own clock is believed before the runner's word. */
export type ServerKill = "deadline" | "total_deadline" | "output";

/** The streams as the server read them. */
export interface OutputFacts {
  readonly stdoutTail: string;
  readonly stderrTail: string;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

export const NO_OUTPUT: OutputFacts = { stdoutTail: "", stderrTail: "", stdoutBytes: 0, stderrBytes: 0 };

/** Everything known of how an attempt ended. `end` is null when the sandbox died without an end frame. */
export interface EndFacts {
  readonly end: RunnerEnd | null;
  readonly exit: SandboxExit | null;
  readonly kill: ServerKill | null;
  readonly cancelled: boolean;
  readonly damage: string;
  readonly limits: TaskLimits;
  readonly output: OutputFacts;
  readonly artifactsError: string;
}

/** How the attempt ended, for the record: reason, evidence, and one sentence of advice. */
export function verdict(facts: EndFacts): TaskResult {
  const { end } = facts;
  if (end !== null && facts.damage === "") return fromRunner(end, facts);
  if (facts.kill !== null) return fromServerKill(facts.kill, facts);
  if (facts.damage !== "") {
    return plain(
      "SYSTEM_ERROR",
      facts,
      facts.damage,
      "rerun the task; if it happens again, ask the operator to read the server's log",
    );
  }
  if (facts.cancelled) return plain("CANCELLED", facts, "cancelled by a client", "");
  if (facts.exit === null || facts.exit.lost) {
    const cause = facts.exit?.message ?? "";
    return plain(
      "LOST",
      facts,
      `the sandbox vanished before the task ended${cause === "" ? "" : `: ${cause}`}`,
      "rerun the task, or allow retries with max_attempts",
    );
  }
  if (facts.exit.oomKilled) {
    return {
      ...plain(
        "OUT_OF_MEMORY",
        facts,
        "the sandbox was killed by the kernel for memory",
        adviceFor("RAM", facts.limits),
      ),
      termination: {
        limit: "RAM",
        limitValue: facts.limits.ramBytes,
        observedPeak: facts.limits.ramBytes,
        killer: "KERNEL",
        process: "",
      },
      limitsHit: ["RAM"],
    };
  }
  return plain(
    "SYSTEM_ERROR",
    facts,
    `the sandbox ended without its last word (exit code ${facts.exit.exitCode ?? "unknown"})`,
    "rerun the task; if it happens again, ask the operator to read the server's log",
  );
}

function fromRunner(end: RunnerEnd, facts: EndFacts): TaskResult {
  const termination: Termination | null =
    end.killer === null && end.limit === null
      ? null
      : {
          limit: end.limit,
          limitValue: end.limitValue,
          observedPeak: end.observedPeak,
          killer: end.killer,
          process: end.process,
        };
  return {
    reason: end.reason,
    exitCode: end.exitCode,
    signal: end.signal,
    termination,
    message: messageFor(end, facts.limits),
    advice: end.limit === null ? "" : adviceFor(end.limit, facts.limits),
    ...facts.output,
    limitsHit: end.limitsHit,
    artifactsError: facts.artifactsError === "" ? end.artifactsError : facts.artifactsError,
  };
}

function fromServerKill(kill: ServerKill, facts: EndFacts): TaskResult {
  const { limits } = facts;
  const [reason, limit, value]: [ResultReason, Limit, number] =
    kill === "output"
      ? ["OUTPUT_LIMIT", "LOG", limits.logBytes]
      : kill === "deadline"
        ? ["TIMED_OUT", "RUN_TIME", limits.runMillis]
        : ["TIMED_OUT", "TOTAL_TIME", limits.totalMillis ?? 0];
  return {
    ...plain(reason, facts, `ended by the server: ${limitSentence(limit, limits)}`, adviceFor(limit, limits)),
    termination: { limit, limitValue: value, observedPeak: value, killer: "SERVER", process: "" },
    limitsHit: [limit],
  };
}

/** A result that no process stands behind: cancelled in the queue, lost, a fault of ours. */
export function plain(
  reason: ResultReason,
  facts: { readonly output: OutputFacts; readonly artifactsError: string },
  message: string,
  advice: string,
): TaskResult {
  return {
    reason,
    exitCode: null,
    signal: null,
    termination:
      reason === "CANCELLED"
        ? { limit: null, limitValue: 0, observedPeak: 0, killer: "CLIENT", process: "" }
        : null,
    message,
    advice,
    ...facts.output,
    limitsHit: [],
    artifactsError: facts.artifactsError,
  };
}

/** The same before there was an attempt. */
export function withoutAttempt(reason: ResultReason, message: string, advice: string): TaskResult {
  return plain(reason, { output: NO_OUTPUT, artifactsError: "" }, message, advice);
}

function messageFor(end: RunnerEnd, limits: TaskLimits): string {
  const killed = end.process === "" ? "" : `, killed ${end.process}`;
  switch (end.reason) {
    case "EXITED":
      return end.exitCode === 0 ? "exited with 0" : `exited with ${end.exitCode ?? "an unknown code"}`;
    case "SIGNALED":
      return `ended by signal ${end.signal ?? "unknown"}`;
    case "OUT_OF_MEMORY":
      return `out of memory: used ${formatSize(end.observedPeak)} of ${formatSize(end.limitValue)}${killed}`;
    case "TIMED_OUT":
    case "STORAGE_FULL":
    case "OUTPUT_LIMIT":
    case "PROCESS_LIMIT":
      return end.message !== "" ? end.message : limitSentence(end.limit, limits);
    case "CANCELLED":
      return "cancelled by a client";
    default:
      return end.message !== "" ? end.message : end.reason.toLowerCase().replaceAll("_", " ");
  }
}

function limitSentence(limit: Limit | null, limits: TaskLimits): string {
  switch (limit) {
    case "RUN_TIME":
      return `ran longer than its timeout of ${limits.runMillis / 1000} s`;
    case "TOTAL_TIME":
      return `took longer than its total timeout of ${(limits.totalMillis ?? 0) / 1000} s`;
    case "LOG":
      return `wrote more than its log budget of ${formatSize(limits.logBytes)}`;
    case "STORAGE":
      return `filled its storage of ${formatSize(limits.storageBytes)}`;
    case "INODES":
      return `used all ${limits.inodes} inodes of its storage`;
    case "PROCESSES":
      return `had more than ${limits.processes} processes at once`;
    case "RAM":
      return `used more than ${formatSize(limits.ramBytes)} of memory`;
    default:
      return "reached a limit";
  }
}

function adviceFor(limit: Limit, limits: TaskLimits): string {
  switch (limit) {
    case "RAM":
      return `it had ${formatSize(limits.ramBytes)}; ask for more with resources.ram`;
    case "STORAGE":
      return `it had ${formatSize(limits.storageBytes)} for workspace, /tmp and HOME; ask for more with resources.storage`;
    case "INODES":
      return "write fewer files, or ask for more with budgets.max_inodes";
    case "PROCESSES":
      return `it had ${limits.processes}; start fewer, or ask for more with budgets.max_processes`;
    case "LOG":
      return `print less, write to a file named in outputs, or ask for more with budgets.max_log_bytes`;
    case "RUN_TIME":
      return `it had ${limits.runMillis / 1000} s; ask for more with timeout`;
    case "TOTAL_TIME":
      return "ask for more with total_timeout";
    default:
      return "";
  }
}
