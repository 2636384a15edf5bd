import type { Engine } from "../domain/ports/engine.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { Task } from "../domain/task.ts";
import { factsOf } from "./log-facts.ts";
import { untilAvailable } from "./until-available.ts";

/** Asks a sandbox to end, again and again while its engine is away. Never rejects: its end is what tells of success. */
export async function stopSandbox(
  engine: Engine,
  sandboxId: string,
  how: "terminate" | "kill",
  { task, signal, log }: { task?: Task; signal: AbortSignal; log: Log },
): Promise<void> {
  const tell = (error: unknown) =>
    log.warn("a sandbox could not be stopped", {
      ...(task && factsOf(task)),
      sandboxId,
      how,
      error: String(error),
    });
  try {
    await untilAvailable(() => engine.stop(sandboxId, how), signal, tell);
  } catch (error) {
    if (!signal.aborted) tell(error);
  }
}
