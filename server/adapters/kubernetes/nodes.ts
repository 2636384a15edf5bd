import type { V1Node } from "@kubernetes/client-node";
import type { Gpu } from "../../domain/capacity.ts";
import type { Resources } from "../../domain/resources.ts";
import type { KubernetesEngineOptions } from "./options.ts";
import { quantity } from "./quantity.ts";

type Placed = Pick<KubernetesEngineOptions, "placement">;

/** Whether it takes tasks at the moment. */
export function takes({ spec, metadata, status }: V1Node, { placement }: Placed): boolean {
  const ready =
    status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True") ?? false;
  const selected = Object.entries(placement.nodeSelector).every(
    ([key, value]) => metadata?.labels?.[key] === value,
  );
  const refused = (spec?.taints ?? []).some(
    (taint) =>
      taint.effect !== "PreferNoSchedule" &&
      !placement.tolerations.some(
        ({ key, operator, value, effect }) =>
          (key === undefined || key === taint.key) &&
          (operator === "Exists" || (value ?? "") === (taint.value ?? "")) &&
          (effect === undefined || effect === taint.effect),
      ),
  );
  return ready && selected && spec?.unschedulable !== true && !refused;
}

/** What it has for pods. */
export function offerOf({ status }: V1Node, { placement }: Placed): Resources {
  const of = (name: string) => quantity(status?.allocatable?.[name] ?? "0");
  const ramBytes = Math.floor(of("memory"));
  return {
    cpuMillis: Math.floor(of("cpu") * 1000),
    ramBytes,
    storageBytes: placement.storage === "memory" ? ramBytes : Math.floor(of("ephemeral-storage")),
    gpuCount: Math.floor(of(placement.gpuResource)),
  };
}

/** Names for its GPUs, to count with. */
export function gpuIdsOf(node: V1Node, options: Placed): string[] {
  const { gpuCount } = offerOf(node, options);
  const { gpuResource } = options.placement;
  return Array.from({ length: gpuCount }, (_, at) => `${node.metadata?.name ?? ""}/${gpuResource}/${at}`);
}

/** What a node must be labelled with for a task that asks for a model: only what nodes themselves have told is passed on. */
export function gpuModelLabels(
  model: string,
  known: readonly Gpu[],
  { placement: { gpuResource } }: Placed,
): Record<string, string> {
  const isLabel = model !== gpuResource && known.some((gpu) => gpu.model === model);
  return isLabel ? { [gpuModelLabel(gpuResource)]: model } : {};
}

/** Vendors' discovery daemons tell a node's model there. */
export function gpuModelLabel(gpuResource: string): string {
  return `${gpuResource.split("/")[0]}/gpu.product`;
}
