import type { Limit } from "./limits.ts";
import type { ResultReason } from "./task.ts";

/** Journal format v1 is frozen: executor-image/CONTRACT.md. */
export const MAX_FRAME_BYTES = 2 ** 20;
export const FRAME_HEADER_BYTES = 13;

export type LogStream = "STDOUT" | "STDERR" | "BUILD";

/** `offset` is the place of the frame's first header byte in the journal, `end` the place after its last byte. */
interface FramePlace {
  readonly offset: number;
  readonly end: number;
  readonly time: Date;
}

export type JournalFrame = FramePlace &
  (
    | { readonly kind: "log"; readonly stream: LogStream; readonly data: Uint8Array }
    | { readonly kind: "accepted"; readonly attemptId: string }
    | {
        readonly kind: "stage";
        readonly stage: "stage_in" | "run" | "collect";
        readonly event: "start" | "end";
        readonly note: string;
      }
    | { readonly kind: "gap"; readonly stream: LogStream; readonly bytes: number }
    /** As a program of the task wrote it. */
    | { readonly kind: "span"; readonly data: Uint8Array }
    | { readonly kind: "usage"; readonly usage: UsageSample }
    | { readonly kind: "end"; readonly ending: RunnerEnd }
    | { readonly kind: "unknown" }
  );

export interface UsageSample {
  readonly cpuMicros: number;
  readonly ramBytes: number;
  readonly processes: number;
  readonly storageBytes: number;
}

/** What the runner says of the end, checked but not believed beyond the server's own clock and the engine. */
export interface RunnerEnd {
  readonly reason: ResultReason;
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly killer: "KERNEL" | "RUNNER" | "CLIENT" | null;
  readonly limit: Limit | null;
  readonly limitValue: number;
  readonly observedPeak: number;
  readonly process: string;
  readonly limitsHit: readonly Limit[];
  readonly message: string;
  readonly cpuMicros: number;
  readonly peakRamBytes: number;
  readonly peakStorageBytes: number;
  readonly peakProcesses: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly artifactCount: number;
  readonly artifactBytes: number;
  readonly artifactsError: string;
}

/** A journal that breaks its format: the good prefix is kept, the attempt ends as SYSTEM_ERROR. */
export class DamagedJournal extends Error {
  /** Bytes of the good prefix. */
  readonly goodBytes: number;

  constructor(message: string, goodBytes: number) {
    super(`journal damaged at byte ${goodBytes}: ${message}`);
    this.name = "DamagedJournal";
    this.goodBytes = goodBytes;
  }
}
