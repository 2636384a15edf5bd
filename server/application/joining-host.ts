import { NO_RESOURCES } from "../domain/capacity.ts";
import { CapacityLedger } from "../domain/capacity-ledger.ts";
import { SystemFault, Unavailable } from "../domain/errors.ts";
import type { LimitSupport } from "../domain/limits.ts";
import type { Policy } from "../domain/policy.ts";
import type { Engine, EngineCapabilities } from "../domain/ports/engine.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { EngineHost } from "./engine-host.ts";

const NOTHING_KNOWN: EngineCapabilities = { version: "", tiers: [], total: NO_RESOURCES, gpus: [] };

/**
 * An engine whose host may be away when the server starts: others need not wait for it. Until it answers nothing is known of it, it
 * takes no new tasks, and what ran there before goes on and stays on record.
 */
export class JoiningHost implements EngineHost {
  readonly engine: Engine;
  readonly ledger = new CapacityLedger(NO_RESOURCES, NO_RESOURCES);
  readonly #policy: Policy;
  readonly #isDefault: boolean;
  readonly #log: Log;
  #capabilities = NOTHING_KNOWN;
  #away: Unavailable | null = new Unavailable("it was not asked yet");

  private constructor(engine: Engine, policy: Policy, isDefault: boolean, log: Log) {
    this.engine = engine;
    this.#policy = policy;
    this.#isDefault = isDefault;
    this.#log = log;
  }

  /** Throws SystemFault where the engine answers, and is set up so that it cannot serve. */
  static async open(engine: Engine, policy: Policy, isDefault: boolean, log: Log): Promise<JoiningHost> {
    const host = new JoiningHost(engine, policy, isDefault, log);
    try {
      await host.join();
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
    }
    return host;
  }

  get capabilities(): EngineCapabilities {
    return this.#capabilities;
  }

  get away(): Unavailable | null {
    return this.#away;
  }

  /** Asks the engine what it is and has. Throws Unavailable while it does not answer. */
  async join(): Promise<void> {
    try {
      const capabilities = await this.engine.capabilities();
      if (this.#isDefault) requireDefaultTier(this.engine.name, capabilities, this.#policy);
      // What is kept back is this host's; a cluster's nodes have told what they can give already.
      const reserve = capabilities.largest === undefined ? this.#policy.reserve : NO_RESOURCES;
      this.ledger.measure(capabilities.total, reserve, capabilities.gpus, capabilities.largest);
      this.#capabilities = capabilities;
      this.#away = null;
      tellWhatDoesNotHold(this.engine.name, capabilities, this.#log);
    } catch (error) {
      if (error instanceof Unavailable) this.#away = error;
      throw error;
    }
  }
}

/** Whoever starts a server learns of it there, and not by what a task could do. */
function tellWhatDoesNotHold(engine: string, { tiers }: EngineCapabilities, log: Log): void {
  for (const { isolation, limits } of tiers) {
    const of = (wanted: LimitSupport["level"]) =>
      limits.filter(({ level }) => level === wanted).map(({ limit }) => limit.toLowerCase());
    const [advisory, unsupported] = [of("ADVISORY"), of("UNSUPPORTED")];
    if (advisory.length + unsupported.length === 0) continue;
    const facts = { engine, isolation: isolation.toLowerCase(), advisory, unsupported };
    log.info("limits that are not enforced; longshore capabilities tells why, and what would help", facts);
  }
}

/** A default that no task can have would refuse them one by one, long after the one who set it has gone. */
function requireDefaultTier(
  engine: string,
  { tiers }: EngineCapabilities,
  { defaultIsolation }: Policy,
): void {
  if (tiers.some(({ isolation }) => isolation === defaultIsolation)) return;
  throw new SystemFault(
    `tasks are to run with isolation ${defaultIsolation.toLowerCase()} by default, which engine ${engine} does not have here: ` +
      "make its runtime work (the log above says what is wrong), or set LONGSHORE_DEFAULT_ISOLATION to one it has",
  );
}
