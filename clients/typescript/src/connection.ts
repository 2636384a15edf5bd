import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { credentials as grpcCredentials } from "@grpc/grpc-js";
import type { ChannelOptions } from "./channel.ts";
import { LongshoreError } from "./errors.ts";

/** PEM texts; without `ca` the authorities that Node.js knows are trusted. */
export interface TlsOptions {
  readonly ca?: string | Uint8Array;
  /** This client's own certificate and its key, where the server asks for one. */
  readonly certificate?: string | Uint8Array;
  readonly key?: string | Uint8Array;
}

export interface LongshoreOptions extends ChannelOptions {
  /** Shows the server who calls; a function is asked anew for each call, so that it can be renewed. */
  readonly token?: string | (() => string | Promise<string>);
  /** A file with the token, read anew for each call. */
  readonly tokenFile?: string;
  /** Encrypts the connection. */
  readonly tls?: boolean | TlsOptions;
  /** Sends a token to another machine without TLS: whoever reads the traffic has it then. */
  readonly allowInsecure?: boolean;
}

/** What went wrong with the settings of a connection, before anything was sent. */
export class BadConnection extends LongshoreError {
  constructor(message: string, options: ErrorOptions = {}) {
    super(message, { code: "INVALID_ARGUMENT", reason: "BAD_CONNECTION", ...options });
  }
}

/** Where people and deployments set a connection; names of the variables are those of every client of Longshore. */
export interface ConnectionVariables {
  readonly LONGSHORE_TOKEN?: string;
  readonly LONGSHORE_TOKEN_FILE?: string;
  /** "true" encrypts and trusts the authorities that Node.js knows. */
  readonly LONGSHORE_TLS?: string;
  /** Files: authorities to trust, own certificate, its key. Each turns TLS on. */
  readonly LONGSHORE_TLS_CA?: string;
  readonly LONGSHORE_TLS_CLIENT_CERT?: string;
  readonly LONGSHORE_TLS_CLIENT_KEY?: string;
  readonly LONGSHORE_ALLOW_INSECURE?: string;
}

/**
 * Connection options from environment variables; empty ones count as unset. `names` says what else people called one of them, such
 * as an option of theirs. Throws BadConnection for files that cannot be read, or hold something else.
 */
export function optionsFromEnvironment(
  env: ConnectionVariables,
  names: { readonly [Name in keyof ConnectionVariables]?: string } = {},
): LongshoreOptions {
  const file = (name: keyof ConnectionVariables, kind: Pem) => {
    const path = env[name] ?? "";
    return path === "" ? undefined : readPem(path, names[name] ?? name, kind);
  };
  const pems = {
    ca: file("LONGSHORE_TLS_CA", "certificate"),
    certificate: file("LONGSHORE_TLS_CLIENT_CERT", "certificate"),
    key: file("LONGSHORE_TLS_CLIENT_KEY", "key"),
  };
  const asked = Object.values(pems).some((pem) => pem !== undefined);
  return {
    token: env.LONGSHORE_TOKEN || undefined,
    tokenFile: env.LONGSHORE_TOKEN_FILE || undefined,
    tls: asked ? pems : env.LONGSHORE_TLS === "true",
    allowInsecure: env.LONGSHORE_ALLOW_INSECURE === "true",
  };
}

/** The connection as the channel takes it. Throws BadConnection. */
export function channelOptions(address: string, options: LongshoreOptions): ChannelOptions {
  const { token, tokenFile, tls = false, allowInsecure = false, ...rest } = options;
  const credentials =
    rest.credentials ?? (tls === false ? undefined : tlsCredentials(tls === true ? {} : tls));
  if (token === undefined && tokenFile === undefined) return { ...rest, credentials };
  if (token !== undefined && tokenFile !== undefined)
    throw new BadConnection("both a token and a file with one were given; give one of them");
  if (credentials === undefined && !allowInsecure && !isLocal(address)) {
    throw new BadConnection(
      `the token would go to ${address} for everybody on the way to read: turn TLS on (--tls or --tls-ca FILE, LONGSHORE_TLS=true), ` +
        "or set LONGSHORE_ALLOW_INSECURE=true if the network is trusted",
    );
  }
  const given = rest.metadata;
  const metadata = async () => {
    const authorization = `Bearer ${await readToken(token, tokenFile)}`;
    return { ...(typeof given === "function" ? await given() : given), authorization };
  };
  return { ...rest, credentials, metadata };
}

function tlsCredentials({ ca, certificate, key }: TlsOptions) {
  requirePem("ca", ca, "certificate");
  requirePem("certificate", certificate, "certificate");
  requirePem("key", key, "key");
  if ((certificate === undefined) !== (key === undefined))
    throw new BadConnection("a client's certificate and its key belong together; give both");
  const pem = (text: string | Uint8Array | undefined) => (text === undefined ? null : Buffer.from(text));
  try {
    return grpcCredentials.createSsl(pem(ca), pem(key), pem(certificate));
  } catch (cause) {
    throw new BadConnection("the TLS certificates or the key are not what they should be, as PEM", { cause });
  }
}

function requirePem(option: keyof TlsOptions, text: string | Uint8Array | undefined, kind: Pem): void {
  if (text === undefined || PEM[kind].test(Buffer.from(text).toString("latin1"))) return;
  throw new BadConnection(
    `tls.${option} holds no ${kind} as PEM; it is the text itself, not the path of a file`,
  );
}

async function readToken(token: LongshoreOptions["token"], file: string | undefined): Promise<string> {
  const text =
    file === undefined ? await (typeof token === "function" ? token() : token) : await readText(file);
  const trimmed = (text ?? "").trim();
  // gRPC would refuse other bytes in metadata with an error that shows them.
  if (/^[\x21-\x7e]+$/.test(trimmed)) return trimmed;
  throw new BadConnection("the token is empty or holds characters that no token has");
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new BadConnection(`the token file ${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

type Pem = keyof typeof PEM;

const PEM = {
  certificate: /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/,
  key: /-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----/,
} as const;

/** OpenSSL takes authorities without a single certificate, and later trusts no server at all. */
function readPem(path: string, name: string, kind: Pem): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new BadConnection(`${name} ${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
  if (PEM[kind].test(bytes.toString("latin1"))) return bytes;
  throw new BadConnection(`${name} ${path} holds no ${kind} as PEM (-----BEGIN ...)`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Traffic to these stays on the machine. */
function isLocal(address: string): boolean {
  if (address.startsWith("unix:")) return true;
  const target = address.replace(/^(?:dns|ipv4|ipv6):(?:\/\/[^/]*\/)?/, "");
  return /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]|::1)(?::\d+)?$/.test(target);
}
