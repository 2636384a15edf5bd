/** Exits 0 as soon as a Longshore server serves at an address, 1 when it does not within so many seconds: await-health.ts ADDRESS SECONDS */
import { credentials, Metadata } from "@grpc/grpc-js";
import { HealthCheckResponse_ServingStatus, HealthClient } from "@longshore/proto/grpc/health/v1/health.ts";

const [address, seconds] = process.argv.slice(2);
if (address === undefined || seconds === undefined) throw new Error("usage: await-health.ts ADDRESS SECONDS");

const deadline = Date.now() + Number(seconds) * 1000;
// A refused connection is tried again by grpc-js itself; its own first pause of a second is long for a server that starts in one.
const client = new HealthClient(address, credentials.createInsecure(), {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
});

client.waitForReady(deadline, (unreachable) => {
  if (unreachable) {
    client.close();
    process.exitCode = 1;
    return;
  }
  // The service's name keeps another gRPC server on this port from passing for ours.
  client.check({ service: "longshore.v1.TaskService" }, new Metadata(), { deadline }, (error, answer) => {
    client.close();
    const serving = answer?.status === HealthCheckResponse_ServingStatus.SERVING;
    process.exitCode = error === null && serving ? 0 : 1;
  });
});
