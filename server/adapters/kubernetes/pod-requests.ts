import type { V1Container, V1Pod } from "@kubernetes/client-node";
import { addResources, NO_RESOURCES } from "../../domain/capacity.ts";
import type { Resources } from "../../domain/resources.ts";
import { quantity } from "./quantity.ts";

type Requests = Readonly<Record<string, string>> | undefined;

/** What a pod holds of its node by the scheduler's rules: used or not, it was promised. */
export function requestsOf({ spec }: V1Pod, gpuResource: string): Resources {
  const read = (requests: Requests) => readRequests(requests, gpuResource);
  const all = (containers: readonly V1Container[]) =>
    containers.map(({ resources }) => read(resources?.requests)).reduce(addResources, NO_RESOURCES);
  const initial = spec?.initContainers ?? [];
  const isSidecar = ({ restartPolicy }: V1Container) => restartPolicy === "Always";
  const running = addResources(all(spec?.containers ?? []), all(initial.filter(isSidecar)));
  // Each of these runs alone, beside the sidecars that were started before it.
  const starting = initial.map((container, at) =>
    addResources(read(container.resources?.requests), all(initial.slice(0, at).filter(isSidecar))),
  );
  const least = starting.reduce(larger, running);
  return addResources(ofPod(least, spec?.resources?.requests, gpuResource), read(spec?.overhead));
}

/** Where a request is made for the pod as a whole, it counts instead of its containers' own. */
function ofPod(least: Resources, requests: Requests, gpuResource: string): Resources {
  const whole = readRequests(requests, gpuResource);
  return {
    ...least,
    ...(requests?.cpu !== undefined && { cpuMillis: whole.cpuMillis }),
    ...(requests?.memory !== undefined && { ramBytes: whole.ramBytes }),
  };
}

function readRequests(requests: Requests, gpuResource: string): Resources {
  const of = (name: string) => quantity(requests?.[name] ?? "0");
  return {
    cpuMillis: Math.ceil(of("cpu") * 1000),
    ramBytes: Math.ceil(of("memory")),
    storageBytes: Math.ceil(of("ephemeral-storage")),
    gpuCount: Math.ceil(of(gpuResource)),
  };
}

function larger(a: Resources, b: Resources): Resources {
  return {
    cpuMillis: Math.max(a.cpuMillis, b.cpuMillis),
    ramBytes: Math.max(a.ramBytes, b.ramBytes),
    storageBytes: Math.max(a.storageBytes, b.storageBytes),
    gpuCount: Math.max(a.gpuCount, b.gpuCount),
  };
}
