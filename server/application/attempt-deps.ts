import type { Policy } from "../domain/policy.ts";
import type { ArchiveReader, ArtifactReader } from "../domain/ports/archive-reader.ts";
import type { BlobStore } from "../domain/ports/blob-store.ts";
import type { SecretBox } from "../domain/ports/secret-box.ts";
import type { ArtifactStore } from "../domain/ports/task-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { Environments } from "./environments.ts";
import type { ExperimentRuns } from "./experiment-runs.ts";
import type { NewId } from "./identity.ts";
import type { JournalHub } from "./journal-hub.ts";
import type { LiveUsage } from "./live-usage.ts";
import type { Meter } from "./meter.ts";
import type { TaskBook } from "./task-book.ts";
import type { TraceStages } from "./trace-stages.ts";

/** What an attempt needs from its start to its cleanup. */
export interface AttemptDeps {
  readonly book: TaskBook;
  readonly usage: LiveUsage;
  /** One hub per engine name: sandboxes keep their files where their engine says. */
  readonly journals: ReadonlyMap<string, JournalHub>;
  readonly environments: Environments;
  readonly experiments: ExperimentRuns;
  readonly archives: ArchiveReader;
  readonly artifactReader: ArtifactReader;
  readonly artifacts: ArtifactStore;
  readonly blobs: BlobStore;
  readonly secretBox: SecretBox;
  readonly meter: Meter;
  readonly trace: TraceStages;
  readonly policy: Policy;
  readonly log: Log;
  readonly clock: () => Date;
  readonly newId: NewId;
}
