/** The real application, database, files and transport over an engine whose sandboxes only sleep; tells its costs when asked. */
import { join } from "node:path";
import { openDatabase } from "#server/adapters/database/database.ts";
import { NO_METRICS } from "#server/adapters/telemetry/metrics.ts";
import type { Log } from "#server/domain/ports/telemetry.ts";
import { startGrpcServer } from "#server/transport/server.ts";
import { AccessBench } from "../support/access-bench.ts";
import { ApplicationBench } from "../support/application-bench.ts";
import { samplePolicy } from "../support/sample-policy.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { SleepingEngine } from "./sleeping-engine.ts";

/** What the process holds now, and has taken so far. */
export interface ProcessCosts {
  /** JavaScript's heap and the buffers beside it. */
  readonly heapBytes: number;
  readonly residentBytes: number;
  readonly cpuMicros: number;
}

const HOURS_MILLIS = 24 * 3_600_000;

function costs({ collect }: { readonly collect: boolean }): ProcessCosts {
  // The second finds what the finalizers of the first let go of.
  for (let pass = 0; collect && pass < 2; pass++) globalThis.gc?.();
  const { heapUsed, external, rss } = process.memoryUsage();
  // Last, so that what comes between two questions has no collection in it.
  const { user, system } = process.cpuUsage();
  return { heapBytes: heapUsed + external, residentBytes: rss, cpuMicros: user + system };
}

async function serve(): Promise<void> {
  await using folder = await TemporaryFolder.create();
  await using database = await openDatabase({ url: `sqlite://${join(folder.path, "longshore.db")}` });
  const silent = () => undefined;
  const log: Log = { debug: silent, info: silent, warn: silent, error: (...line) => console.error(...line) };
  await using bench = await ApplicationBench.open({
    engines: [await SleepingEngine.open(folder.path)],
    store: database.tasks,
    artifacts: database.artifacts,
    index: database.blobs,
    ledger: database.ledger,
    webhooks: {
      store: database.webhooks,
      outbox: database.outbox,
      channels: new Map(),
      schedule: { pausesMillis: [], disableAfterMillis: 1 },
    },
    auditsTasks: false,
    metrics: NO_METRICS,
    log,
    policy: samplePolicy({
      maxTimeoutMillis: HOURS_MILLIS,
      maxQueuedTasks: Number.MAX_SAFE_INTEGER,
      countForeign: false,
    }),
  });
  const access = await AccessBench.open({ authenticators: null });
  const server = await startGrpcServer({
    listen: "127.0.0.1:0",
    application: bench.application,
    access: access.access,
    log,
    metrics: NO_METRICS,
    newId: () => "fault",
  });
  process.on("message", (asked: { readonly collect: boolean }) => process.send?.(costs(asked)));
  process.send?.(server.address);
  await new Promise((resolve) => process.once("disconnect", resolve));
  server.close();
}

if (import.meta.main) await serve();
