import assert from "node:assert/strict";
import { ulid } from "ulid";
import type { JournalFrame, RunnerEnd } from "#server/domain/journal.ts";
import { JournalParser } from "#server/domain/journal-parser.ts";
import type { Engine, RunnerSpec, Sandbox, SandboxExit, SandboxShape } from "#server/domain/ports/engine.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import type { Isolation } from "#server/domain/task.ts";

/** Far beyond what any step takes: only so that a broken engine fails instead of hanging. */
const PATIENCE_MILLIS = 30_000;

export interface EngineUnderTest {
  readonly engine: Engine;
  readonly image: string;
  /** Container when absent. */
  readonly isolation?: Isolation;
  /** Makes one warm sandbox of the shape ready, however the engine does that; absent where it keeps none. */
  warmUp?(shape: SandboxShape): Promise<void>;
  /** Takes the container away behind the engine's back. */
  removeFromOutside(sandboxId: string, containerId: string): Promise<void>;
  /** What is left of the sandbox on the host besides its kept files, in words. */
  leftovers(sandboxId: string): Promise<string[]>;
  /** Ends the engine's server without ado, and opens a new one on what it left. */
  reopen(): Promise<Engine>;
  /** Its own kernel's clock says how much CPU a task took, not the host's. */
  readonly ownCpuClock?: boolean;
  /** False for an engine that only pretends to have environments. */
  readonly playsEnvironments?: boolean;
  close(): Promise<void>;
}

export interface Outcome {
  readonly frames: readonly JournalFrame[];
  readonly stdout: string;
  readonly stderr: string;
  readonly ending: RunnerEnd;
  readonly exit: SandboxExit;
}

export function patience(): AbortSignal {
  return AbortSignal.timeout(PATIENCE_MILLIS);
}

export function sampleShape(imageDigest: string, limits: Partial<SandboxShape["limits"]> = {}): SandboxShape {
  return {
    imageDigest,
    isolation: "CONTAINER",
    network: "NONE",
    gpuIds: [],
    limits: {
      cpuMillis: 1000,
      ramBytes: 256 * MEBIBYTE,
      storageBytes: 64 * MEBIBYTE,
      gpuCount: 0,
      processes: 64,
      openFiles: 512,
      inodes: 4096,
      logBytes: 16 * MEBIBYTE,
      artifactBytes: 32 * MEBIBYTE,
      runMillis: 20_000,
      queueMillis: null,
      totalMillis: null,
      ...limits,
    },
  };
}

export function sampleRunnerSpec(shape: SandboxShape, changes: Partial<RunnerSpec> = {}): RunnerSpec {
  return {
    attemptId: ulid(),
    program: { kind: "command", command: ["true"] },
    code: null,
    args: [],
    env: {},
    stdin: "",
    workingDirectory: "",
    outputs: [],
    stopGraceMillis: 5000,
    stageInMillis: 60_000,
    collectMillis: 60_000,
    deadline: null,
    limits: shape.limits,
    projectTar: null,
    inputTar: null,
    spans: null,
    ...changes,
  };
}

export function shell(script: string): Partial<RunnerSpec> {
  return { program: { kind: "command", command: ["sh", "-c", script] } };
}

/** Follows the journal until the end frame, or until the sandbox ended and all was read; `onFrame` sees each frame as it comes. */
export async function follow(
  engine: Engine,
  sandboxId: string,
  attemptId: string,
  onFrame?: (frame: JournalFrame) => void,
): Promise<Omit<Outcome, "ending"> & { ending: RunnerEnd | undefined }> {
  const source = engine.files.journal(sandboxId);
  const parser = new JournalParser({ attemptId });
  const frames: JournalFrame[] = [];
  const stop = new AbortController();
  const exited = engine.ended(sandboxId, patience()).finally(() => stop.abort());
  const readOn = async () => {
    for (;;) {
      const bytes = await source.read(parser.position, MEBIBYTE);
      if (bytes.length === 0) return;
      for (const frame of parser.push(bytes)) {
        frames.push(frame);
        onFrame?.(frame);
      }
    }
  };
  for await (const _ of source.changes(stop.signal)) await readOn();
  const exit = await exited;
  await readOn();
  parser.finish();
  const text = (stream: string) =>
    Buffer.concat(
      frames.flatMap((frame) => (frame.kind === "log" && frame.stream === stream ? [frame.data] : [])),
    ).toString();
  const last = frames.at(-1);
  return {
    frames,
    stdout: text("STDOUT"),
    stderr: text("STDERR"),
    ending: last?.kind === "end" ? last.ending : undefined,
    exit,
  };
}

export async function acquire(engine: Engine, shape: SandboxShape): Promise<Sandbox> {
  return engine.create({ sandboxId: ulid(), taskId: ulid(), attempt: 1, shape }, patience());
}

/** One whole attempt but for its release. */
export async function attempt(
  engine: Engine,
  sandbox: Sandbox,
  spec: RunnerSpec,
  onFrame?: (frame: JournalFrame) => void,
): Promise<Outcome> {
  await engine.begin(sandbox, spec);
  const { ending, ...rest } = await follow(engine, sandbox.id, spec.attemptId, onFrame);
  assert.ok(ending !== undefined, `no end frame; the sandbox ended: ${JSON.stringify(rest.exit)}`);
  return { ...rest, ending };
}
