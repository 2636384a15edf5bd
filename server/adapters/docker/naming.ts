import { checkedSandboxId } from "../sandbox/sandbox-id.ts";

/** Labels are how our containers are found again; an image's own labels of these names are always overridden. */
export const LABELS = {
  installation: "longshore.installation",
  sandbox: "longshore.sandbox",
  shape: "longshore.shape",
  uid: "longshore.uid",
  task: "longshore.task",
  attempt: "longshore.attempt",
  warm: "longshore.warm",
  probe: "longshore.probe",
  only: "longshore.only",
} as const;

/** Deterministic, so that a restarted server finds the container of an attempt that it only meant to start. */
export function containerName(installationId: string, sandboxId: string): string {
  return `longshore-${installationPrefix(installationId)}-${checkedSandboxId(sandboxId).toLowerCase()}`;
}

export function installationPrefix(installationId: string): string {
  return installationId.slice(0, 8).toLowerCase();
}
