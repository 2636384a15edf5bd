import {
  Removal_Kind,
  type ReconcileReport as WireReport,
} from "@longshore/proto/longshore/v1/system_service.ts";
import type { ReconcileReport } from "#server/domain/reconcile-report.ts";
import { int64 } from "./to-wire.ts";

export function reconcileToProto(report: ReconcileReport): WireReport {
  return {
    startTime: report.startTime,
    queuedTasks: report.queuedTasks,
    adoptedAttempts: report.adoptedAttempts,
    releasedAttempts: report.releasedAttempts,
    lastPassTime: report.lastPassTime ?? undefined,
    passCount: int64(report.passCount),
    removalCount: int64(report.removalCount),
    removals: report.removals.map(({ time, kind, name }) => ({ time, kind: Removal_Kind[kind], name })),
    problems: [...report.problems],
  };
}
