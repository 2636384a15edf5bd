import type { Engine } from "../domain/ports/engine.ts";
import { EngineHosts } from "./engine-host.ts";
import { JoiningHost } from "./joining-host.ts";
import { MeasuredEngine } from "./measured-engine.ts";
import type { Parts } from "./parts.ts";

/** Each engine with what it has, as the operator named and ordered them. */
export async function composeHosts({
  engines: [first, ...others],
  engineAliases,
  engineOverflow,
  policy,
  metrics,
  log,
}: Parts): Promise<EngineHosts> {
  const open = (engine: Engine) =>
    JoiningHost.open(new MeasuredEngine(engine, metrics), policy, engine === first, log);
  return new EngineHosts(
    await Promise.all([open(first), ...others.map(open)]),
    engineAliases,
    engineOverflow,
  );
}
