import type { CapacityLedger } from "../domain/capacity-ledger.ts";
import { NotEnforced, NotFound, SystemFault, type Unavailable } from "../domain/errors.ts";
import type { Limit } from "../domain/limits.ts";
import type { Engine, EngineCapabilities, EngineTier } from "../domain/ports/engine.ts";
import type { Isolation, Network } from "../domain/task.ts";

/** An engine with what it told of itself and what its attempts hold. */
export interface EngineHost {
  readonly engine: Engine;
  readonly capabilities: EngineCapabilities;
  readonly ledger: CapacityLedger;
  /** Why it has told nothing of itself since the server started; null or absent once it has. */
  readonly away?: Unavailable | null;
  /** Asks it again. Throws Unavailable while it does not answer. */
  join?(): Promise<void>;
}

export function findTier(host: EngineHost, isolation: Isolation): EngineTier {
  const tier = host.capabilities.tiers.find((candidate) => candidate.isolation === isolation);
  if (tier === undefined) {
    const there = host.capabilities.tiers.map((candidate) => candidate.isolation.toLowerCase()).join(", ");
    throw new NotEnforced(
      `this server has no isolation tier "${isolation.toLowerCase()}"; it has ${there} (longshore capabilities)`,
      { limit: "", mechanism: "isolation" },
    );
  }
  return tier;
}

/** Throws NotEnforced unless the tier can hold the network policy and enforces every limit that the request insists on. */
export function requireTier(
  tier: EngineTier,
  { network, enforced }: { readonly network: Network; readonly enforced: readonly Limit[] },
): void {
  if (!tier.networks.includes(network)) {
    const advice = tier.limits.find(({ limit }) => limit === "NETWORK")?.advice ?? "";
    throw new NotEnforced(
      `network "${network.toLowerCase()}" cannot be given in tier "${tier.isolation.toLowerCase()}" of this server${
        advice === "" ? " (longshore capabilities)" : `: ${advice}`
      }`,
      { limit: "NETWORK", mechanism: "none" },
    );
  }
  for (const limit of enforced) {
    const support = tier.limits.find((candidate) => candidate.limit === limit);
    if (support?.level === "ENFORCED") continue;
    const level = support?.level.toLowerCase() ?? "unsupported";
    throw new NotEnforced(
      `limit ${limit.toLowerCase()} is ${level} in tier "${tier.isolation.toLowerCase()}", but the request needs it enforced${
        support === undefined || support.advice === "" ? "" : `: ${support.advice}`
      }`,
      { limit, mechanism: support?.mechanism ?? "" },
    );
  }
}

/** The configured engines, the default first, and other names that they go by. */
export class EngineHosts {
  readonly #hosts: ReadonlyMap<string, EngineHost>;
  readonly #aliases: ReadonlyMap<string, string>;
  readonly default: EngineHost;
  /** Where tasks that name no engine go while the default has no room for them; undefined keeps them waiting there. */
  readonly overflow: EngineHost | undefined;

  /** Throws SystemFault for an alias that names no engine or hides one, and for an overflow that is none. */
  constructor(
    hosts: readonly [EngineHost, ...EngineHost[]],
    aliases: ReadonlyMap<string, string> = new Map(),
    overflow = "",
  ) {
    this.default = hosts[0];
    this.overflow = overflow === "" ? undefined : hosts.find(({ engine }) => engine.name === overflow);
    if (overflow !== "" && (this.overflow === undefined || this.overflow === this.default))
      throw new SystemFault(
        `LONGSHORE_ENGINE_OVERFLOW ${overflow} is no engine besides the default; there are ${hosts.map(({ engine }) => engine.name).join(", ")}`,
      );
    this.#hosts = new Map(hosts.map((host) => [host.engine.name, host]));
    this.#aliases = aliases;
    const wrong = [...aliases].filter(([alias, name]) => this.#hosts.has(alias) || !this.#hosts.has(name));
    if (wrong.length === 0) return;
    const named = wrong.map(([alias, name]) => `${alias}=${name}`).join(", ");
    const engines = [...this.#hosts.keys()].join(", ");
    throw new SystemFault(
      `LONGSHORE_ENGINE_ALIASES holds ${named}: an alias is a new name for an engine that there is (${engines})`,
    );
  }

  /** All that a task may name. */
  get names(): string[] {
    return [...this.#hosts.keys(), ...this.#aliases.keys()];
  }

  /** Other names of an engine. */
  aliasesOf(engine: string): string[] {
    return [...this.#aliases].flatMap(([alias, name]) => (name === engine ? [alias] : []));
  }

  all(): EngineHost[] {
    return [...this.#hosts.values()];
  }

  /** Empty means the default. Throws NotFound. */
  get(name: string): EngineHost {
    const host = name === "" ? this.default : this.#hosts.get(this.#aliases.get(name) ?? name);
    if (host === undefined)
      throw new NotFound("engine", name.slice(0, 100), `there are ${this.names.join(", ")}`);
    return host;
  }
}
