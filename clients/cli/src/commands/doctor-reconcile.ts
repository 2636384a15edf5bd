import { type ReconcileReport, reconcileReportToJson } from "@longshore/client";
import type { Context } from "../context.ts";
import { formatTable, printable } from "../output/format.ts";

const KIND_NAMES: readonly string[] = ["thing", "sandbox", "files", "uploads", "blob", "archive", "task"];

/** `longshore doctor --reconcile`: what the server took up when it started, and what it has tidied up since. */
export async function showReconcileReport(context: Context): Promise<void> {
  const { terminal, client } = context;
  const report = await client.reconcileReport();
  if (context.json) return terminal.print(JSON.stringify(reconcileReportToJson(report)));
  for (const line of describe(report)) await terminal.print(line);
}

function describe(report: ReconcileReport): string[] {
  const time = (value: Date | undefined, absent: string) => value?.toISOString() ?? absent;
  const rows = [
    ["started", time(report.startTime, "unknown")],
    [
      "took up",
      `${report.queuedTasks} queued, ${report.adoptedAttempts} running or just ended, ${report.releasedAttempts} to clean up`,
    ],
    ["compared", `${report.passCount} times, last ${time(report.lastPassTime, "not yet")}`],
    ["removed", String(report.removalCount)],
  ];
  const removals = report.removals.map(({ time: at, kind, name }) => [
    `  ${time(at, "")}`,
    KIND_NAMES[kind] ?? "thing",
    printable(name),
  ]);
  const problems = report.problems.map((problem) => `problem: ${printable(problem)}`);
  return [...formatTable(rows), ...formatTable(removals), ...problems];
}
