import { SystemFault } from "../../domain/errors.ts";

/** The controller answered, and said no. */
export class SlurmRefused extends SystemFault {
  readonly said: string;

  constructor(asked: string, said: string, cause?: unknown) {
    super(`${asked}: ${said}`, {}, { cause });
    this.said = said;
  }
}

/** How the controller refuses a signal for a job that needs none any more. */
const ENDED = /invalid job id|already completing or completed|not running|pending job/i;

/** The job that was to be signalled or cancelled has ended, or is unknown. */
export function hasEnded(said: string): boolean {
  return ENDED.test(said);
}

/** A job as the controller tells of it. */
export interface JobLine {
  readonly jobId: string;
  /** As squeue writes it in full: PENDING, OUT_OF_MEMORY. */
  readonly state: string;
  /** Why it waits, or how it ended. */
  readonly reason: string;
  readonly comment: string;
  readonly cpus: number;
  readonly memoryBytes: number;
}

export interface NodeLine {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly features: readonly string[];
  /** In whatever words; those of a node that is not to be had are known. */
  readonly state: string;
}

/** What is asked for one job; account, partition and constraint are words that need no quoting, or empty for the cluster's own choice. */
export interface JobRequest {
  readonly name: string;
  readonly comment: string;
  readonly cpus: number;
  readonly memoryMebibytes: number;
  readonly minutes: number;
  /** Path of the file that gets its output. */
  readonly output: string;
  readonly account: string;
  readonly partition: string;
  readonly constraint: string;
}

/**
 * All that is asked of Slurm's controller, by whatever way a site has to it. Throws Unavailable where it does not answer, SlurmRefused
 * where it says no. A job that has ended or is unknown is as good as signalled and as good as cancelled.
 */
export interface SlurmController {
  version(): Promise<string>;
  /** Each node once, whatever the number of its partitions. */
  nodes(): Promise<NodeLine[]>;
  /** Answers the job's id. One that its node loses is not started again: it would run the code twice. */
  submit(request: JobRequest, script: string): Promise<string>;
  /** Every job that the controller still knows, ended ones included. */
  jobs(): Promise<JobLine[]>;
  /** For the job's script; what the script has started gets it from there alone. */
  signal(jobId: string, signal: "USR1" | "USR2"): Promise<void>;
  /** Ends all that runs of it, whatever that makes of signals. */
  cancel(jobId: string): Promise<void>;
}
