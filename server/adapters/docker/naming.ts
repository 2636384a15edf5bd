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

const SANDBOX_ID = /^[0-9A-Z]{26}$/;

/** A sandbox id becomes part of paths and names, so nothing but a ULID may pass. */
export function checkedSandboxId(id: string): string {
  if (!SANDBOX_ID.test(id))
    throw new RangeError(`${JSON.stringify(id.slice(0, 64))} is no sandbox id (a ULID)`);
  return id;
}

export function isSandboxId(text: string): boolean {
  return SANDBOX_ID.test(text);
}

/** Deterministic, so that a restarted server finds the container of an attempt that it only meant to start. */
export function containerName(installationId: string, sandboxId: string): string {
  return `longshore-${installationPrefix(installationId)}-${checkedSandboxId(sandboxId).toLowerCase()}`;
}

export function installationPrefix(installationId: string): string {
  return installationId.slice(0, 8).toLowerCase();
}
