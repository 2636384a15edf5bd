import { formatIpRange, type IpRange, LOCAL_RANGES, PRIVATE_RANGES } from "../../domain/ip-range.ts";
import { CommandFailed, runCommand } from "./command.ts";
import { errnoOf } from "./errno.ts";
import type { EgressSettings } from "./options.ts";

/** Entries in the host's table of connections that one sandbox may hold: all of them together must not fill it. */
const CONNECTIONS_PER_SANDBOX = 1024;
/** The kernel answers for the refused address, so that a program learns it at once instead of waiting for its own timeout. */
const REFUSE = ["-j", "REJECT", "--reject-with", "icmp-admin-prohibited"];
/** Another server's rules for its own bridge may stand before ours: no packet meets both. */
const ANY_JUMP = /^-A (?:INPUT|DOCKER-USER) -[io] \S+ -j LONGSHORE-[0-9a-f]{8}(?:-IN)?$/;
const CHECK_MILLIS = 10_000;

export interface RuleFacts {
  /** Tells this installation's chains from another's: eight hexadecimal digits. */
  readonly tag: string;
  readonly bridge: string;
  readonly subnet: IpRange;
  /** Resolvers that sandboxes are given; reached on port 53 alone, even where they are private. */
  readonly nameservers: readonly IpRange[];
  readonly policy: Pick<EgressSettings, "allow" | "deny">;
}

/** What packets through the host meet that come from a sandbox or go to one, in order; the first that fits decides. */
export function forwardRules({ bridge, subnet, nameservers, policy }: RuleFacts): string[][] {
  const refused = [...LOCAL_RANGES, ...policy.deny, ...PRIVATE_RANGES, subnet];
  return [
    ["-i", bridge, "-o", bridge, ...REFUSE],
    // Only answers come in: no neighbour of this host may open a connection into a sandbox.
    ["-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "RETURN"],
    ["-o", bridge, "-j", "DROP"],
    ["!", "-s", formatIpRange(subnet), "-j", "DROP"],
    [
      ...["-m", "conntrack", "--ctstate", "NEW"],
      ...["-m", "connlimit", "--connlimit-above", String(CONNECTIONS_PER_SANDBOX)],
      ...["--connlimit-mask", "32", "--connlimit-saddr"],
      ...REFUSE,
    ],
    ...nameservers.flatMap((server) =>
      ["udp", "tcp"].map((protocol) => [
        ...["-d", formatIpRange(server), "-p", protocol],
        ...["-m", protocol, "--dport", "53", "-j", "RETURN"],
      ]),
    ),
    ...policy.allow.map(({ range, port }) => [
      ...["-d", formatIpRange(range)],
      ...(port === null ? [] : ["-p", "tcp", "-m", "tcp", "--dport", String(port)]),
      ...["-j", "RETURN"],
    ]),
    ...refused.map((range) => ["-d", formatIpRange(range), ...REFUSE]),
  ];
}

/** The same for packets to the host itself, at any of its addresses; `openPort` is for the proof's own moment. */
export function inputRules(openPort: number | undefined): string[][] {
  if (openPort === undefined) return [REFUSE];
  return [["-p", "tcp", "-m", "tcp", "--dport", String(openPort), "-j", "ACCEPT"], REFUSE];
}

export interface Jump {
  readonly from: string;
  readonly rule: readonly string[];
}

/** Both of our chains, set and checked as a whole. */
export class EgressRules {
  readonly #iptables: string;
  readonly #chain: string;
  readonly #inputChain: string;
  #facts: RuleFacts;
  /** Our chains as iptables reads them back, which is not always how they were written. */
  #installed: readonly string[] = [];

  constructor(facts: RuleFacts, iptables: string) {
    this.#facts = facts;
    this.#iptables = iptables;
    this.#chain = chainName(facts.tag);
    this.#inputChain = `${this.#chain}-IN`;
  }

  /** One transaction: at no moment is a sandbox without rules, also while rules of an earlier server are replaced. */
  async apply(facts: RuleFacts, openPort?: number): Promise<void> {
    this.#facts = facts;
    const forward = forwardRules(facts);
    const input = inputRules(openPort);
    const present = await this.#read();
    const lines = [
      "*filter",
      `:${this.#chain} - [0:0]`,
      `:${this.#inputChain} - [0:0]`,
      ...forward.map((rule) => `-A ${this.#chain} ${rule.join(" ")}`),
      ...input.map((rule) => `-A ${this.#inputChain} ${rule.join(" ")}`),
      ...this.#jumps().flatMap(({ from, rule }) => {
        const text = `${from} ${rule.join(" ")}`;
        const old = present.filter((line) => line === `-A ${text}`);
        return [...old.map(() => `-D ${text}`), `-I ${from} 1 ${rule.join(" ")}`];
      }),
      "COMMIT",
      "",
    ];
    await runCommand(`${this.#iptables}-restore`, ["-w", "--noflush"], CHECK_MILLIS, lines.join("\n"));
    const now = await this.#read();
    this.#installed = this.#ours(now);
    if (this.#installed.length !== forward.length + input.length)
      throw new Error(
        `${this.#installed.length} of ${forward.length + input.length} packet rules are in place`,
      );
  }

  /** Whether our chains are as they were set, and are still what packets of the bridge meet first. */
  async hold(): Promise<boolean> {
    const lines = await this.#read();
    const ours = this.#ours(lines);
    if (ours.length === 0 || ours.join("\n") !== this.#installed.join("\n")) return false;
    return this.#jumps().every(({ from, rule }) => {
      const inChain = lines.filter((line) => line.startsWith(`-A ${from} `));
      const at = inChain.indexOf(`-A ${from} ${rule.join(" ")}`);
      return at >= 0 && inChain.slice(0, at).every((line) => ANY_JUMP.test(line));
    });
  }

  #jumps(): Jump[] {
    const { bridge } = this.#facts;
    return [
      { from: "INPUT", rule: ["-i", bridge, "-j", this.#inputChain] },
      { from: "DOCKER-USER", rule: ["-o", bridge, "-j", this.#chain] },
      { from: "DOCKER-USER", rule: ["-i", bridge, "-j", this.#chain] },
    ];
  }

  #ours(lines: readonly string[]): string[] {
    return lines.filter(
      (line) => line.startsWith(`-A ${this.#chain} `) || line.startsWith(`-A ${this.#inputChain} `),
    );
  }

  #read(): Promise<string[]> {
    return readTable(this.#iptables);
  }
}

/** Takes the chains of a tag away and whatever leads to them; answers whether there were any. */
export async function removeRules(tag: string, iptables: string): Promise<boolean> {
  let lines: string[];
  try {
    lines = await readTable(iptables);
  } catch (error) {
    // Without iptables on this host there can be no rules of ours.
    if (error instanceof CommandFailed && errnoOf(error.cause) === "ENOENT") return false;
    throw error;
  }
  const chains = [chainName(tag), `${chainName(tag)}-IN`];
  const present = chains.filter((chain) => lines.includes(`-N ${chain}`));
  if (present.length === 0) return false;
  const jumps = lines.filter((line) => chains.some((chain) => line.endsWith(` -j ${chain}`)));
  const script = [
    "*filter",
    ...jumps.map((line) => line.replace(/^-A/, "-D")),
    ...present.map((chain) => `-F ${chain}`),
    ...present.map((chain) => `-X ${chain}`),
    "COMMIT",
    "",
  ];
  await runCommand(`${iptables}-restore`, ["-w", "--noflush"], CHECK_MILLIS, script.join("\n"));
  return true;
}

/** Whether dockerd keeps its rules where this iptables looks, with the chain that it leaves to others. */
export async function hasUserChain(iptables: string): Promise<boolean> {
  return (await readTable(iptables)).includes("-N DOCKER-USER");
}

async function readTable(iptables: string): Promise<string[]> {
  return (await runCommand(iptables, ["-w", "-S"], CHECK_MILLIS)).split("\n");
}

function chainName(tag: string): string {
  return `LONGSHORE-${tag}`;
}
