import { createHash } from "node:crypto";
import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";
import { ExperimentRefused, SystemFault } from "../../domain/errors.ts";
import { LOCAL_RANGES, overlap, PRIVATE_RANGES, parseIpRange } from "../../domain/ip-range.ts";
import type { TrackingServer } from "../../domain/tracking.ts";
import type { Daemon } from "./daemon.ts";
import { DEFAULT_IPTABLES, EgressNetwork, type NetworkNames, removeEgress } from "./egress-network.ts";
import type { EgressAttachment } from "./host-config.ts";
import { LABELS } from "./naming.ts";
import type { DockerEngineOptions, OnlyTarget } from "./options.ts";

/** Names of the installation's networks; the tag tells the server that one leads to. */
const NETWORK = /^longshore-egress-([0-9a-f]{8})$/;
/** Docker has addresses for about thirty networks. */
const MOST_PUBLIC = 8;

type Opened = EgressNetwork | { readonly whyNot: string };

/**
 * A network for each tracking server, with packet rules that let its sandboxes reach that one port and nothing else, not even a
 * name server: the address is looked up here and written into the sandbox. Servers that the operator names are offered where a
 * proof held, at start; one that a client names by its URL gets its network when the first sandbox wants it, if it is public.
 */
export class TrackingNetworks {
  readonly #daemon: Daemon;
  readonly #options: DockerEngineOptions;
  readonly #named = new Map<string, Opened>();
  /** By host and port; settled ones are in #opened, too. */
  readonly #public = new Map<string, Promise<EgressNetwork>>();
  readonly #opened = new Map<string, EgressNetwork>();
  /** Of an earlier server's, with sandboxes on them still: their rules are looked after until the next start. */
  readonly #left: EgressNetwork[] = [];

  private constructor(daemon: Daemon, options: DockerEngineOptions) {
    this.#daemon = daemon;
    this.#options = options;
  }

  /** Networks but `kept` that lead to nobody any more are taken away. */
  static async open(
    daemon: Daemon,
    options: DockerEngineOptions,
    imageId: string,
    kept: readonly string[],
  ): Promise<TrackingNetworks> {
    const networks = new TrackingNetworks(daemon, options);
    const servers = options.trackingServers ?? [];
    // One after the other: each proof changes the same tables.
    for (const server of servers)
      networks.#named.set(server.name, await networks.#openNamed(server, imageId));
    const present = servers.map((server) => namesOf(options.installationId, server).network);
    await networks.#removeOthers([...kept, ...present]);
    return networks;
  }

  /** By name of the tracking server: why it is not offered; empty where it is. */
  get offers(): ReadonlyMap<string, string> {
    return new Map([...this.#named].map(([name, opened]) => [name, "whyNot" in opened ? opened.whyNot : ""]));
  }

  /** Throws unless the packet rules hold at this moment, and ExperimentRefused for an address that nobody may reach. */
  async attachment(server: TrackingServer): Promise<EgressAttachment> {
    return await (await this.#network(server)).attachment();
  }

  async ensure(server: TrackingServer): Promise<void> {
    await (await this.#network(server)).ensure();
  }

  /** Networks and rules stay: sandboxes outlive their server. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#public.values());
    for (const network of [...this.#named.values(), ...this.#opened.values(), ...this.#left])
      if (network instanceof EgressNetwork) network.close();
  }

  async #network(server: TrackingServer): Promise<EgressNetwork> {
    if (server.name === "") return await this.#publicNetwork(server);
    const opened = this.#named.get(server.name);
    if (opened instanceof EgressNetwork) return opened;
    throw new SystemFault(`there is no network to tracking server ${server.name}: ${opened?.whyNot ?? ""}`);
  }

  async #openNamed(server: TrackingServer, imageId: string): Promise<Opened> {
    let network: EgressNetwork | undefined;
    try {
      network = this.#make(namesOf(this.#options.installationId, server), await namedTarget(server));
      await network.open(imageId);
      return network;
    } catch (error) {
      network?.close();
      const whyNot = error instanceof Error ? error.message : String(error);
      this.#options.log.warn("a tracking server is not offered", { server: server.name, reason: whyNot });
      return { whyNot };
    }
  }

  async #publicNetwork(server: TrackingServer): Promise<EgressNetwork> {
    const key = `${server.host}:${server.port}`;
    const known = this.#public.get(key);
    if (known !== undefined) return await known;
    const opening = this.#openPublic(server);
    this.#public.set(key, opening);
    try {
      const network = await opening;
      this.#opened.set(key, network);
      return network;
    } catch (error) {
      this.#public.delete(key);
      throw error;
    }
  }

  async #openPublic(server: TrackingServer): Promise<EgressNetwork> {
    const { egress, installationId } = this.#options;
    if (egress === undefined) throw new SystemFault("only tracking servers of the configuration are reached");
    const address = await publicAddressOf(server, egress.deny);
    if (this.#public.size > MOST_PUBLIC) await this.#makeRoom();
    const { host, port } = server;
    const network = this.#make(namesOf(installationId, server), { host, address, port });
    try {
      await network.openAsProved();
      return network;
    } catch (error) {
      network.close();
      throw error;
    }
  }

  async #makeRoom(): Promise<void> {
    for (const [key, network] of this.#opened) {
      if (await network.inUse()) continue;
      this.#opened.delete(key);
      this.#public.delete(key);
      network.close();
      await removeEgress(this.#daemon, network.names, this.#iptables);
      return;
    }
    throw new ExperimentRefused(
      `sandboxes of this server reach ${MOST_PUBLIC} tracking servers already, the most at a time; try again when their tasks have ended`,
      "TOO_MANY",
    );
  }

  #make(names: NetworkNames, only: OnlyTarget): EgressNetwork {
    const { egress, installationId, log } = this.#options;
    const settings = {
      ...{ allow: [], deny: [], subnet: null, nameservers: [], only },
      ...(egress?.iptables !== undefined && { iptables: egress.iptables }),
    };
    return new EgressNetwork(this.#daemon, names, installationId, settings, log);
  }

  get #iptables(): string {
    return this.#options.egress?.iptables ?? DEFAULT_IPTABLES;
  }

  async #removeOthers(present: readonly string[]): Promise<void> {
    const { installationId, log } = this.#options;
    const found = await this.#daemon.networks(`${LABELS.installation}=${installationId}`);
    for (const { name, labels } of found) {
      const tag = NETWORK.exec(name)?.[1];
      if (tag === undefined || present.includes(name)) continue;
      try {
        await removeEgress(this.#daemon, { tag, network: name }, this.#iptables);
      } catch (error) {
        log.info("a network of an earlier server still has sandboxes, and stays as long", {
          network: name,
          error: String(error),
        });
        await this.#lookAfter({ tag, network: name, bridge: `lse-${tag}` }, labels[LABELS.only] ?? "");
      }
    }
  }

  async #lookAfter(names: NetworkNames, label: string): Promise<void> {
    const only = EgressNetwork.readOnly(label);
    if (only === undefined) return;
    const network = this.#make(names, only);
    this.#left.push(network);
    await network.openAsProved();
  }
}

async function namedTarget({ host, port }: TrackingServer): Promise<OnlyTarget> {
  const address = await lookUp(host, "restart the server when it can");
  if (isIn(LOCAL_RANGES, address))
    throw new SystemFault(
      `${host} is ${address}, an address of loopback, link-local (the clouds' metadata) or multicast, which no sandbox reaches`,
    );
  return { host, address, port };
}

/** A client may name what everybody reaches, and learns nothing of what this host alone does. */
async function publicAddressOf({ host }: TrackingServer, deny: Parameters<typeof isIn>[0]): Promise<string> {
  let address: string;
  try {
    address = await lookUp(host, "see that it is right");
  } catch (error) {
    throw new ExperimentRefused(error instanceof Error ? error.message : String(error), "NO_ADDRESS");
  }
  if (isIn([...LOCAL_RANGES, ...PRIVATE_RANGES, ...deny], address))
    throw new ExperimentRefused(
      `${host} has no public address, and no other is reached; have the operator add it to LONGSHORE_TRACKING_ALIASES`,
      "NOT_PUBLIC",
    );
  return address;
}

function isIn(ranges: readonly Parameters<typeof overlap>[0][], address: string): boolean {
  const range = parseIpRange(address);
  return range === undefined || ranges.some((one) => overlap(one, range));
}

async function lookUp(host: string, advice: string): Promise<string> {
  if (isIPv4(host)) return host;
  try {
    return (await lookup(host, { family: 4 })).address;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SystemFault(`${host} cannot be looked up (${why}); ${advice}`, {}, { cause: error });
  }
}

function namesOf(installationId: string, { name, host, port }: TrackingServer): NetworkNames {
  const tag = createHash("sha256")
    .update(JSON.stringify([installationId, "tracking", name, host, port]))
    .digest("hex")
    .slice(0, 8);
  return { tag, network: `longshore-egress-${tag}`, bridge: `lse-${tag}` };
}
