import type { Values } from "./settings.ts";

/** Who may call, and how connections are secured. */
export interface AccessConfig {
  readonly auth: "none" | "tokens";
  /** Null serves without TLS. */
  readonly tls: {
    readonly certificate: string;
    readonly key: string;
    readonly clientAuthorities: string | null;
  } | null;
}

const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/;

export function accessProblems(v: Values): string[] {
  return [...tlsProblems(v), ...exposureProblems(v)];
}

function tlsProblems(v: Values): string[] {
  const problems: string[] = [];
  const { LONGSHORE_TLS_CERT: cert, LONGSHORE_TLS_KEY: key, LONGSHORE_TLS_CLIENT_CA: authorities } = v;
  if (cert !== "" && key === "")
    problems.push("LONGSHORE_TLS_CERT is set without LONGSHORE_TLS_KEY, its key");
  if (cert === "" && key !== "")
    problems.push("LONGSHORE_TLS_KEY is set without LONGSHORE_TLS_CERT, the certificate that it belongs to");
  if (cert === "" && authorities !== "")
    problems.push(
      "LONGSHORE_TLS_CLIENT_CA is set without LONGSHORE_TLS_CERT and LONGSHORE_TLS_KEY; certificates of clients are part of TLS",
    );
  return problems;
}

/** What reaches other machines needs to know its callers and to hide what they say. */
function exposureProblems(v: Values): string[] {
  const host = v.LONGSHORE_LISTEN.replace(/:\d+$/, "");
  if (LOOPBACK.test(host) || v.LONGSHORE_ALLOW_INSECURE) return [];
  const missing = [
    ...(v.LONGSHORE_AUTH === "none" ? ["tokens (LONGSHORE_AUTH=tokens)"] : []),
    ...(v.LONGSHORE_TLS_CERT === "" ? ["TLS (LONGSHORE_TLS_CERT and LONGSHORE_TLS_KEY)"] : []),
  ];
  if (missing.length === 0) return [];
  return [
    `LONGSHORE_LISTEN ${v.LONGSHORE_LISTEN} is reached from other machines; that needs ${missing.join(" and ")}. ` +
      "Set these, listen on 127.0.0.1, or set LONGSHORE_ALLOW_INSECURE=true if the network is trusted",
  ];
}

export function toAccessConfig(v: Values): AccessConfig {
  const { LONGSHORE_TLS_CERT: certificate, LONGSHORE_TLS_KEY: key, LONGSHORE_TLS_CLIENT_CA: authorities } = v;
  return {
    auth: v.LONGSHORE_AUTH,
    tls:
      certificate === ""
        ? null
        : { certificate, key, clientAuthorities: authorities === "" ? null : authorities },
  };
}
