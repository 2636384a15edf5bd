import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";

export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** How a receiver answers; one that never ends the response hangs. */
export type Behaviour = (response: ServerResponse, request: Received) => void;

export const answer =
  (status: number, headers: Record<string, string> = {}, body = ""): Behaviour =>
  (response) =>
    response.writeHead(status, headers).end(body);
export const hang: Behaviour = () => undefined;

/** Somebody else's server: behaves as told, request by request, and keeps what it was sent. */
export class WebhookReceiver implements AsyncDisposable {
  readonly received: Received[] = [];
  /** For the next requests; when there are none, `usual` answers. */
  readonly script: Behaviour[] = [];
  usual: Behaviour = answer(200);
  readonly #server;
  readonly #scheme: string;
  readonly #listeners = new Set<() => void>();

  private constructor(tls: { key: string; cert: string } | undefined) {
    const handle: Parameters<typeof createServer>[1] = async (request, response) => {
      const chunks = await Array.fromAsync(request as AsyncIterable<Buffer>);
      const body = Buffer.concat(chunks).toString("utf8");
      const one = { path: request.url ?? "", headers: request.headers, body };
      this.received.push(one);
      (this.script.shift() ?? this.usual)(response, one);
      for (const listener of this.#listeners) listener();
    };
    this.#scheme = tls === undefined ? "http" : "https";
    this.#server = tls === undefined ? createServer(handle) : createSecureServer(tls, handle);
  }

  static async start(tls?: { key: string; cert: string }): Promise<WebhookReceiver> {
    const receiver = new WebhookReceiver(tls);
    receiver.#server.listen(0, "127.0.0.1");
    await once(receiver.#server, "listening");
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  url(host = "127.0.0.1", path = "/hook"): string {
    return `${this.#scheme}://${host}:${this.port}${path}`;
  }

  /** The first `count` requests. */
  async first(count: number): Promise<readonly Received[]> {
    while (this.received.length < count) {
      await new Promise<void>((resolve) => {
        const listener = () => {
          this.#listeners.delete(listener);
          resolve();
        };
        this.#listeners.add(listener);
      });
    }
    return this.received.slice(0, count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** The event in a request; throws where its signature is not of the secret. */
// biome-ignore lint/suspicious/noExplicitAny: JSON, of which tests assert what they read
export function verified({ headers, body }: Received, secret: string): any {
  return new Webhook(secret).verify(body, headers as Record<string, string>);
}
