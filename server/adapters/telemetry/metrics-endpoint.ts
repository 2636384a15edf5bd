import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { SystemFault } from "../../domain/errors.ts";
import type { Log } from "../../domain/ports/telemetry.ts";

/** Scrapers are few; whoever else comes waits. */
const MOST_CONNECTIONS = 32;
const REQUEST_MILLIS = 5_000;

export interface MetricsEndpoint extends AsyncDisposable {
  /** host:port, the port as it was bound. */
  readonly address: string;
}

/** Serves `text` under /metrics and nothing else. Throws SystemFault where it cannot listen. */
export async function openMetricsEndpoint(
  listen: string,
  text: () => Promise<string>,
  log: Log,
): Promise<MetricsEndpoint> {
  const [, host = "", port = "0"] = /^\[?(.*?)\]?:(\d+)$/.exec(listen) ?? [];
  const server = createServer(
    { headersTimeout: REQUEST_MILLIS, requestTimeout: REQUEST_MILLIS },
    (request, response) => void answer(request, response, text, log),
  );
  server.maxConnections = MOST_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(
        new SystemFault(
          `LONGSHORE_METRICS_ADDRESS ${listen} cannot be listened on: ${error.message}`,
          {},
          { cause: error },
        ),
      ),
    );
    server.listen({ host, port: Number(port) }, resolve);
  });
  server.on("error", (error) => log.error("the metrics endpoint failed", { error: String(error) }));
  // A server that listens on a port has an AddressInfo; the other forms are those of pipes.
  const bound = server.address() as AddressInfo;
  return {
    address: listen.replace(/:\d+$/, `:${bound.port}`),
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  text: () => Promise<string>,
  log: Log,
): Promise<void> {
  const end = (status: number, body: string, headers: Record<string, string> = {}) =>
    response.writeHead(status, { "content-type": "text/plain; charset=utf-8", ...headers }).end(body);
  if (request.url?.split("?")[0] !== "/metrics") return void end(404, "the figures are at /metrics\n");
  if (request.method !== "GET" && request.method !== "HEAD")
    return void end(405, "only GET\n", { allow: "GET, HEAD" });
  try {
    end(200, await text(), { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  } catch (error) {
    log.error("the metrics could not be read", { error: String(error) });
    end(500, "the metrics could not be read; the server's log says why\n");
  }
}
