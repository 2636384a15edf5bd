import { createHash } from "node:crypto";
import { lookup } from "node:dns/promises";
import { isIPv4 } from "node:net";
import { SystemFault } from "../../domain/errors.ts";
import { LOCAL_RANGES, overlap, parseIpRange } from "../../domain/ip-range.ts";
import type { TrackingServer } from "../../domain/tracking.ts";
import type { Daemon } from "./daemon.ts";
import { DEFAULT_IPTABLES, EgressNetwork, type NetworkNames, removeEgress } from "./egress-network.ts";
import type { EgressAttachment } from "./host-config.ts";
import { LABELS } from "./naming.ts";
import type { DockerEngineOptions } from "./options.ts";

/** Beginning of the names of networks that lead to one tracking server each. */
const TRACKING_NETWORK = /^longshore-egress-([0-9a-f]{8})$/;

/**
 * A network for each tracking server that the operator names, with packet rules that let its sandboxes reach that one port and
 * nothing else, not even a name server: the address is looked up here, when the server starts, and written into the sandbox.
 */
export class TrackingNetworks {
  readonly #networks: ReadonlyMap<string, EgressNetwork>;
  /** By name of the tracking server: why it is not offered; empty where it is. */
  readonly offers: ReadonlyMap<string, string>;

  private constructor(networks: ReadonlyMap<string, EgressNetwork>, offers: ReadonlyMap<string, string>) {
    this.#networks = networks;
    this.offers = offers;
  }

  /** Offers what a proof with real containers held for; networks of servers that are configured no more are taken away. */
  static async open(
    daemon: Daemon,
    options: DockerEngineOptions,
    imageId: string,
    kept: readonly string[],
  ): Promise<TrackingNetworks> {
    const servers = options.trackingServers ?? [];
    const networks = new Map<string, EgressNetwork>();
    const offers = new Map<string, string>();
    // One after the other: each proof changes the same tables.
    for (const server of servers) {
      const opened = await openTracking(daemon, options, server, imageId);
      if (typeof opened === "string") {
        options.log.warn("a tracking server is not offered", { server: server.name, reason: opened });
        offers.set(server.name, opened);
      } else {
        networks.set(server.name, opened);
        offers.set(server.name, "");
      }
    }
    const present = servers.map((server) => namesOf(options.installationId, server).network);
    await removeOthers(daemon, options, [...kept, ...present]);
    return new TrackingNetworks(networks, offers);
  }

  /** Throws unless the packet rules hold at this moment. */
  async attachment(name: string): Promise<EgressAttachment> {
    return await this.#network(name).attachment();
  }

  async ensure(name: string): Promise<void> {
    await this.#network(name).ensure();
  }

  close(): void {
    for (const network of this.#networks.values()) network.close();
  }

  #network(name: string): EgressNetwork {
    const network = this.#networks.get(name);
    if (network === undefined)
      throw new SystemFault(`there is no network to tracking server ${name}: ${this.offers.get(name) ?? ""}`);
    return network;
  }
}

/** The network, or why there is none. */
async function openTracking(
  daemon: Daemon,
  options: DockerEngineOptions,
  server: TrackingServer,
  imageId: string,
): Promise<EgressNetwork | string> {
  const { installationId, log } = options;
  const names = namesOf(installationId, server);
  let network: EgressNetwork | undefined;
  try {
    const address = await addressOf(server);
    const settings = {
      allow: [],
      deny: [],
      subnet: null,
      nameservers: [],
      only: { host: server.host, address, port: server.port },
      ...(options.egress?.iptables !== undefined && { iptables: options.egress.iptables }),
    };
    network = new EgressNetwork(daemon, names, installationId, settings, log);
    await network.open(imageId);
    return network;
  } catch (error) {
    network?.close();
    return error instanceof Error ? error.message : String(error);
  }
}

async function addressOf({ host }: TrackingServer): Promise<string> {
  const address = isIPv4(host) ? host : await lookUp(host);
  const range = parseIpRange(address);
  if (range === undefined || LOCAL_RANGES.some((local) => overlap(local, range)))
    throw new SystemFault(
      `${host} is ${address}, an address of loopback, link-local (the clouds' metadata) or multicast, which no sandbox reaches`,
    );
  return address;
}

async function lookUp(host: string): Promise<string> {
  try {
    return (await lookup(host, { family: 4 })).address;
  } catch (error) {
    throw new SystemFault(
      `${host} cannot be looked up (${error instanceof Error ? error.message : String(error)}); restart the server when it can`,
      {},
      { cause: error },
    );
  }
}

async function removeOthers(
  daemon: Daemon,
  options: DockerEngineOptions,
  present: readonly string[],
): Promise<void> {
  const { installationId, log, egress } = options;
  for (const network of await daemon.networks(`${LABELS.installation}=${installationId}`)) {
    const tag = TRACKING_NETWORK.exec(network)?.[1];
    if (tag === undefined || present.includes(network)) continue;
    try {
      await removeEgress(daemon, { tag, network }, egress?.iptables ?? DEFAULT_IPTABLES);
    } catch (error) {
      // Sandboxes of an earlier server may still be on it; its rules stay with it until a later start.
      log.warn("the network of a former tracking server could not be taken away", {
        network,
        error: String(error),
      });
    }
  }
}

function namesOf(installationId: string, { name, host, port }: TrackingServer): NetworkNames {
  const tag = createHash("sha256")
    .update(JSON.stringify([installationId, "tracking", name, host, port]))
    .digest("hex")
    .slice(0, 8);
  return { tag, network: `longshore-egress-${tag}`, bridge: `lse-${tag}` };
}
