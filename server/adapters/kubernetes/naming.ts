import { checkedSandboxId } from "../sandbox/sandbox-id.ts";

/** Labels are how our jobs and pods are found again. */
export const LABELS = {
  installation: "longshore.dev/installation",
  engine: "longshore.dev/engine",
  sandbox: "longshore.dev/sandbox",
  task: "longshore.dev/task",
  attempt: "longshore.dev/attempt",
  /** On every pod; the network policy goes by it. */
  role: "longshore.dev/role",
  /** Set by the job controller. */
  job: "batch.kubernetes.io/job-name",
} as const;

/** Deterministic, so that a restarted server finds the job of an attempt that it only meant to start. */
export function jobName(installationId: string, sandboxId: string): string {
  return `longshore-${installationId.slice(0, 8).toLowerCase()}-${checkedSandboxId(sandboxId).toLowerCase()}`;
}
