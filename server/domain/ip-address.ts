import {
  type IpRange,
  type IpTarget,
  LOCAL_RANGES,
  overlap,
  PRIVATE_RANGES,
  parseIpRange,
} from "./ip-range.ts";

/** Of LOCAL_RANGES, what configuration may open nevertheless: a receiver on the server's own host. */
const LOOPBACK: readonly IpRange[] = [{ first: 127 * 2 ** 24, bits: 8 }];
const BITS = 128;

/** Why the server must not connect there for somebody else; undefined for a public address and an allowed one. */
export function whyNotPublic(
  address: string,
  port: number,
  allowed: readonly IpTarget[],
): string | undefined {
  const v4 = parseIpRange(address);
  if (v4 !== undefined) return v4.bits === 32 ? whyNotPublicV4(v4, address, port, allowed) : "is no address";
  const v6 = parseIpv6(address);
  if (v6 === undefined) return "is no address";
  const inner = embeddedV4(v6);
  if (inner !== undefined) return whyNotPublicV4(inner, address, port, allowed);
  // Loopback, link-local, unique local (clouds' metadata among them), multicast: whatever is not global unicast.
  if (!isWithin(v6, "2000::", 3)) return `${address} is not a public address`;
  const special = SPECIAL.find(([prefix, bits]) => isWithin(v6, prefix, bits));
  return special === undefined ? undefined : `${address} is not a public address`;
}

/** Of global unicast: tunnels that carry an address of somebody's choice, protocols' and documentation's own. */
const SPECIAL: readonly (readonly [string, number])[] = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["3fff::", 20],
];

function whyNotPublicV4(
  one: IpRange,
  address: string,
  port: number,
  allowed: readonly IpTarget[],
): string | undefined {
  const within = (ranges: readonly IpRange[]) => ranges.some((range) => overlap(range, one));
  const isAllowed = allowed.some(
    (target) => overlap(target.range, one) && (target.port === null || target.port === port),
  );
  if (within(LOCAL_RANGES) && !(within(LOOPBACK) && isAllowed))
    return `${address} belongs to this host, its link or a cloud's metadata service`;
  if (within(PRIVATE_RANGES) && !isAllowed) return `${address} belongs to a private network`;
  return undefined;
}

/** The IPv4 address that packets to an IPv6 address would come to; undefined for any other. */
function embeddedV4(v6: bigint): IpRange | undefined {
  const low = (shift: bigint): IpRange => ({ first: Number((v6 >> shift) & 0xffff_ffffn), bits: 32 });
  // Mapped, translated (NAT64 and its older form), and 6to4, whose address stands behind its first 16 bits.
  if (isWithin(v6, "::ffff:0:0", 96) || isWithin(v6, "::ffff:0:0:0", 96) || isWithin(v6, "64:ff9b::", 96))
    return low(0n);
  if (isWithin(v6, "2002::", 16)) return low(80n);
  return undefined;
}

function isWithin(address: bigint, prefix: string, bits: number): boolean {
  const start = parseIpv6(prefix);
  const shift = BigInt(BITS - bits);
  return start !== undefined && address >> shift === start >> shift;
}

/** Reads every way of writing an IPv6 address, with an IPv4 one at its end, too; undefined for anything else, and for a zone. */
export function parseIpv6(text: string): bigint | undefined {
  const halves = withoutV4Tail(text)?.split("::");
  if (halves === undefined || halves.length > 2) return undefined;
  const [head = [], tail = []] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...Array.from({ length: missing }, () => "0"), ...tail];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

/** "::ffff:1.2.3.4" as "::ffff:102:304". */
function withoutV4Tail(text: string): string | undefined {
  const match = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (match === null) return text;
  const [, head = "", tail = ""] = match;
  const v4 = parseIpRange(tail);
  if (v4 === undefined) return undefined;
  return `${head}${Math.floor(v4.first / 65_536).toString(16)}:${(v4.first % 65_536).toString(16)}`;
}
