import { CapacityLedger, NO_RESOURCES } from "../domain/capacity.ts";
import { SystemFault } from "../domain/errors.ts";
import type { Policy } from "../domain/policy.ts";
import type { Engine } from "../domain/ports/engine.ts";
import type { Metrics } from "../domain/ports/metrics.ts";
import { type EngineHost, EngineHosts } from "./engine-host.ts";
import { MeasuredEngine } from "./measured-engine.ts";
import type { Parts } from "./parts.ts";

async function hostOf(given: Engine, policy: Policy, metrics: Metrics): Promise<EngineHost> {
  const engine = new MeasuredEngine(given, metrics);
  const capabilities = await engine.capabilities();
  // What is kept back is this host's; a cluster's nodes have told what they can give already.
  const reserve = capabilities.largest === undefined ? policy.reserve : NO_RESOURCES;
  return {
    engine,
    capabilities,
    ledger: new CapacityLedger(capabilities.total, reserve, capabilities.gpus, capabilities.largest),
  };
}

/** A default that no task can have would refuse them one by one, long after the one who set it has gone. */
function requireDefaultTier({ capabilities, engine }: EngineHost, { defaultIsolation }: Policy): void {
  if (capabilities.tiers.some(({ isolation }) => isolation === defaultIsolation)) return;
  throw new SystemFault(
    `tasks are to run with isolation ${defaultIsolation.toLowerCase()} by default, which engine ${engine.name} does not have here: ` +
      "make its runtime work (the log above says what is wrong), or set LONGSHORE_DEFAULT_ISOLATION to one it has",
  );
}

/** Each engine with what it has, as the operator named and ordered them. */
export async function composeHosts({
  engines: [first, ...others],
  engineAliases,
  engineOverflow,
  policy,
  metrics,
}: Parts): Promise<EngineHosts> {
  const hosts = new EngineHosts(
    [
      await hostOf(first, policy, metrics),
      ...(await Promise.all(others.map((engine) => hostOf(engine, policy, metrics)))),
    ],
    engineAliases,
    engineOverflow,
  );
  requireDefaultTier(hosts.default, policy);
  return hosts;
}
