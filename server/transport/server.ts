import { Server, ServerCredentials, type ServerOptions } from "@grpc/grpc-js";
import { HealthService } from "@longshore/proto/grpc/health/v1/health.ts";
import { AccessServiceService } from "@longshore/proto/longshore/v1/access_service.ts";
import { BlobServiceService } from "@longshore/proto/longshore/v1/blob_service.ts";
import { SystemServiceService } from "@longshore/proto/longshore/v1/system_service.ts";
import { TaskServiceService } from "@longshore/proto/longshore/v1/task_service.ts";
import { UsageServiceService } from "@longshore/proto/longshore/v1/usage_service.ts";
import { WebhookServiceService } from "@longshore/proto/longshore/v1/webhook_service.ts";
import type { Metrics } from "#server/domain/ports/metrics.ts";
import type { Log } from "#server/domain/ports/telemetry.ts";
import { accessService } from "./access-service.ts";
import type { Access, Application } from "./application.ts";
import { blobService } from "./blob-service.ts";
import { Calls } from "./calls.ts";
import { Gate } from "./gate.ts";
import { Health, healthService } from "./health.ts";
import { type RateLimitOptions, RateLimits } from "./rate-limits.ts";
import { Reflection, readDescriptors } from "./reflection.ts";
import {
  ACCESS_NEEDS,
  BLOB_NEEDS,
  SYSTEM_NEEDS,
  TASK_NEEDS,
  USAGE_NEEDS,
  WEBHOOK_NEEDS,
} from "./rpc-scopes.ts";
import { systemService } from "./system-service.ts";
import { taskService } from "./task-service.ts";
import type { TlsCredentials } from "./tls.ts";
import { usageService } from "./usage-service.ts";
import { watchEncoder } from "./watch-message.ts";
import { webhookService } from "./webhook-service.ts";

const MAX_REQUEST_BYTES = 4 * 2 ** 20;

/** How long connections may take to close once every call was answered. */
const CLOSE_MILLIS = 1000;

export interface GrpcServerOptions {
  /** "host:port"; port 0 takes a free one. */
  readonly listen: string;
  readonly application: Application;
  readonly access: Access;
  /** Null serves without TLS. */
  readonly tls?: TlsCredentials | null;
  /** What each credential may do; null sets no limit. */
  readonly rateLimits?: RateLimitOptions | null;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Makes the ids under which faults are logged. */
  readonly newId: () => string;
  /** Calls open at once on one connection; a watch is one. */
  readonly maxCallsPerConnection?: number;
}

export interface GrpcServer {
  /** Where it listens, the port as it was bound. */
  readonly address: string;
  readonly health: Health;
  /**
   * Health says NOT_SERVING, new calls and watches end with UNAVAILABLE, and everything else has `graceMillis` to finish.
   * Then connections are closed. Resolves when nothing is left.
   */
  drain(graceMillis: number): Promise<void>;
  /** Cuts everything at once. */
  close(): void;
}

export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { application, access, log, metrics, newId } = options;
  const server = new Server(serverOptions(options));
  const reflection = new Reflection(await readDescriptors());
  const services = [
    TaskServiceService,
    BlobServiceService,
    UsageServiceService,
    SystemServiceService,
    AccessServiceService,
    WebhookServiceService,
  ];
  const health = new Health(services.map(nameOf));
  const limits = options.rateLimits ? new RateLimits(options.rateLimits) : null;
  const calls = new Calls(new Gate(access), limits, log, metrics, newId);
  const deaf = access.onRevoke((credential) => calls.revoke(credential));
  const watchTask = { ...TaskServiceService.watchTask, responseSerialize: watchEncoder() };
  calls.serve(server, { ...TaskServiceService, watchTask }, taskService(application), TASK_NEEDS);
  calls.serve(server, BlobServiceService, blobService(application), BLOB_NEEDS);
  calls.serve(server, UsageServiceService, usageService(application), USAGE_NEEDS);
  calls.serve(server, SystemServiceService, systemService(application), SYSTEM_NEEDS);
  calls.serve(server, AccessServiceService, accessService(access), ACCESS_NEEDS);
  calls.serve(server, WebhookServiceService, webhookService(application.webhooks), WEBHOOK_NEEDS);
  calls.serve(server, HealthService, healthService(health), null, { background: true });
  // Open like health: it tells what docs/api.md tells everybody, and clients ask it before they know whom to be.
  reflection.addTo(server);
  const port = await bind(server, options.listen, options.tls ?? ServerCredentials.createInsecure());

  const drain = async (graceMillis: number): Promise<void> => {
    health.serving = false;
    await within(graceMillis, calls.drain());
    calls.endAll();
    reflection.close();
    await within(CLOSE_MILLIS, new Promise((resolve) => server.tryShutdown(resolve)));
    server.forceShutdown();
  };
  const address = options.listen.replace(/:\d+$/, `:${port}`);
  const close = () => {
    deaf();
    server.forceShutdown();
  };
  return { address, health, drain, close };
}

function serverOptions({ maxCallsPerConnection = 1000 }: GrpcServerOptions): ServerOptions {
  return {
    // Chunks have 1 MiB; the rest is for code, stdin and arguments of one request.
    "grpc.max_receive_message_length": MAX_REQUEST_BYTES,
    "grpc.max_concurrent_streams": maxCallsPerConnection,
    // Finds out about watchers whose machine vanished without a word.
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_timeout_ms": 20_000,
    // A debugging service that nobody asked for, at a cost for each call.
    "grpc.enable_channelz": 0,
  };
}

function bind(server: Server, listen: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(listen, credentials, (error, port) => {
      if (error === null) resolve(port);
      else reject(new Error(`cannot listen on ${listen}: ${error.message}`, { cause: error }));
    });
  });
}

/** "longshore.v1.TaskService" of a service. */
function nameOf(service: Readonly<Record<string, { readonly path: string }>>): string {
  const [method] = Object.values(service);
  return method?.path.split("/")[1] ?? "";
}

/** Resolves with the promise or after the time, whichever is first. */
async function within(millis: number, promise: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, millis);
  try {
    await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
