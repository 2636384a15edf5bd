/**
 * Exits 0 when the server of these settings serves, by grpc.health.v1: for probes that run beside it, which Kubernetes' own gRPC probe
 * cannot do over TLS. It trusts the server's own certificate, for it asks this machine and tells nothing.
 */
import { readFile } from "node:fs/promises";
import { type ChannelCredentials, credentials, Metadata } from "@grpc/grpc-js";
import { HealthCheckResponse_ServingStatus, HealthClient } from "@longshore/proto/grpc/health/v1/health.ts";

const PATIENCE_MILLIS = 4_000;

async function channelCredentials(env: NodeJS.ProcessEnv): Promise<ChannelCredentials> {
  const certificate = env.LONGSHORE_TLS_CERT ?? "";
  if (certificate === "") return credentials.createInsecure();
  const mutual = (env.LONGSHORE_TLS_CLIENT_CA ?? "") !== "";
  // A server that asks for certificates is shown one that its operator made for probes, else its own.
  const [own, shown, key] = await Promise.all([
    readFile(certificate),
    mutual ? readFile(env.LONGSHORE_HEALTH_CERT ?? certificate) : null,
    mutual ? readFile(env.LONGSHORE_HEALTH_KEY ?? env.LONGSHORE_TLS_KEY ?? "") : null,
  ]);
  return credentials.createSsl(own, key, shown, {
    checkServerIdentity: () => undefined,
    rejectUnauthorized: false,
  });
}

/** Where a server that listens on all addresses is found from beside it. */
function nearAddress(listen: string): string {
  return listen.replace(/^0\.0\.0\.0:/, "127.0.0.1:").replace(/^\[::\]:/, "[::1]:");
}

const address = nearAddress(process.env.LONGSHORE_LISTEN ?? "127.0.0.1:50051");
const client = new HealthClient(address, await channelCredentials(process.env));
client.check({ service: "" }, new Metadata(), { deadline: Date.now() + PATIENCE_MILLIS }, (error, answer) => {
  client.close();
  const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
  if (answer?.status === SERVING) return;
  const said =
    error?.message ?? (answer?.status === NOT_SERVING ? "it takes no calls now" : "it gave no status");
  process.stderr.write(`the server at ${address} does not serve: ${said}\n`);
  process.exitCode = 1;
});
