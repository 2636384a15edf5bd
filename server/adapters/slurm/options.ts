import type { Log } from "../../domain/ports/telemetry.ts";
import type { UidRange } from "../sandbox/uids.ts";
import type { RestAccess } from "./rest-calls.ts";

export interface SlurmEngineOptions {
  readonly name: string;
  /** A folder that server and nodes see under one path. */
  readonly sharedDirectory: string;
  /** Nodes see the server's whole data folder, and with it environments where the server keeps them. */
  readonly seesEnvironments: boolean;
  /** Tells our jobs from another server's on the same cluster. */
  readonly installationId: string;
  /** The runner's source; copied below the shared folder under the name of its content. */
  readonly runnerDirectory: string;
  /** What a job runs on its node: executor-image/slurm/job.sh. */
  readonly jobScript: string;
  /** slurm.conf; empty leaves it to the tools. */
  readonly configFile: string;
  /** Null asks the controller by Slurm's tools. */
  readonly slurmrestd: RestAccess | null;
  /** Root file systems by the image names they stand for, each unpacked where every node sees it. */
  readonly images: ReadonlyMap<string, string>;
  /** Where a task names none; empty leaves it to the cluster. */
  readonly account: string;
  readonly partition: string;
  /** Features of nodes by instance type; others stand for themselves where some node has them. */
  readonly constraints: ReadonlyMap<string, string>;
  /** Tasks with network EGRESS or TRACKING, and builds of environments, share their node's network, without rules. */
  readonly nodeNetwork: boolean;
  /** Tracking servers that the nodes reach, by name. */
  readonly trackingServers: readonly string[];
  /** What a node's scratch folder has for sandboxes. */
  readonly scratchBytesPerNode: number;
  readonly uids: UidRange;
  readonly log: Log;
}
