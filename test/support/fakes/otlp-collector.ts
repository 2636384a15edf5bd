import { EventEmitter, once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { Server, ServerCredentials, type ServiceDefinition, type UntypedHandleCall } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { z } from "zod";

const PROTO = join(import.meta.dirname, "../../fixtures/otlp/trace.proto");

const hex = z.instanceof(Buffer).transform((bytes) => bytes.toString("hex"));
/** proto-loader hands 64-bit numbers out as text here; microseconds are whole in what the server sends. */
const micros = z.string().transform((nanos) => Number(BigInt(nanos) / 1_000n));

const attributes = z
  .array(
    z.object({
      key: z.string(),
      value: z.union([
        z.object({ stringValue: z.string() }).transform((value) => value.stringValue),
        z.object({ boolValue: z.boolean() }).transform((value) => value.boolValue),
        z.object({ intValue: z.string() }).transform((value) => Number(value.intValue)),
        z.object({ doubleValue: z.number() }).transform((value) => value.doubleValue),
        z.object({}).transform(() => undefined),
      ]),
    }),
  )
  .transform((list) => Object.fromEntries(list.map(({ key, value }) => [key, value])));

const event = z
  .object({ timeUnixNano: micros, name: z.string(), attributes })
  .transform(({ timeUnixNano, ...rest }) => ({ ...rest, micros: timeUnixNano }));

const span = z
  .object({
    traceId: hex,
    spanId: hex,
    parentSpanId: hex,
    name: z.string(),
    startTimeUnixNano: micros,
    endTimeUnixNano: micros,
    attributes,
    events: z.array(event),
    status: z.object({ code: z.number(), message: z.string() }).nullable(),
  })
  .transform(({ startTimeUnixNano, endTimeUnixNano, ...rest }) => ({
    ...rest,
    startMicros: startTimeUnixNano,
    endMicros: endTimeUnixNano,
  }));

const request = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes }),
      scopeSpans: z.array(z.object({ spans: z.array(span) })),
    }),
  ),
});

export type ReceivedSpan = z.infer<typeof span>;

/** A collector: an OTLP receiver over real gRPC or HTTP that keeps what it was sent. */
export class OtlpCollector implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  readonly resources: Record<string, unknown>[] = [];
  readonly port: number;
  readonly #stop: () => void;
  readonly #arrivals: EventEmitter;

  private constructor(stop: () => void, port: number, arrivals: EventEmitter) {
    this.#stop = stop;
    this.port = port;
    this.#arrivals = arrivals;
    arrivals.on("export", (message: unknown) => this.#keep(message));
  }

  /** `answers` false makes a collector that takes everything and never says so; `keeps` false one that forgets it at once. */
  static async listen({ port = 0, answers = true, keeps = true } = {}): Promise<OtlpCollector> {
    const arrivals = new EventEmitter();
    const exported: UntypedHandleCall = (
      call: { request: unknown },
      answer: (error: null, value: object) => void,
    ) => {
      if (keeps) arrivals.emit("export", call.request);
      if (answers) answer(null, {});
    };
    const server = new Server();
    server.addService(service(), { Export: exported });
    const bound = await new Promise<number>((resolve, reject) =>
      server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, chosen) =>
        error === null ? resolve(chosen) : reject(error),
      ),
    );
    return new OtlpCollector(() => server.forceShutdown(), bound, arrivals);
  }

  /** The same by protobuf over HTTP, under the path that the standard names. */
  static async listenHttp(): Promise<OtlpCollector> {
    const arrivals = new EventEmitter();
    const read = service().Export?.requestDeserialize;
    if (read === undefined) throw new Error(`${PROTO} has no Export`);
    const server = createServer(async (call, answer) => {
      const body = await buffer(call);
      if (call.method === "POST" && call.url === "/v1/traces") arrivals.emit("export", read(body));
      answer.writeHead(call.url === "/v1/traces" ? 200 : 404).end();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the collector has no port");
    const stop = () => {
      server.close();
      server.closeAllConnections();
    };
    return new OtlpCollector(stop, address.port, arrivals);
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async arrival(signal: AbortSignal): Promise<void> {
    if (this.spans.length === 0) await once(this.#arrivals, "export", { signal });
  }

  #keep(message: unknown): void {
    for (const { resource, scopeSpans } of request.parse(message).resourceSpans) {
      this.resources.push(resource.attributes);
      this.spans.push(...scopeSpans.flatMap((scope) => scope.spans));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
  }
}

function service(): ServiceDefinition {
  const definition = loadSync(PROTO, { defaults: true, longs: String, arrays: true });
  const name = "opentelemetry.proto.collector.trace.v1.TraceService";
  const methods = definition[name];
  // loadSync mixes services with messages, which carry a format.
  if (methods === undefined || "format" in methods) throw new Error(`${PROTO} has no service ${name}`);
  return methods;
}
