import { shortages } from "../domain/capacity.ts";
import { NeverFits, NotEnforced, Unavailable } from "../domain/errors.ts";
import type { TaskLimits } from "../domain/limits.ts";
import type { Policy } from "../domain/policy.ts";
import { formatSize } from "../domain/resources.ts";
import type { TaskSpec } from "../domain/task.ts";
import { namedServerOf, networkOf } from "../domain/tracking.ts";
import { type EngineHost, findTier, requireTier } from "./engine-host.ts";

/** An engine that is away is asked again about as often. */
const RETRY_MILLIS = 5_000;

/** Throws NeverFits or NotEnforced where the host could never hold the task, and Unavailable while nobody can know. */
export function requireFit(host: EngineHost, spec: TaskSpec, limits: TaskLimits, policy: Policy): void {
  if (host.away)
    throw new Unavailable(
      `engine ${host.engine.name} has not answered since the server started, so that nobody knows what it can take; try again in a moment, or name another engine (longshore capabilities): ${host.away.message}`,
      RETRY_MILLIS,
      { cause: host.away },
    );
  refuseWhatNeverFits(limits, host);
  refuseMissingModel(spec, limits, host);
  requireTier(findTier(host, spec.isolation ?? policy.defaultIsolation), {
    network: networkOf(spec),
    // A device that cannot be passed in is no weaker limit but a task that cannot run.
    enforced: limits.gpuCount > 0 ? [...spec.requireEnforced, "GPU"] : spec.requireEnforced,
  });
}

/** Throws NotEnforced where sandboxes of the engine cannot be given the way to the tracking server. */
export function requireTracker({ engine, capabilities }: EngineHost, spec: TaskSpec, policy: Policy): void {
  if (networkOf(spec) !== "TRACKING") return;
  const name = namedServerOf(spec, policy)?.name;
  // An address that a client names is looked at when the task starts.
  if (name === undefined) return;
  const whyNot = capabilities.trackers?.get(name) ?? "it has no network for it";
  if (whyNot === "") return;
  throw new NotEnforced(`engine ${engine.name} does not reach tracking server ${name}: ${whyNot}`, {
    limit: "NETWORK",
    mechanism: "none",
  });
}

function refuseMissingModel({ resources }: TaskSpec, { gpuCount }: TaskLimits, host: EngineHost): void {
  const model = resources?.gpuModel ?? "";
  const most = host.ledger.gpuCount(model);
  if (model === "" || gpuCount <= most) return;
  const models = [...new Set(host.capabilities.gpus.map((gpu) => gpu.model))].join(", ");
  throw new NeverFits(
    `resources.gpu_model: ${gpuCount} GPU of model "${model.slice(0, 100)}" asked, this server has ${most}; its models are ${models}`,
    { resource: "gpu", asked: String(gpuCount), most: String(most) },
  );
}

/** Compares with what the host has, never with what is free: what is only busy waits in the queue. */
function refuseWhatNeverFits(limits: TaskLimits, host: EngineHost): void {
  const most = host.ledger.largest;
  const short = shortages(limits, most);
  const first = short[0];
  if (first === undefined) return;
  if (first.limit === "GPU" && most.gpuCount === 0) {
    throw new NeverFits(`resources.gpu: this server has no GPU (longshore capabilities)`, {
      resource: "gpu",
      asked: String(limits.gpuCount),
      most: "0",
    });
  }
  const sentences = short.map(({ limit, needed, available }) => {
    const show = (value: number) =>
      limit === "CPU" ? `${value / 1000} CPU` : limit === "GPU" ? `${value} GPU` : formatSize(value);
    return `resources.${limit.toLowerCase()}: ${show(needed)} asked, at most ${show(available)} can ever be had here`;
  });
  throw new NeverFits(sentences.join("; "), {
    resource: first.limit.toLowerCase(),
    asked: String(first.needed),
    most: String(first.available),
  });
}
