import { Resolver } from "node:dns/promises";
import { isIP } from "node:net";
import { whyNotPublic } from "../../domain/ip-address.ts";
import type { IpTarget } from "../../domain/ip-range.ts";

const LOOKUP_MILLIS = 3_000;
export const LOOPBACK_ADDRESS = "127.0.0.1";

/** Answers the addresses of a name; rejects where there are none. */
export type Resolve = (host: string, signal: AbortSignal) => Promise<readonly string[]>;

/** The address must not be connected to. */
export class AddressRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = "AddressRefused";
  }
}

/**
 * One address of a host that may be connected to. Whoever connects must take this one: a name that is looked up a second time may have
 * another answer by then (DNS rebinding).
 */
export async function checkedAddress(
  host: string,
  port: number,
  allowed: readonly IpTarget[],
  resolve: Resolve,
  signal: AbortSignal,
): Promise<string> {
  const literal = host.replace(/^\[(.*)\]$/, "$1");
  const addresses = isIP(literal) === 0 ? await resolve(literal, signal) : [literal];
  let refusal = `${host} has no address`;
  for (const address of addresses) {
    const why = whyNotPublic(address, port, allowed);
    if (why === undefined) return address;
    refusal = why;
  }
  throw new AddressRefused(refusal);
}

/** A name that stands for the server's own host, whatever a name server says of it (RFC 6761). */
export function isLocalName(host: string): boolean {
  return /(?:^|\.)localhost\.?$/i.test(host);
}

/**
 * Asks the name servers themselves. The system's own lookup waits in the few threads that the server's file access needs, too, and a
 * receiver chooses how slow its name server is.
 */
export const resolveByDns: Resolve = async (host, signal) => {
  if (isLocalName(host)) return [LOOPBACK_ADDRESS];
  const resolver = new Resolver({ timeout: LOOKUP_MILLIS, tries: 2 });
  const cancel = () => resolver.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const [v4, v6] = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    signal.throwIfAborted();
    const found = [v4, v6].flatMap((one) => (one.status === "fulfilled" ? one.value : []));
    if (found.length === 0 && v4.status === "rejected") throw v4.reason;
    return found;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
};
