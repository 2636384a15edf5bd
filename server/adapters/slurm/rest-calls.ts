import { type IncomingMessage, type RequestOptions, request as requestPlain } from "node:http";
import { request as requestSecure } from "node:https";
import { SystemFault, Unavailable } from "../../domain/errors.ts";
import { readRestToken } from "./rest-token.ts";

const TIMEOUT_MILLIS = 30_000;
/** About ten thousand jobs. */
const MOST_ANSWER_BYTES = 64 * 2 ** 20;
/** Answers of a proxy in front of it. */
const PROXY_SAYS_AWAY = new Set([502, 503, 504]);

/** How to reach a site's slurmrestd. */
export interface RestAccess {
  /** http://HOST:PORT, https://HOST:PORT or unix:/PATH. */
  readonly url: string;
  /** As whom the token lets us ask; jobs run as this user. */
  readonly user: string;
  /** Read again at each call, so that the operator may renew it at any time. */
  readonly tokenFile: string;
  /** PEM of the authorities that are trusted for https; null for those of Node.js. */
  readonly caFile: string | null;
}

export interface RestAnswer {
  readonly status: number;
  /** Undefined where it is no JSON. */
  readonly body: unknown;
}

/** Calls of slurmrestd, one connection each: it tells nobody when it closes an idle one, and a submission must not be sent twice. */
export class RestCalls {
  readonly #access: RestAccess;
  readonly #secure: boolean;
  readonly #options: RequestOptions & { readonly ca?: string };
  readonly #base: string;

  constructor(access: RestAccess, certificates: string | null) {
    this.#access = access;
    const socketPath = access.url.startsWith("unix:") ? access.url.slice("unix:".length) : undefined;
    const url = new URL(socketPath === undefined ? access.url : "http://localhost");
    this.#secure = url.protocol === "https:";
    this.#base = url.pathname.replace(/\/$/, "");
    this.#options = {
      ...(socketPath === undefined ? { hostname: url.hostname.replace(/^\[|\]$/g, "") } : { socketPath }),
      ...(url.port !== "" && { port: url.port }),
      ...(certificates !== null && { ca: certificates }),
      agent: false,
    };
  }

  get where(): string {
    return `slurmrestd at ${this.#access.url}`;
  }

  /** Throws Unavailable where it does not answer or takes no token. */
  async call(method: "GET" | "POST" | "DELETE", path: string, content?: unknown): Promise<RestAnswer> {
    const { user, tokenFile } = this.#access;
    const token = await readRestToken(tokenFile, new Date());
    const text = content === undefined ? undefined : JSON.stringify(content);
    const headers = {
      "x-slurm-user-name": user,
      "x-slurm-user-token": token,
      accept: "application/json",
      ...(text !== undefined && {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(text),
      }),
    };
    const options = { ...this.#options, method, path: `${this.#base}${path}`, headers };
    const { status, bytes } = await this.#send(options, text);
    if (status === 401 || status === 403)
      throw new Unavailable(`${this.where} does not let ${user} in with the token in ${tokenFile}`);
    if (PROXY_SAYS_AWAY.has(status)) throw new Unavailable(`${this.where} answered with ${status}`);
    return { status, body: parsed(bytes) };
  }

  async #send(options: RequestOptions, text: string | undefined): Promise<{ status: number; bytes: Buffer }> {
    try {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        const signal = AbortSignal.timeout(TIMEOUT_MILLIS);
        const request = (this.#secure ? requestSecure : requestPlain)({ ...options, signal }, resolve);
        request.on("error", reject);
        request.end(text);
      });
      return { status: answer.statusCode ?? 0, bytes: await this.#read(answer) };
    } catch (cause) {
      if (cause instanceof SystemFault) throw cause;
      throw new Unavailable(`${this.where} does not answer: ${String(cause)}`, 1000, { cause });
    }
  }

  async #read(answer: IncomingMessage): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of answer) {
      length += chunk.length;
      if (length > MOST_ANSWER_BYTES)
        throw new SystemFault(
          `${this.where} answers with more than ${MOST_ANSWER_BYTES / 2 ** 20} MiB; use Slurm's tools for a cluster of so many jobs`,
        );
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    // Its words for a fault of its own, or a proxy's page: the status says enough.
    return undefined;
  }
}
