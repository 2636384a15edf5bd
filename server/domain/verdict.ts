import type { RunnerEnd } from "./journal.ts";
import type { Limit, TaskLimits } from "./limits.ts";
import type { SandboxExit } from "./ports/engine.ts";
import { formatSize } from "./resources.ts";
import type { ResultReason, TaskResult, Termination } from "./task.ts";

/** Of what PID 1 said to its stderr, which with a user's own image anybody may have written. */
const MOST_LAST_WORDS = 500;

/** What the server itself did to an attempt; its own clock is believed before the runner's word. */
export type ServerKill = "deadline" | "total_deadline" | "output" | "budget";

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
  // A runner that the server stops takes it for a client's wish.
  const stopped = end?.reason === "CANCELLED" && !facts.cancelled && facts.kill !== null;
  if (end !== null && facts.damage === "" && !stopped) return fromRunner(end, facts);
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
    return byKernel(
      "OUT_OF_MEMORY",
      "RAM",
      facts.limits.ramBytes,
      "the kernel ended the sandbox for memory",
      facts,
    );
  }
  if (facts.exit.processesRefused === true) {
    const message = "the sandbox ended because it could start no more processes and threads";
    return byKernel("PROCESS_LIMIT", "PROCESSES", facts.limits.processes, message, facts);
  }
  const { exitCode, message: lastWords } = facts.exit;
  return plain(
    "SYSTEM_ERROR",
    facts,
    `the sandbox ended without its last word (exit code ${exitCode ?? "unknown"})${lastWords === "" ? "" : `: ${lastWords.slice(0, MOST_LAST_WORDS)}`}`,
    "rerun the task; if it happens again, ask the operator to read the server's log",
  );
}

/** The whole sandbox fell to a limit, runner included, so only the engine's counters tell of it. */
function byKernel(
  reason: ResultReason,
  limit: Limit,
  value: number,
  message: string,
  facts: EndFacts,
): TaskResult {
  return {
    ...plain(reason, facts, message, adviceFor(limit, value, value)),
    termination: { limit, limitValue: value, observedPeak: value, killer: "KERNEL", process: "" },
    limitsHit: [limit],
  };
}

function fromRunner(end: RunnerEnd, facts: EndFacts): TaskResult {
  const termination = terminationOf(end, facts.limits);
  return {
    reason: end.reason,
    exitCode: end.exitCode,
    signal: end.signal,
    termination,
    message: messageFor(end, termination),
    advice:
      termination?.limit == null
        ? ""
        : adviceFor(termination.limit, termination.observedPeak, termination.limitValue),
    ...facts.output,
    limitsHit: end.limitsHit,
    artifactsError: facts.artifactsError === "" ? end.artifactsError : facts.artifactsError,
  };
}

function terminationOf(end: RunnerEnd, limits: TaskLimits): Termination | null {
  if (end.killer === null && end.limit === null) return null;
  const { limit, killer, process } = end;
  // The runner sees that a file system has no inodes left, but not how many were asked for.
  const inodes = limit === "INODES" ? limits.inodes : 0;
  // Deadlines are times of day to the runner; for people they are how long it took.
  if (limit === "TOTAL_TIME") {
    const total = limits.totalMillis ?? 0;
    const over = Math.max(0, end.observedPeak - end.limitValue);
    return { limit, limitValue: total, observedPeak: total + over, killer, process };
  }
  return {
    limit,
    limitValue: end.limitValue || inodes,
    observedPeak: end.observedPeak || inodes,
    killer,
    process,
  };
}

function fromServerKill(kill: ServerKill, facts: EndFacts): TaskResult {
  const { limits } = facts;
  if (kill === "budget") return unpaid(facts);
  const [reason, limit, value]: [ResultReason, Limit, number] =
    kill === "output"
      ? ["OUTPUT_LIMIT", "LOG", limits.logBytes]
      : kill === "deadline"
        ? ["TIMED_OUT", "RUN_TIME", limits.runMillis]
        : ["TIMED_OUT", "TOTAL_TIME", limits.totalMillis ?? 0];
  return {
    ...plain(
      reason,
      facts,
      `ended by the server: ${limitSentence(limit, value)}`,
      adviceFor(limit, value, value),
    ),
    termination: { limit, limitValue: value, observedPeak: value, killer: "SERVER", process: "" },
    limitsHit: [limit],
  };
}

/** Money is counted in no unit of Termination's: how much it was is in the tenant's usage. */
function unpaid(facts: EndFacts): TaskResult {
  return {
    ...plain(
      "BUDGET_EXCEEDED",
      facts,
      "ended by the server: the tenant's budget for this month is used up",
      "see longshore usage, ask the operator for a larger budget, or rerun it next month (UTC)",
    ),
    termination: { limit: "QUOTA", limitValue: 0, observedPeak: 0, killer: "SERVER", process: "" },
    limitsHit: ["QUOTA"],
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

function messageFor(end: RunnerEnd, termination: Termination | null): string {
  const killed = end.process === "" ? "" : `, killed ${end.process}`;
  switch (end.reason) {
    case "EXITED":
      return end.exitCode === 0 ? "exited with 0" : `exited with ${end.exitCode ?? "an unknown code"}`;
    case "SIGNALED":
      return `ended by signal ${end.signal ?? "unknown"}`;
    case "OUT_OF_MEMORY":
      return `out of memory: ${usedOf("RAM", termination?.observedPeak ?? 0, termination?.limitValue ?? 0)}${killed}`;
    case "TIMED_OUT":
    case "STORAGE_FULL":
    case "OUTPUT_LIMIT":
    case "PROCESS_LIMIT":
      return limitSentence(end.limit, termination?.limitValue ?? 0);
    case "CANCELLED":
      return "cancelled by a client";
    default:
      return end.message !== "" ? end.message : end.reason.toLowerCase().replaceAll("_", " ");
  }
}

function limitSentence(limit: Limit | null, value: number): string {
  switch (limit) {
    case "RUN_TIME":
      return `ran longer than its timeout of ${seconds(value)}`;
    case "TOTAL_TIME":
      return `took longer than its total timeout of ${seconds(value)}`;
    case "LOG":
      return `wrote more than its log budget of ${formatSize(value)}`;
    case "STORAGE":
      return `filled its storage of ${formatSize(value)}`;
    case "INODES":
      return `made all of the ${value} files and folders that its storage may hold`;
    case "PROCESSES":
      return `wanted more than ${value} processes and threads at once`;
    default:
      return "reached a limit";
  }
}

/** The evidence and the next step in one sentence. */
function adviceFor(limit: Limit, used: number, value: number): string {
  const evidence = usedOf(limit, used, value);
  switch (limit) {
    case "RAM":
      return `${evidence}; ask for more with resources.ram`;
    case "STORAGE":
      return `${evidence} for workspace, /tmp and HOME; ask for more with resources.storage`;
    case "INODES":
      return `${evidence}; make fewer, or ask for more with budgets.max_inodes`;
    case "PROCESSES":
      return `${evidence}; start fewer, or ask for more with budgets.max_processes`;
    case "LOG":
      return `${evidence}; print less, write to a file named in outputs, or ask for more with budgets.max_log_bytes`;
    case "RUN_TIME":
      return `${evidence}; do less, or ask for more with timeout`;
    case "TOTAL_TIME":
      return `${evidence}; ask for more with total_timeout, which counts the wait in the queue too`;
    default:
      return "";
  }
}

/**
 * "used 512 MB of 512 MB". Samples and allowances may lie a little beyond the limit, which the record keeps; what a sentence says
 * is that all of it was used.
 */
function usedOf(limit: Limit, used: number, value: number): string {
  const shown = Math.min(used, value);
  switch (limit) {
    case "RAM":
    case "STORAGE":
      return `used ${formatSize(shown)} of ${formatSize(value)}`;
    case "LOG":
      return `wrote ${formatSize(shown)} of ${formatSize(value)}`;
    case "INODES":
      return `had ${shown} of ${value} files and folders`;
    case "PROCESSES":
      return `had ${shown} of ${value} processes and threads`;
    default:
      return `took ${seconds(shown)} of ${seconds(value)}`;
  }
}

function seconds(millis: number): string {
  return `${Number((millis / 1000).toFixed(1))} s`;
}
