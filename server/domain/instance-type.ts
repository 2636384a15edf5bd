import type { FieldViolation } from "./errors.ts";
import { parseResources, type ResourceRequest, type Resources } from "./resources.ts";

/** A kind of machine as an operator names it: what a task of it gets of each resource that it does not ask for itself. */
export type InstanceType = ResourceRequest;

const KEYS = ["cpu", "gpu", "ram", "storage"] as const;
const ANY: Resources = { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 };

/** Reads "cpu:2/ram:4GB/storage:10GB/gpu:1", of which each part may be left out; undefined for anything else. */
export function parseInstanceType(text: string): InstanceType | undefined {
  const type = { cpu: "", gpu: "", ram: "", storage: "", gpuModel: "" };
  for (const part of text.split("/")) {
    const [key, value, ...more] = part.split(":");
    const known = KEYS.find((name) => name === key);
    if (known === undefined || value === undefined || value === "" || more.length > 0) return undefined;
    if (type[known] !== "") return undefined;
    type[known] = value;
  }
  const problems: FieldViolation[] = [];
  parseResources(type, ANY, "", problems);
  return problems.length === 0 ? type : undefined;
}

/** What the task asked for itself, and beside that what its kind of machine has. */
export function withInstanceType(
  asked: ResourceRequest | null,
  type: InstanceType | undefined,
): ResourceRequest {
  const own = asked ?? { cpu: "", gpu: "", ram: "", storage: "", gpuModel: "" };
  if (type === undefined) return own;
  return {
    cpu: own.cpu || type.cpu,
    gpu: own.gpu || type.gpu,
    ram: own.ram || type.ram,
    storage: own.storage || type.storage,
    gpuModel: own.gpuModel,
  };
}
