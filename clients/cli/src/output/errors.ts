import {
  BadSource,
  ConnectionLost,
  InvalidRequest,
  LongshoreError,
  QuotaExceeded,
  ServerFault,
  Unavailable,
} from "@longshore/client";
import { UsageError } from "../usage-error.ts";
import { flagOf, withFlags } from "./flags.ts";
import { formatCount, formatTable, printable } from "./format.ts";
import { describeUnreachable } from "./unreachable.ts";

/** What went wrong, line by line: what, where, and what to do. Never a stack trace. */
export function describeError(error: unknown, server: string): string[] {
  if (error instanceof UsageError) return [`error: ${printable(error.message)}`];
  if (error instanceof InvalidRequest) {
    return table("the request", error.violations, ({ field, description }) => [
      flagOf(field),
      withFlags(description),
    ]);
  }
  if (error instanceof BadSource) {
    return table("what is to be sent", error.problems, ({ path, problem }) => [path, problem]);
  }
  if (error instanceof QuotaExceeded && error.violations.length > 0) {
    const rows = error.violations.map(({ subject, description }) => [
      `  ${printable(subject)}`,
      printable(description),
    ]);
    return [`error: ${withFlags(printable(error.message))}`, ...formatTable(rows)];
  }
  if (error instanceof Unavailable && error.unreachable)
    return describeUnreachable(error.message, printable(server));
  if (error instanceof ConnectionLost)
    return [`error: the connection to ${printable(server)} was lost; try again`];
  // The server's own message names it already; one that comes by way of a proxy may not.
  if (error instanceof ServerFault && !error.message.includes(error.requestId)) {
    return [
      `error: ${printable(error.message)}`,
      `  the server's log has more under ${printable(error.requestId)}`,
    ];
  }
  return [`error: ${withFlags(printable(error instanceof Error ? error.message : String(error)))}`];
}

function table<T>(where: string, items: readonly T[], row: (item: T) => readonly [string, string]): string[] {
  const rows = items.map(row).map(([name, text]) => [`  ${printable(name)}`, printable(text)]);
  return [`error: ${formatCount(items.length, "problem")} with ${where}`, ...formatTable(rows)];
}

export function errorToJson(error: unknown): unknown {
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof LongshoreError)) {
    return { error: { code: error instanceof UsageError ? "USAGE" : "UNKNOWN", message } };
  }
  const { code, reason, metadata } = error;
  const violations = error instanceof InvalidRequest ? error.violations : undefined;
  const problems = error instanceof BadSource ? error.problems : undefined;
  return { error: { code, reason, message, metadata, violations, problems } };
}
