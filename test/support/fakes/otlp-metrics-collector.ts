import { join } from "node:path";
import { Server, ServerCredentials, type UntypedHandleCall } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { z } from "zod";

const PROTO = join(import.meta.dirname, "../../fixtures/otlp/metrics.proto");
const SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService";

const metric = z.object({ name: z.string(), description: z.string(), unit: z.string() });
const request = z.object({
  resourceMetrics: z.array(z.object({ scopeMetrics: z.array(z.object({ metrics: z.array(metric) })) })),
});

/** An OTLP receiver of metrics over real gRPC that keeps what they are called. */
export class OtlpMetricsCollector implements AsyncDisposable {
  readonly metrics = new Map<string, z.infer<typeof metric>>();
  readonly #server = new Server();
  #port = 0;

  static async listen(): Promise<OtlpMetricsCollector> {
    const collector = new OtlpMetricsCollector();
    await collector.#listen();
    return collector;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async #listen(): Promise<void> {
    const methods = loadSync(PROTO, { defaults: true, arrays: true })[SERVICE];
    // loadSync mixes services with messages, which carry a format.
    if (methods === undefined || "format" in methods) throw new Error(`${PROTO} has no service ${SERVICE}`);
    const exported: UntypedHandleCall = (
      call: { request: unknown },
      answer: (error: null, response: object) => void,
    ) => {
      for (const { scopeMetrics } of request.parse(call.request).resourceMetrics)
        for (const { metrics } of scopeMetrics) for (const told of metrics) this.metrics.set(told.name, told);
      answer(null, {});
    };
    this.#server.addService(methods, { Export: exported });
    this.#port = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
        error === null ? resolve(port) : reject(error),
      ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
  }
}
