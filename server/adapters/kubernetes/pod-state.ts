import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import { type LongshoreError, SystemFault, Unavailable } from "../../domain/errors.ts";
import type { SandboxExit } from "../../domain/ports/engine.ts";
import { COURIER, RUNNER } from "./job-manifest.ts";

/** What a kubelet says while it tries again by itself, and what it says where that is of no use. */
const PULLING = new Set(["ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"]);
const HOPELESS = new Set([
  "InvalidImageName",
  "ErrImageNeverPull",
  "CreateContainerConfigError",
  "CreateContainerError",
  "RunContainerError",
]);

/** The runner's, for a SIGTERM that was not the server's; executor-image/CONTRACT.md. */
const EVICTED = 4;

function statusesOf({ status }: V1Pod): V1ContainerStatus[] {
  return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
}

export function containerOf(pod: V1Pod, name: string): V1ContainerStatus | undefined {
  return statusesOf(pod).find((container) => container.name === name);
}

/** Runner and courier are both there, so that a spec can come. */
export function isReady(pod: V1Pod): boolean {
  return [RUNNER, COURIER].every((name) => containerOf(pod, name)?.state?.running !== undefined);
}

/** Somebody or something has asked for its end. */
export function isGoing(pod: V1Pod): boolean {
  return pod.metadata?.deletionTimestamp !== undefined;
}

export function isOver({ status }: V1Pod): boolean {
  return status?.phase === "Failed" || status?.phase === "Succeeded";
}

/** Whether its runner may still be at work. */
export function isRunning(pod: V1Pod): boolean {
  return !isOver(pod) && containerOf(pod, RUNNER)?.state?.terminated === undefined;
}

/** Why no node has taken it; empty where one has. */
export function unschedulable({ status }: V1Pod): string {
  const condition = status?.conditions?.find(({ type }) => type === "PodScheduled");
  return condition?.status === "False" ? `${condition.reason ?? "waiting"}: ${condition.message ?? ""}` : "";
}

/** What the pod waits for, as a sentence; empty where it just starts. */
export function waitingFor(pod: V1Pod): string {
  const nodes = unschedulable(pod);
  if (nodes !== "") return `no node takes it (${nodes})`;
  for (const { name, state } of statusesOf(pod)) {
    const { reason = "", message = "" } = state?.waiting ?? {};
    if (PULLING.has(reason)) return `its image is not there yet (${reason}: ${message})`;
    if (HOPELESS.has(reason)) return `container ${name} cannot start (${reason}: ${message})`;
  }
  return "";
}

/** Why this pod will never be ready; undefined while it may. */
export function startFailure(pod: V1Pod): LongshoreError | undefined {
  const name = pod.metadata?.name ?? "";
  if (isGoing(pod)) return new Unavailable(`pod ${name} was removed before it was ready`);
  for (const { name: container, state } of statusesOf(pod)) {
    const { reason = "", message = "" } = state?.waiting ?? {};
    if (HOPELESS.has(reason))
      return new SystemFault(`container ${container} of pod ${name} cannot start: ${reason}: ${message}`);
    const { exitCode = 0, reason: why = "", message: told = "" } = state?.terminated ?? {};
    if (exitCode !== 0)
      return new SystemFault(
        `container ${container} of pod ${name} ended with ${exitCode} before it was ready: ${why} ${told}`,
      );
  }
  if (!isOver(pod)) return undefined;
  const { reason = "it ended", message = "" } = pod.status ?? {};
  return new Unavailable(`pod ${name} was ended before it was ready: ${reason} ${message}`.trim());
}

/** How the cluster saw the runner end; undefined while it goes on. */
export function exitOf(pod: V1Pod): SandboxExit | undefined {
  const { reason = "", message = "" } = pod.status ?? {};
  const told = [reason, message].filter((text) => text !== "").join(": ");
  const ended = containerOf(pod, RUNNER)?.state?.terminated;
  if (ended === undefined || reason === "Evicted")
    return isOver(pod) ? { exitCode: null, oomKilled: false, lost: true, message: told } : undefined;
  const oomKilled = ended.reason === "OOMKilled";
  // Where the whole pod was told to go, its containers' own ends say nothing about why.
  const removed = !oomKilled && (ended.exitCode === EVICTED || (isGoing(pod) && ended.exitCode !== 0));
  const words = ended.reason === "Completed" ? "" : ended.reason;
  return {
    exitCode: ended.exitCode,
    oomKilled,
    lost: removed || ended.reason === "ContainerStatusUnknown",
    message: [removed ? "its pod was removed" : "", words, ended.message, told].filter(Boolean).join(": "),
  };
}
