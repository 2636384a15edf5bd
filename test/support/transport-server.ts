import { randomUUID } from "node:crypto";
import { credentials, type Interceptor } from "@grpc/grpc-js";
import { HealthClient } from "@longshore/proto/grpc/health/v1/health.ts";
import { AccessServiceClient } from "@longshore/proto/longshore/v1/access_service.ts";
import { BlobServiceClient } from "@longshore/proto/longshore/v1/blob_service.ts";
import { SystemServiceClient } from "@longshore/proto/longshore/v1/system_service.ts";
import { TaskServiceClient } from "@longshore/proto/longshore/v1/task_service.ts";
import { UsageServiceClient } from "@longshore/proto/longshore/v1/usage_service.ts";
import { WebhookServiceClient } from "@longshore/proto/longshore/v1/webhook_service.ts";
import type { Log } from "#server/domain/ports/telemetry.ts";
import type { Access, Application } from "#server/transport/application.ts";
import type { RateLimitOptions } from "#server/transport/rate-limits.ts";
import { type GrpcServer, startGrpcServer } from "#server/transport/server.ts";
import type { TlsCredentials } from "#server/transport/tls.ts";
import { AccessBench } from "./access-bench.ts";
import { CollectingMetrics } from "./fakes/collecting-metrics.ts";

export interface LogLine {
  readonly level: keyof Log;
  readonly message: string;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** Keeps what is logged. */
export class LogLines implements Log {
  readonly lines: LogLine[] = [];
  readonly debug = this.#keep("debug");
  readonly info = this.#keep("info");
  readonly warn = this.#keep("warn");
  readonly error = this.#keep("error");

  #keep(level: keyof Log): Log["info"] {
    return (message, facts = {}) => void this.lines.push({ level, message, facts });
  }
}

/** The transport over an application, on a free port of loopback, with clients; closed with the test. */
export class TransportServer implements AsyncDisposable {
  readonly server: GrpcServer;
  readonly log: LogLines;
  readonly metrics: CollectingMetrics;
  readonly tasks: TaskServiceClient;
  readonly blobs: BlobServiceClient;
  readonly system: SystemServiceClient;
  readonly access: AccessServiceClient;
  readonly usage: UsageServiceClient;
  readonly webhooks: WebhookServiceClient;
  readonly health: HealthClient;

  /** Without `access` everybody is the local user. */
  static async start(
    application: Application,
    interceptors: Interceptor[] = [],
    access?: Access,
    tls: TlsCredentials | null = null,
    rateLimits: RateLimitOptions | null = null,
  ): Promise<TransportServer> {
    const log = new LogLines();
    const metrics = new CollectingMetrics();
    const bench = await AccessBench.open({ authenticators: null });
    const server = await startGrpcServer({
      listen: "127.0.0.1:0",
      application,
      access: access ?? bench.access,
      tls,
      rateLimits,
      log,
      metrics,
      newId: randomUUID,
    });
    return new TransportServer(server, log, metrics, interceptors);
  }

  private constructor(
    server: GrpcServer,
    log: LogLines,
    metrics: CollectingMetrics,
    interceptors: Interceptor[],
  ) {
    const insecure = credentials.createInsecure();
    this.server = server;
    this.log = log;
    this.metrics = metrics;
    this.tasks = new TaskServiceClient(server.address, insecure, { interceptors });
    this.blobs = new BlobServiceClient(server.address, insecure, { interceptors });
    this.system = new SystemServiceClient(server.address, insecure, { interceptors });
    this.access = new AccessServiceClient(server.address, insecure, { interceptors });
    this.usage = new UsageServiceClient(server.address, insecure, { interceptors });
    this.webhooks = new WebhookServiceClient(server.address, insecure, { interceptors });
    this.health = new HealthClient(server.address, insecure, { interceptors });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { tasks, blobs, system, access, usage, webhooks, health } = this;
    for (const client of [tasks, blobs, system, access, usage, webhooks, health]) client.close();
    this.server.close();
  }
}
