import { LongshoreError, NeverFits, NotEnforced } from "../domain/errors.ts";
import type { TaskLimits } from "../domain/limits.ts";
import type { TaskSpec } from "../domain/task.ts";
import type { EngineHost, EngineHosts } from "./engine-host.ts";

/**
 * The engine that a new task goes to: the one it names; else the default where it has room now; else the overflow where that takes
 * it and has room. Decided once, when the task comes, for image and environment are the engine's. `require` throws where an engine
 * could never run it.
 */
export async function placeTask(
  hosts: EngineHosts,
  spec: TaskSpec,
  limits: TaskLimits,
  require: (host: EngineHost) => Promise<void>,
): Promise<EngineHost> {
  const host = hosts.get(spec.engine);
  const { overflow } = hosts;
  const hasRoom = ({ ledger }: EngineHost) => ledger.shortage(limits, spec.resources?.gpuModel) === undefined;
  let refusal: LongshoreError | undefined;
  try {
    await require(host);
  } catch (error) {
    const refused = error instanceof NeverFits || error instanceof NotEnforced;
    if (!(refused || (host.away && error instanceof LongshoreError))) throw error;
    refusal = error;
  }
  if (spec.engine === "" && overflow !== undefined && (refusal !== undefined || !hasRoom(host))) {
    const taken = await isTaken(overflow, require);
    // A task that the default can never run waits for the overflow as long as it takes.
    if (taken && (refusal !== undefined || hasRoom(overflow))) return overflow;
  }
  if (refusal !== undefined) throw refusal;
  return host;
}

async function isTaken(host: EngineHost, require: (host: EngineHost) => Promise<void>): Promise<boolean> {
  try {
    await require(host);
    return true;
  } catch (error) {
    // Why not is of no interest to somebody who did not ask for this engine.
    if (error instanceof LongshoreError) return false;
    throw error;
  }
}
