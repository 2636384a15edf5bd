import {
  BadArchive,
  BadConnection,
  BadSource,
  InvalidRequest,
  PermissionDenied,
  type TaskOutcome,
  Unauthenticated,
  Unavailable,
} from "@longshore/client";
import { UsageError } from "./usage-error.ts";

export const EXIT = {
  ok: 0,
  refused: 1,
  usage: 2,
  unreachable: 69,
  denied: 77,
  timedOut: 124,
  other: 125,
  interrupted: 130,
  outOfMemory: 137,
  outputClosed: 141,
  terminated: 143,
} as const;

export const EXIT_CODE_HELP = `
Exit code of run, and of rerun:
  the task's own      when it ran to its end
  128 + n             a signal n ended it
  124                 it timed out
  137                 it ran out of memory
  130                 it was cancelled, or you detached from it
  125                 it ended for another reason (storage, processes, output, environment, a task it
                      depends on, a fault of the system)
Of every command:
  1                   the server refused what was asked
  2                   wrong usage, or something in the request is wrong
  69                  no server can be reached
  77                  not allowed`;

/** What `run` ends with once the task has ended. */
export function exitCodeOf(outcome: TaskOutcome): number {
  switch (outcome.reason) {
    case "TIMED_OUT":
      return EXIT.timedOut;
    case "OUT_OF_MEMORY":
      return EXIT.outOfMemory;
    case "CANCELLED":
      return EXIT.interrupted;
    case "SIGNALED":
      return 128 + (outcome.signal ?? 0);
    case "EXITED":
      return outcome.exitCode ?? EXIT.other;
    default:
      return outcome.succeeded ? EXIT.ok : EXIT.other;
  }
}

export function exitCodeOfError(error: unknown): number {
  if (error instanceof BadConnection) return EXIT.usage;
  if (error instanceof UsageError || error instanceof InvalidRequest) return EXIT.usage;
  if (error instanceof BadSource || error instanceof BadArchive) return EXIT.usage;
  if (error instanceof Unavailable) return EXIT.unreachable;
  if (error instanceof Unauthenticated || error instanceof PermissionDenied) return EXIT.denied;
  return EXIT.refused;
}
