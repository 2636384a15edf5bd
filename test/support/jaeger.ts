/** A real Jaeger on this machine's loopback, for as long as a test takes. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";

const PROGRAM = "jaeger-all-in-one";
const PORTS = [
  "collector.otlp.grpc",
  "collector.otlp.http",
  "query.http-server",
  "query.grpc-server",
  "admin.http",
  "collector.grpc-server",
  "collector.http-server",
] as const;

const span = z.object({
  traceID: z.string(),
  spanID: z.string(),
  operationName: z.string(),
  references: z.array(z.object({ refType: z.string(), traceID: z.string(), spanID: z.string() })),
  /** Microseconds. */
  startTime: z.number(),
  duration: z.number(),
  tags: z.array(z.object({ key: z.string(), value: z.unknown() })),
  logs: z.array(
    z.object({ timestamp: z.number(), fields: z.array(z.object({ key: z.string(), value: z.unknown() })) }),
  ),
  processID: z.string(),
  warnings: z.array(z.string()).nullable(),
});
const answer = z.object({ data: z.array(z.object({ spans: z.array(span) })) });

export type JaegerSpan = z.infer<typeof span>;

/** Why there is none to be had here; undefined where there is. */
export function whyNoJaeger(): string | undefined {
  return spawnSync(PROGRAM, ["version"]).error === undefined
    ? undefined
    : `no ${PROGRAM} on PATH; scripts/test builds one where Go is`;
}

export class Jaeger implements AsyncDisposable {
  readonly otlpPort: number;
  readonly #queryPort: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, otlpPort: number, queryPort: number) {
    this.#child = child;
    this.otlpPort = otlpPort;
    this.#queryPort = queryPort;
  }

  static async start(signal: AbortSignal): Promise<Jaeger> {
    const ports = await freePorts(PORTS.length);
    const flags = PORTS.map((name, index) => `--${name}.host-port=127.0.0.1:${ports[index]}`);
    const child = spawn(PROGRAM, flags, {
      env: { PATH: process.env.PATH, SPAN_STORAGE_TYPE: "memory" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const [otlp = 0, , query = 0] = ports;
    const jaeger = new Jaeger(child, otlp, query);
    try {
      await jaeger.#ready(signal);
      return jaeger;
    } catch (error) {
      await jaeger[Symbol.asyncDispose]();
      throw error;
    }
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.otlpPort}`;
  }

  /** The trace once `enough` is true of it: what was sent takes a moment until it is found. */
  async trace(
    traceId: string,
    enough: (spans: readonly JaegerSpan[]) => boolean,
    signal: AbortSignal,
  ): Promise<JaegerSpan[]> {
    for (;;) {
      const response = await fetch(`http://127.0.0.1:${this.#queryPort}/api/traces/${traceId}`, { signal });
      const body: unknown = await response.json();
      const spans = response.ok ? (answer.parse(body).data[0]?.spans ?? []) : [];
      if (enough(spans)) return spans;
      await delay(100, undefined, { signal });
    }
  }

  async #ready(signal: AbortSignal): Promise<void> {
    const { stderr } = this.#child;
    if (stderr === null) throw new Error("Jaeger's log is not piped");
    const tail: string[] = [];
    const lines = createInterface({ input: stderr });
    const failed = once(this.#child, "exit", { signal }).then(([code]) => {
      throw new Error(`Jaeger ended with ${code}:\n${tail.slice(-10).join("\n")}`);
    });
    const serving = new Promise<void>((resolve) =>
      lines.on("line", (line) => {
        tail.push(line);
        if (line.includes("Query server started")) resolve();
      }),
    );
    await Promise.race([serving, failed]);
    // Its end is expected from here on.
    failed.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
}

/** Held together until all are known, so that none comes twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(async (server) => {
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const address = server.address();
      if (address === null || typeof address === "string") throw new Error("a listener has no port");
      return address.port;
    }),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
