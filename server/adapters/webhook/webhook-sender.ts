import { type IncomingMessage, type RequestOptions, request as requestPlain } from "node:http";
import { request as requestSecure } from "node:https";
import { isIP, isIPv6, type LookupFunction } from "node:net";
import { Webhook } from "standardwebhooks";
import { whyNotPublic } from "../../domain/ip-address.ts";
import type { IpTarget } from "../../domain/ip-range.ts";
import type { Answer, DeliveryChannel, Message } from "../../domain/ports/delivery-channel.ts";
import {
  AddressRefused,
  checkedAddress,
  isLocalName,
  LOOPBACK_ADDRESS,
  type Resolve,
  resolveByDns,
} from "./checked-address.ts";

const MAX_URL_LENGTH = 2048;
const MAX_REDIRECTS = 3;
const MAX_RESPONSE_BYTES = 1024;
const MAX_RETRY_AFTER_MILLIS = 3_600_000;
const GONE = 410;
/** The most that configuration can allow. */
const EVERYTHING: readonly IpTarget[] = [{ range: { first: 0, bits: 0 }, port: null }];

export interface WebhookSenderOptions {
  /** Of one try with all its redirects. */
  readonly timeoutMillis: number;
  /** Addresses that may be connected to although they are not public. */
  readonly allowed: readonly IpTarget[];
  readonly allowHttp: boolean;
  /** PEM of authorities besides the usual ones; empty for none. */
  readonly authorities?: string;
  /** "longshore/VERSION". */
  readonly userAgent: string;
  readonly resolve?: Resolve;
}

/** POSTs signed messages to addresses that clients chose, and never to one that only this server can reach. */
export class WebhookSender implements DeliveryChannel {
  readonly #options: WebhookSenderOptions;

  constructor(options: WebhookSenderOptions) {
    this.#options = options;
  }

  problem(text: string): string | undefined {
    if (text.length > MAX_URL_LENGTH) return `has ${text.length} characters; at most ${MAX_URL_LENGTH}`;
    if (!URL.canParse(text)) return "is no address; give one such as https://example.com/hook";
    return this.#problemOf(new URL(text));
  }

  async send(message: Message, signal: AbortSignal): Promise<Answer> {
    const limit = AbortSignal.timeout(this.#options.timeoutMillis);
    const both = AbortSignal.any([signal, limit]);
    try {
      return await this.#follow(message, both);
    } catch (error) {
      signal.throwIfAborted();
      if (limit.aborted) return failed(`no answer within ${this.#options.timeoutMillis / 1000} s`);
      return failed(describe(error));
    }
  }

  #problemOf(url: URL): string | undefined {
    const { protocol, username, password, hostname } = url;
    if (protocol !== "https:" && !(protocol === "http:" && this.#options.allowHttp))
      return protocol === "http:"
        ? "is not encrypted; give an https address, or have the operator set LONGSHORE_WEBHOOK_HTTP"
        : "is no https address";
    if (username !== "" || password !== "")
      return "has a user or password in it, which would be shown in lists and logs; put a secret path into it, or check the signature";
    return this.#hostProblem(hostname.replace(/^\[(.*)\]$/, "$1"), portOf(url));
  }

  /** Of other names nobody knows before they are looked up, which each try does. */
  #hostProblem(host: string, port: number): string | undefined {
    const address = isLocalName(host) ? LOOPBACK_ADDRESS : host;
    if (isIP(address) === 0) return undefined;
    const why = whyNotPublic(address, port, this.#options.allowed);
    if (why === undefined) return undefined;
    const said = isLocalName(host) ? `${host}: ${why}` : why;
    if (whyNotPublic(address, port, EVERYTHING) !== undefined)
      return `${said}, which this server never sends to; give a public address`;
    const value = isIPv6(address) ? "" : `=${address}:${port}`;
    return `${said}, which this server does not send to; its operator can allow it with LONGSHORE_WEBHOOK_ALLOW${value}`;
  }

  async #follow(message: Message, signal: AbortSignal): Promise<Answer> {
    let url = new URL(message.url);
    for (let redirects = 0; ; redirects++) {
      const problem = this.#problemOf(url);
      const place = redirects === 0 ? "the address" : `the redirect to ${url.origin}`;
      if (problem !== undefined) return failed(`${place} ${problem}`);
      const response = await this.#post(url, message, signal);
      const { statusCode = 0, headers } = response;
      // The others turn a POST into a GET, which tells the receiver nothing.
      if ((statusCode !== 307 && statusCode !== 308) || headers.location === undefined)
        return await answerOf(response);
      response.destroy();
      if (redirects === MAX_REDIRECTS) return failed(`more than ${MAX_REDIRECTS} redirects`, statusCode);
      if (!URL.canParse(headers.location, url.href)) return failed("redirects to no address", statusCode);
      url = new URL(headers.location, url.href);
    }
  }

  async #post(url: URL, message: Message, signal: AbortSignal): Promise<IncomingMessage> {
    const { allowed, resolve = resolveByDns, authorities = "" } = this.#options;
    const address = await checkedAddress(url.hostname, portOf(url), allowed, resolve, signal);
    const options: RequestOptions & { ca?: string } = {
      method: "POST",
      headers: this.#headers(message),
      // A connection of its own: one that is kept might be of a name that has moved to another address.
      agent: false,
      lookup: only(address),
      signal,
      ...(authorities !== "" && { ca: authorities }),
    };
    const send = url.protocol === "https:" ? requestSecure : requestPlain;
    return await new Promise((answered, broken) => {
      const request = send(url, options, answered);
      request.on("error", broken);
      request.end(message.body);
    });
  }

  #headers({ id, body, time, secrets }: Message): Record<string, string | number> {
    const signatures = secrets.map((secret) => new Webhook(secret).sign(id, time, body));
    return {
      "content-type": "application/cloudevents+json; charset=utf-8",
      "content-length": Buffer.byteLength(body),
      "user-agent": this.#options.userAgent,
      "webhook-id": id,
      "webhook-timestamp": Math.floor(time.getTime() / 1000),
      "webhook-signature": signatures.join(" "),
    };
  }
}

function portOf({ protocol, port }: URL): number {
  if (port !== "") return Number(port);
  return protocol === "https:" ? 443 : 80;
}

/** The address that was checked, whatever the name stands for by now. */
function only(address: string): LookupFunction {
  const family = isIPv6(address) ? 6 : 4;
  return (_host, options, done) => {
    if (options.all === true) done(null, [{ address, family }]);
    else done(null, address, family);
  };
}

async function answerOf(response: IncomingMessage): Promise<Answer> {
  const { statusCode = 0, headers } = response;
  const text = await beginningOf(response);
  const retryAfter = Number(headers["retry-after"]);
  return {
    statusCode,
    error: statusCode >= 200 && statusCode < 300 ? "" : `answered with status ${statusCode}`,
    response: text,
    gone: statusCode === GONE,
    retryAfterMillis: retryAfter > 0 ? Math.min(retryAfter * 1000, MAX_RETRY_AFTER_MILLIS) : null,
  };
}

/** The rest is not read: it may have no end. */
async function beginningOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= MAX_RESPONSE_BYTES) break;
  }
  const text = Buffer.concat(chunks).subarray(0, MAX_RESPONSE_BYTES).toString("utf8");
  // People look at it in terminals, and PostgreSQL keeps no NUL.
  return text.replace(/[^\P{Cc}\n\t]/gu, "\uFFFD");
}

function failed(error: string, statusCode = 0): Answer {
  return { statusCode, error, response: "", gone: false, retryAfterMillis: null };
}

function describe(error: unknown): string {
  if (error instanceof AddressRefused) return `${error.message}, which this server does not send to`;
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  const known: Readonly<Record<string, string>> = {
    ENOTFOUND: "the name of the host is not known",
    ECONNREFUSED: "the connection was refused",
    ECONNRESET: "the connection was cut",
    EHOSTUNREACH: "the host cannot be reached",
    ENETUNREACH: "the host's network cannot be reached",
  };
  return known[code] ?? (error.message.slice(0, 300) || code || "the connection failed");
}
