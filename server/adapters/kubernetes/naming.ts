import { createHash } from "node:crypto";
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
  /** On builds of environments that have a network; another network policy goes by it. */
  network: "longshore.dev/network",
  /** Set by the job controller. */
  job: "batch.kubernetes.io/job-name",
} as const;

/** Deterministic, so that a restarted server finds the job of an attempt that it only meant to start. */
export function jobName(installationId: string, sandboxId: string): string {
  return `longshore-${installationId.slice(0, 8).toLowerCase()}-${checkedSandboxId(sandboxId).toLowerCase()}`;
}

/** On the namespace of a tenant: whose it is, in full. */
export const TENANT_ANNOTATION = "longshore.dev/tenant";
const NAMESPACE_LENGTH = 63;
const HASH_LENGTH = 16;

/**
 * A tenant's name that is a DNS label without two dashes in a row stays as it is. Any other, and one that is too long, gets its hash
 * behind two dashes, which none that stays as it is has: so no two tenants meet in one namespace.
 */
export function tenantNamespace(prefix: string, tenant: string): string {
  const room = NAMESPACE_LENGTH - prefix.length;
  if (DNS_LABEL.test(tenant) && !tenant.includes("--") && tenant.length <= room) return prefix + tenant;
  const hash = createHash("sha256").update(tenant).digest("hex").slice(0, HASH_LENGTH);
  const readable = tenant.replaceAll(/[^a-z0-9]+/g, "-").slice(0, room - HASH_LENGTH - 2);
  return `${prefix}${readable.replaceAll(/^-|-$/g, "")}--${hash}`;
}

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
