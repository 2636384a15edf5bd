/** A block of IPv4 addresses, such as 10.0.0.0/8; one address is a block of 32 bits. */
export interface IpRange {
  /** Its first address as a number. */
  readonly first: number;
  readonly bits: number;
}

/** Addresses that tasks may reach although they are refused otherwise. */
export interface IpTarget {
  readonly range: IpRange;
  /** One TCP port; null means everything there. */
  readonly port: number | null;
}

/** Reads "10.0.0.0/8" or "10.1.2.3"; undefined for anything else, and for a block that does not begin where it says. */
export function parseIpRange(text: string): IpRange | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\/(\d{1,2}))?$/.exec(text);
  if (match === null) return undefined;
  const parts = match.slice(1, 5);
  const bits = Number(match[5] ?? 32);
  // "010" is eight to some readers and ten to others.
  if (bits > 32 || parts.some((part) => Number(part) > 255 || String(Number(part)) !== part))
    return undefined;
  const first = parts.reduce((sum, part) => sum * 256 + Number(part), 0);
  return first % 2 ** (32 - bits) === 0 ? { first, bits } : undefined;
}

/** Reads a block with an optional port: "10.1.2.3:5000". */
export function parseIpTarget(text: string): IpTarget | undefined {
  const [block, port, ...rest] = text.split(":");
  const range = parseIpRange(block ?? "");
  if (range === undefined || rest.length > 0) return undefined;
  if (port === undefined) return { range, port: null };
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) return undefined;
  return { range, port: Number(port) };
}

/** As iptables writes it: always with the number of bits. */
export function formatIpRange({ first, bits }: IpRange): string {
  const parts = [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256);
  return `${parts.join(".")}/${bits}`;
}

export function overlap(one: IpRange, other: IpRange): boolean {
  const size = 2 ** (32 - Math.min(one.bits, other.bits));
  return Math.floor(one.first / size) === Math.floor(other.first / size);
}

function ranges(...texts: string[]): IpRange[] {
  return texts.map((text) => {
    const range = parseIpRange(text);
    if (range === undefined) throw new RangeError(`${text} is no IPv4 range`);
    return range;
  });
}

/** Never to be reached, whatever is configured: this host's own, link-local with the clouds' metadata services, multicast, reserved. */
export const LOCAL_RANGES: readonly IpRange[] = ranges(
  "0.0.0.0/8",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/4",
  "240.0.0.0/4",
);

/** Not public: networks of homes, companies, providers and clouds. 192.0.0.192 and 168.63.129.16 are clouds' metadata services too. */
export const PRIVATE_RANGES: readonly IpRange[] = ranges(
  "10.0.0.0/8",
  "100.64.0.0/10",
  "168.63.129.16/32",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
);
