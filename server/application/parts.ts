import type { Policy } from "../domain/policy.ts";
import type { ArchiveReader, ArtifactReader } from "../domain/ports/archive-reader.ts";
import type { BlobIndex, BlobStore } from "../domain/ports/blob-store.ts";
import type { DataDisk } from "../domain/ports/data-disk.ts";
import type { Engine } from "../domain/ports/engine.ts";
import type { EnvironmentStore } from "../domain/ports/environment-store.ts";
import type { ExperimentTracker } from "../domain/ports/experiment-tracker.ts";
import type { Metrics } from "../domain/ports/metrics.ts";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { ArtifactStore, TaskStore } from "../domain/ports/task-store.ts";
import type { Log, Telemetry } from "../domain/ports/telemetry.ts";
import type { UsageLedger } from "../domain/ports/usage-ledger.ts";
import type { PriceBook } from "../domain/price-book.ts";
import type { Quotas } from "../domain/quota.ts";
import type { WebhookParts } from "./compose-webhooks.ts";
import type { NewId } from "./identity.ts";
import type { PresignedBlobsDeps } from "./presigned-blobs.ts";
import type { Builds } from "./resolve-environment.ts";

/** What the use cases stand on; server/main.ts chooses it. */
export interface Parts {
  readonly engines: readonly [Engine, ...Engine[]];
  /** Other names of engines. */
  readonly engineAliases?: ReadonlyMap<string, string>;
  /** Name of the engine for what the first has no room for; empty or absent keeps that waiting. */
  readonly engineOverflow?: string;
  readonly store: TaskStore;
  readonly artifacts: ArtifactStore;
  readonly index: BlobIndex;
  readonly ledger: UsageLedger;
  readonly blobs: BlobStore;
  /** Where clients may reach the store of blobs themselves. */
  readonly addresses?: PresignedBlobsDeps["addresses"];
  readonly archives: ArchiveReader;
  readonly artifactReader: ArtifactReader;
  readonly secretBox: SecretBox;
  readonly tracker: ExperimentTracker;
  readonly disk: { readonly disk: DataDisk; readonly leastFreeBytes: number };
  readonly environments: {
    readonly store: EnvironmentStore;
    /** What environments may take of the disk together. */
    readonly mostBytes: number;
    readonly builds: Builds;
  };
  readonly webhooks: WebhookParts;
  readonly telemetry: Telemetry;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Whether who did what to tasks goes into the audit log. */
  readonly auditsTasks: boolean;
  readonly policy: Policy;
  /** Null: nothing has a price. */
  readonly prices: PriceBook | null;
  readonly quotas: Quotas;
  readonly version: string;
  /** Of a task's trace, with "{trace_id}" in it; empty where it is not known. */
  readonly traceUrl: string;
  readonly clock: () => Date;
  readonly newId: NewId;
}
