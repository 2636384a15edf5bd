/** What gRPC says of a connection that did not come about, and what people can do about it; the first that fits. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [
    /alert (?:certificate required|bad certificate|unknown ca)|handshake failure/i,
    "it asks for a certificate of yours that it knows: --tls-cert FILE --tls-key FILE",
  ],
  [
    /certificate|altnames/i,
    "its certificate is not to be trusted as it is: name its authority with --tls-ca FILE, and the server as the certificate does",
  ],
  [
    /wrong version number/i,
    "it does not speak TLS: leave out --tls and --tls-ca, LONGSHORE_TLS and LONGSHORE_TLS_CA",
  ],
  [
    /Failed to connect|ECONNRESET/i,
    "something listens there and hung up; it may ask for TLS: --tls, or --tls-ca FILE",
  ],
];

/** Lines for a server that did not answer at all. */
export function describeUnreachable(message: string, server: string): string[] {
  const advice = REASONS.find(([pattern]) => pattern.test(message))?.[1];
  if (advice !== undefined) return [`error: no connection to the server at ${server}`, `  ${advice}`];
  return [
    `error: no server answers at ${server}`,
    "  start one with scripts/serve, or name another with --server or LONGSHORE_SERVER",
  ];
}
