import { SystemFault } from "../../domain/errors.ts";
import { formatIpRange, type IpRange, LOCAL_RANGES, PRIVATE_RANGES } from "../../domain/ip-range.ts";
import { errnoOf } from "../sandbox/errno.ts";
import { CommandFailed, runCommand } from "./command.ts";
import type { EgressSettings, OnlyTarget } from "./options.ts";

/** Entries in the host's table of connections that one sandbox may hold: all of them together must not fill it. */
const CONNECTIONS_PER_SANDBOX = 1024;
const MANY_CONNECTIONS: readonly string[] = [
  ...["-m", "conntrack", "--ctstate", "NEW"],
  ...["-m", "connlimit", "--connlimit-above", String(CONNECTIONS_PER_SANDBOX)],
  ...["--connlimit-mask", "32", "--connlimit-saddr"],
];
/** The kernel answers for the refused address, so that a program learns it at once; its ICMP answers are rationed, resets are not. */
const REFUSALS: readonly string[][] = [
  ["-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"],
  ["-j", "REJECT", "--reject-with", "icmp-admin-prohibited"],
];
/** What may stand before our jumps: another server's, for its own bridge, and the way to the chain where ours come first. */
const HARMLESS = /^-A (?:\S+ -[io] \S+ -j LONGSHORE-[0-9a-f]{8}(?:-\w+)?|FORWARD -j DOCKER-USER)$/;
const JUMP = /^-A (?:INPUT|FORWARD|DOCKER-USER) /;
const TIMEOUT_MILLIS = 10_000;

export interface RuleFacts {
  /** Tells this installation's chains from another's: eight hexadecimal digits. */
  readonly tag: string;
  readonly bridge: string;
  readonly subnet: IpRange;
  /** Resolvers that sandboxes are given; reached on port 53 alone, even where they are private. */
  readonly nameservers: readonly IpRange[];
  readonly policy: Pick<EgressSettings, "allow" | "deny" | "only">;
}

/** Our chains and their rules in order; the first that fits a packet decides. */
export type Chains = Readonly<Record<string, readonly (readonly string[])[]>>;

/** `openPort` of the host is for the proof's own moment. */
export function egressChains(facts: RuleFacts, openPort?: number): Chains {
  const { counted, passing, entering, refused } = chainNames(facts.tag);
  const control =
    openPort === undefined ? [] : [["-p", "tcp", "-m", "tcp", "--dport", String(openPort), "-j", "ACCEPT"]];
  return {
    [refused]: REFUSALS,
    [passing]: passingRules(facts, ["-j", refused]),
    // Apart from what is met twice: a packet that meets this twice is counted twice.
    [counted]: [
      [...MANY_CONNECTIONS, "-j", refused],
      ["-j", passing],
    ],
    // The host itself, at any of its addresses.
    [entering]: [...control, ...onlyTarget(facts.policy.only, "ACCEPT"), ["-j", refused]],
  };
}

/** What packets through the host meet that come from a sandbox or go to one. */
function passingRules({ bridge, subnet, nameservers, policy }: RuleFacts, refuse: string[]): string[][] {
  const common = [
    ["-i", bridge, "-o", bridge, ...refuse],
    // Only answers come in: no neighbour of this host may open a connection into a sandbox.
    ["-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "RETURN"],
    ["-o", bridge, "-j", "DROP"],
    ["!", "-s", formatIpRange(subnet), "-j", "DROP"],
  ];
  if (policy.only !== undefined) return [...common, ...onlyTarget(policy.only, "RETURN"), refuse];
  const refused = [...LOCAL_RANGES, ...policy.deny, ...PRIVATE_RANGES, subnet];
  return [
    ...common,
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
    ...refused.map((range) => ["-d", formatIpRange(range), ...refuse]),
  ];
}

/** The one address and port that a network is for, where it is for one: elsewhere or this host's own. */
function onlyTarget(only: OnlyTarget | undefined, verdict: "ACCEPT" | "RETURN"): string[][] {
  if (only === undefined) return [];
  const { address, port } = only;
  return [["-d", `${address}/32`, "-p", "tcp", "-m", "tcp", "--dport", String(port), "-j", verdict]];
}

interface Jump {
  readonly from: string;
  readonly rule: readonly string[];
}

/** The chains, set and checked as a whole. */
export class EgressRules {
  readonly #iptables: string;
  #facts: RuleFacts;
  /** Our chains as iptables reads them back, which is not always how they were written. */
  #installed: readonly string[] = [];

  constructor(facts: RuleFacts, iptables: string) {
    this.#facts = facts;
    this.#iptables = iptables;
  }

  /** One transaction: at no moment is a sandbox without rules, also while rules of an earlier server are replaced. */
  async apply(facts: RuleFacts, openPort?: number): Promise<void> {
    this.#facts = facts;
    const chains = Object.entries(egressChains(facts, openPort));
    const present = await readTable(this.#iptables);
    const jumps = this.#jumps().flatMap(({ from, rule }) => {
      const text = `${from} ${rule.join(" ")}`;
      const old = present.filter((line) => line === `-A ${text}`);
      return [...old.map(() => `-D ${text}`), `-I ${from} 1 ${rule.join(" ")}`];
    });
    const rules = chains.flatMap(([chain, rules]) => rules.map((rule) => `-A ${chain} ${rule.join(" ")}`));
    await restore(this.#iptables, [...chains.map(([chain]) => `:${chain} - [0:0]`), ...rules, ...jumps]);
    this.#installed = this.#ours(await readTable(this.#iptables));
    if (this.#installed.length !== rules.length)
      throw new SystemFault(`only ${this.#installed.length} of ${rules.length} packet rules are in place`);
  }

  /** Whether our chains are as they were set, and are still what packets of the bridge meet first. */
  async hold(): Promise<boolean> {
    const lines = await readTable(this.#iptables);
    const ours = this.#ours(lines);
    if (ours.length === 0 || ours.join("\n") !== this.#installed.join("\n")) return false;
    return this.#jumps().every(({ from, rule }) => {
      const inChain = lines.filter((line) => line.startsWith(`-A ${from} `));
      const at = inChain.indexOf(`-A ${from} ${rule.join(" ")}`);
      return at >= 0 && inChain.slice(0, at).every((line) => HARMLESS.test(line));
    });
  }

  #jumps(): Jump[] {
    const { bridge, tag } = this.#facts;
    const { counted, passing, entering } = chainNames(tag);
    return [
      { from: "INPUT", rule: ["-i", bridge, "-j", entering] },
      { from: "DOCKER-USER", rule: ["-o", bridge, "-j", passing] },
      { from: "DOCKER-USER", rule: ["-i", bridge, "-j", counted] },
      // Docker puts its own rules before ours here, but DOCKER-USER before those; who flushes FORWARD loses the way to DOCKER-USER.
      { from: "FORWARD", rule: ["-o", bridge, "-j", passing] },
      { from: "FORWARD", rule: ["-i", bridge, "-j", passing] },
    ];
  }

  #ours(lines: readonly string[]): string[] {
    const chains = Object.values(chainNames(this.#facts.tag));
    return lines.filter((line) => chains.some((chain) => line.startsWith(`-A ${chain} `)));
  }
}

/** Takes the chains of a tag away and whatever leads to them. */
export async function removeRules(tag: string, iptables: string): Promise<void> {
  let lines: string[];
  try {
    lines = await readTable(iptables);
  } catch (error) {
    // Without iptables on this host there can be no rules of ours.
    if (error instanceof CommandFailed && errnoOf(error.cause) === "ENOENT") return;
    throw error;
  }
  const present = Object.values(chainNames(tag)).filter((chain) => lines.includes(`-N ${chain}`));
  if (present.length === 0) return;
  const jumps = lines.filter(
    (line) => JUMP.test(line) && present.some((chain) => line.endsWith(` -j ${chain}`)),
  );
  await restore(iptables, [
    ...jumps.map((line) => line.replace(/^-A/, "-D")),
    ...present.map((chain) => `-F ${chain}`),
    ...present.map((chain) => `-X ${chain}`),
  ]);
}

/** Whether dockerd keeps its rules where this iptables looks, with the chain that it leaves to others. */
export async function hasUserChain(iptables: string): Promise<boolean> {
  return (await readTable(iptables)).includes("-N DOCKER-USER");
}

async function readTable(iptables: string): Promise<string[]> {
  return (await runCommand(iptables, ["-w", "-S"], TIMEOUT_MILLIS)).split("\n");
}

async function restore(iptables: string, lines: readonly string[]): Promise<void> {
  const script = ["*filter", ...lines, "COMMIT", ""].join("\n");
  await runCommand(`${iptables}-restore`, ["-w", "--noflush"], TIMEOUT_MILLIS, script);
}

function chainNames(tag: string): Readonly<Record<"counted" | "passing" | "entering" | "refused", string>> {
  const name = `LONGSHORE-${tag}`;
  return { counted: `${name}-USER`, passing: name, entering: `${name}-IN`, refused: `${name}-NO` };
}
