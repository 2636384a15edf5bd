import { createHash } from "node:crypto";
import { access, readFile, writeFile } from "node:fs/promises";
import { isIPv4 } from "node:net";
import type { NetworkInspectInfo } from "dockerode";
import { SystemFault } from "../../domain/errors.ts";
import { formatIpRange, type IpRange, overlap, parseIpRange, parseIpTarget } from "../../domain/ip-range.ts";
import type { Log } from "../../domain/ports/telemetry.ts";
import { errnoOf } from "../sandbox/errno.ts";
import { CommandFailed } from "./command.ts";
import type { Daemon } from "./daemon.ts";
import { hostAddresses, proveEgress } from "./egress-proof.ts";
import { EgressRules, hasUserChain, type RuleFacts, removeRules } from "./egress-rules.ts";
import type { EgressAttachment } from "./host-config.ts";
import { LABELS } from "./naming.ts";
import type { DockerEngineOptions, EgressSettings, OnlyTarget } from "./options.ts";

/** Between two looks at the rules while sandboxes run; each start looks too. */
const CHECK_MILLIS = 10_000;
/** As many as the C library asks. */
const MOST_NAMESERVERS = 3;
const RESOLV_CONF = "/etc/resolv.conf";
/** Where systemd-resolved keeps the real ones; dockerd looks there too. */
const SYSTEMD_RESOLV_CONF = "/run/systemd/resolve/resolv.conf";
export const DEFAULT_IPTABLES = "iptables";
/** For documentation (RFC 5737), so nobody's: without any, Docker's resolver would ask the host's on behalf of the sandbox. */
const NO_NAMESERVER = "192.0.2.53";

export interface NetworkNames {
  /** Eight hexadecimal digits of the whole installation id: its own beginning may be a time that another shares. */
  readonly tag: string;
  readonly network: string;
  readonly bridge: string;
}

/** The network of EGRESS sandboxes, or why there is none. */
export type Egress =
  | { readonly network: EgressNetwork }
  | { readonly network: undefined; readonly whyNot: string };

/** Offers EGRESS only where a proof with real containers held; where it is not offered, nothing of it is left on the host. */
export async function openEgress(
  daemon: Daemon,
  options: DockerEngineOptions,
  imageId: string,
): Promise<Egress> {
  const { egress: settings, installationId, log } = options;
  const names = namesOf(installationId);
  let whyNot = "it is switched off; an operator switches it on with LONGSHORE_EGRESS=on";
  if (settings !== undefined) {
    const network = new EgressNetwork(daemon, names, installationId, settings, log);
    try {
      await network.open(imageId);
      return { network };
    } catch (error) {
      network.close();
      whyNot = error instanceof Error ? error.message : String(error);
      log.warn("network EGRESS is not offered", { reason: whyNot });
    }
  }
  try {
    await removeEgress(daemon, names, settings?.iptables ?? DEFAULT_IPTABLES);
  } catch (error) {
    // Sandboxes of an earlier server may still be on it; its rules stay with it until a later start.
    log.warn("the egress network could not be taken away", { network: names.network, error: String(error) });
  }
  return { network: undefined, whyNot };
}

export async function removeEgress(
  daemon: Daemon,
  names: Pick<NetworkNames, "tag" | "network">,
  iptables: string,
): Promise<void> {
  // First, because a network with sandboxes on it cannot be removed, and they must not lose their rules.
  if ((await daemon.network(names.network)) !== undefined) await daemon.removeNetwork(names.network);
  await removeRules(names.tag, iptables);
}

/** One bridge for the installation's EGRESS sandboxes, and the packet rules that keep them to public addresses. */
export class EgressNetwork {
  readonly #daemon: Daemon;
  readonly names: NetworkNames;
  readonly #installationId: string;
  readonly #settings: EgressSettings;
  readonly #log: Log;
  readonly #iptables: string;
  #rules: EgressRules | undefined;
  #facts: RuleFacts | undefined;
  #timer: NodeJS.Timeout | undefined;
  #checking: Promise<void> | undefined;

  constructor(
    daemon: Daemon,
    names: NetworkNames,
    installationId: string,
    settings: EgressSettings,
    log: Log,
  ) {
    this.#daemon = daemon;
    this.names = names;
    this.#installationId = installationId;
    this.#settings = settings;
    this.#log = log;
    this.#iptables = settings.iptables ?? DEFAULT_IPTABLES;
  }

  /** Throws why the network cannot be offered. */
  async open(imageId: string): Promise<void> {
    await this.#expectHost();
    const { gateway, facts } = await this.#bringUp(true);
    const rules = new EgressRules(facts, this.#iptables);
    this.#rules = rules;
    let reached: readonly string[];
    try {
      reached = await proveEgress({
        daemon: this.#daemon,
        installationId: this.#installationId,
        imageId,
        network: this.names.network,
        gateway,
        subnet: facts.subnet,
        open: (port) => rules.apply(facts, port),
      });
    } finally {
      await rules.apply(facts);
    }
    if (reached.length > 0)
      throw new SystemFault(
        `its packet rules do not hold on this host: a probe reached ${reached.join(", ")}; see that the kernel module br_netfilter is loaded and that iptables is the one dockerd uses`,
      );
    this.#facts = facts;
    await this.ensure();
    this.#timer = setInterval(() => void this.#look(), CHECK_MILLIS).unref();
  }

  /** Where the same kind of rules was proved to hold on this host, for another network. */
  async openAsProved(): Promise<void> {
    const { facts } = await this.#bringUp(false);
    const rules = new EgressRules(facts, this.#iptables);
    this.#rules = rules;
    await rules.apply(facts);
    this.#facts = facts;
    await this.ensure();
    this.#timer = setInterval(() => void this.#look(), CHECK_MILLIS).unref();
  }

  /** Whether a container is on it now. */
  async inUse(): Promise<boolean> {
    const found = await this.#daemon.network(this.names.network);
    return Object.keys(found?.Containers ?? {}).length > 0;
  }

  /** What a network is for, of its label; undefined for anything else. */
  static readOnly(label: string): OnlyTarget | undefined {
    const [host = "", address = "", port = ""] = label.split("/");
    const target = parseIpTarget(`${address}:${port}`);
    return host === "" || target?.port == null ? undefined : { host, address, port: target.port };
  }

  /** What a sandbox is attached to. Throws unless the rules hold at this moment; puts them back where something took them away. */
  async attachment(): Promise<EgressAttachment> {
    await this.ensure();
    const { only } = this.#settings;
    if (only !== undefined) {
      const hosts = only.host === only.address ? [] : [{ name: only.host, address: only.address }];
      return { network: this.names.network, nameservers: [NO_NAMESERVER], hosts, noLookups: true };
    }
    const nameservers = this.#facts?.nameservers ?? [];
    return {
      network: this.names.network,
      nameservers: nameservers.map((server) => formatIpRange(server).replace("/32", "")),
      hosts: [],
      noLookups: false,
    };
  }

  ensure(): Promise<void> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** The network and its rules stay: sandboxes outlive their server. */
  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      await this.ensure();
    } catch (error) {
      this.#log.error("the packet rules of network EGRESS cannot be checked; no sandbox starts on it", {
        network: this.names.network,
        error: String(error),
      });
    }
  }

  async #check(): Promise<void> {
    const rules = this.#rules;
    if (rules === undefined) throw new SystemFault(`network ${this.names.network} is not open`);
    const { facts } = await this.#bringUp(false);
    const asBefore = JSON.stringify(facts) === JSON.stringify(this.#facts);
    if (asBefore && (await rules.hold())) return;
    if (asBefore)
      // Docker itself does, whenever a network is made.
      this.#log.info("the packet rules of network EGRESS were changed from outside and are put back", {
        network: this.names.network,
      });
    await rules.apply(facts);
    this.#facts = facts;
    if (!(await rules.hold()))
      throw new SystemFault(
        `the packet rules of network ${this.names.network} do not stay in place; see what else changes iptables on this host`,
      );
  }

  /** A pruned network comes back; its rules go by the bridge's name, which is always the same. */
  async #bringUp(renew: boolean): Promise<{ gateway: string; facts: RuleFacts }> {
    let found = await this.#daemon.network(this.names.network);
    if (found !== undefined && renew && this.#isOutdated(found)) {
      await this.#daemon.removeNetwork(this.names.network);
      found = undefined;
    }
    if (found === undefined) {
      await this.#create();
      found = await this.#daemon.network(this.names.network);
    }
    const { subnet, gateway } = this.#checked(found);
    await this.#silenceIpv6();
    const nameservers = await this.#nameservers();
    const { tag, bridge } = this.names;
    return { gateway, facts: { tag, bridge, subnet, nameservers, policy: this.#settings } };
  }

  async #create(): Promise<void> {
    const { subnet, only } = this.#settings;
    await this.#daemon.createNetwork({
      Name: this.names.network,
      CheckDuplicate: true,
      Driver: "bridge",
      EnableIPv6: false,
      ...(subnet === null
        ? {}
        : { IPAM: { Driver: "default", Config: [{ Subnet: formatIpRange(subnet) }] } }),
      Options: {
        "com.docker.network.bridge.name": this.names.bridge,
        "com.docker.network.bridge.enable_icc": "false",
      },
      Labels: {
        [LABELS.installation]: this.#installationId,
        ...(only !== undefined && { [LABELS.only]: `${only.host}/${only.address}/${only.port}` }),
      },
    });
  }

  /** Made with another setting, and free to be made again. */
  #isOutdated(found: NetworkInspectInfo): boolean {
    const { subnet } = this.#settings;
    const inUse = Object.keys(found.Containers ?? {}).length > 0;
    return !inUse && subnet !== null && found.IPAM?.Config?.[0]?.Subnet !== formatIpRange(subnet);
  }

  /** Somebody else's network of this name would have other settings. */
  #checked(found: NetworkInspectInfo | undefined): { subnet: IpRange; gateway: string } {
    const config = found?.IPAM?.Config?.[0];
    const subnet = parseIpRange(config?.Subnet ?? "");
    // 20.10 leaves the gateway out where the subnet was given: it is the first address then.
    const gateway =
      config?.Gateway ?? (subnet && formatIpRange({ first: subnet.first + 1, bits: 32 }).replace("/32", ""));
    const asMade =
      found?.Labels?.[LABELS.installation] === this.#installationId &&
      found.Options?.["com.docker.network.bridge.name"] === this.names.bridge &&
      !found.EnableIPv6;
    if (!asMade || subnet === undefined || gateway === undefined)
      throw new SystemFault(
        `Docker's network ${this.names.network} is not the one this server makes; remove it: docker network rm ${this.names.network}`,
      );
    return { subnet, gateway };
  }

  async #expectHost(): Promise<void> {
    try {
      if (!(await hasUserChain(this.#iptables)))
        throw new SystemFault(
          "dockerd keeps no chain DOCKER-USER where iptables looks: run dockerd with its iptables setting on, and the server in the host's own network namespace",
        );
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      throw new SystemFault(
        `packet rules cannot be set: ${error.message}; install iptables, and run the server as root`,
        {},
        { cause: error },
      );
    }
    if ((await readFile("/proc/sys/net/ipv4/ip_forward", "utf8")).trim() !== "1")
      throw new SystemFault("this host forwards no packets; set sysctl net.ipv4.ip_forward=1");
  }

  /** Also finds out whether the bridge is on this side at all. */
  async #silenceIpv6(): Promise<void> {
    const { bridge } = this.names;
    try {
      await access(`/sys/class/net/${bridge}`);
    } catch (error) {
      throw new SystemFault(
        `the server does not see bridge ${bridge}, which the daemon made: it runs in another network namespace (in a container, use the host's network)`,
        {},
        { cause: error },
      );
    }
    try {
      await writeFile(`/proc/sys/net/ipv6/conf/${bridge}/disable_ipv6`, "1");
    } catch (error) {
      // A kernel without IPv6 has no such file.
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }

  /** Sandboxes ask them from their own side: Docker's resolver sends each query out of the sandbox's namespace. */
  async #nameservers(): Promise<readonly IpRange[]> {
    if (this.#settings.only !== undefined) return [];
    const configured = this.#settings.nameservers;
    const found = configured.length > 0 ? configured : await hostNameservers();
    const own = hostAddresses().flatMap((address) => parseIpRange(address) ?? []);
    const theirs = found.filter((server) => !own.some((address) => overlap(address, server)));
    if (theirs.length === 0 && found.length > 0 && this.#facts === undefined)
      this.#log.warn(
        "tasks with network EGRESS cannot look up names: the name server is this host itself; set LONGSHORE_EGRESS_DNS",
        { nameservers: found.map(formatIpRange) },
      );
    return theirs.slice(0, MOST_NAMESERVERS);
  }
}

/** The host's resolvers that a sandbox could reach; none where they are on loopback, which the daemon asks by itself. */
async function hostNameservers(): Promise<IpRange[]> {
  for (const path of [RESOLV_CONF, SYSTEMD_RESOLV_CONF]) {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") continue;
      throw error;
    }
    const servers = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)]
      .map((match) => match[1] ?? "")
      .filter((address) => isIPv4(address) && !address.startsWith("127."));
    if (servers.length > 0) return servers.flatMap((address) => parseIpRange(address) ?? []);
  }
  return [];
}

/** Of the network of EGRESS sandboxes. */
export function namesOf(installationId: string): NetworkNames {
  const tag = createHash("sha256").update(installationId).digest("hex").slice(0, 8);
  return { tag, network: `longshore-egress-${tag}`, bridge: `lse-${tag}` };
}
