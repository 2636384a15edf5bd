import type { ForeignLoad, Gpu } from "../capacity.ts";
import type { LimitSupport, TaskLimits } from "../limits.ts";
import type { Resources } from "../resources.ts";
import type { Isolation, Network, Program } from "../task.ts";
import type { TrackingServer } from "../tracking.ts";

/** Packages mounted into a sandbox, and modules that its waiting interpreter has imported. */
export interface ShapeEnvironment {
  /** 64 hex digits; empty where only `preload` is asked for. */
  readonly id: string;
  /** Where its content lies on the server; null where there are no packages. */
  readonly folder: string | null;
  /** Dotted names of modules, checked for form. */
  readonly preload: readonly string[];
}

/** What the sandbox of a build has besides its shape; all of it comes from the server's configuration. Paths are the server's. */
export interface BuildTools {
  readonly uv: string;
  readonly caBundle: string | null;
  readonly wheels: string | null;
  /** The engine's own network, without the rules of EGRESS. */
  readonly openNetwork: boolean;
}

/**
 * Everything that makes two sandboxes interchangeable; a warm sandbox serves one shape. No client text is in it but the image's
 * digest and the checked names of modules to preload.
 */
export interface SandboxShape {
  /** Image by content digest, as `resolveImage` answered it. */
  readonly imageDigest: string;
  readonly isolation: Isolation;
  readonly network: Network;
  readonly limits: TaskLimits;
  readonly gpuIds: readonly string[];
  /** Of network TRACKING: where it leads. */
  readonly tracker?: TrackingServer;
  /** Absent for the image alone. */
  readonly environment?: ShapeEnvironment;
}

/** What a task asks of a cluster besides resources, in its own words: an engine checks them. Empty where it asks for nothing. */
export interface Placement {
  readonly account: string;
  readonly partition: string;
  readonly instanceType: string;
  /** Of its GPUs; one that the engine has told of. */
  readonly gpuModel?: string;
}

/** An order for the sandbox of one attempt. */
export interface SandboxOrder {
  /** Our ULID for a new sandbox: it names the container and its files; a warm one brings its own. */
  readonly sandboxId: string;
  readonly taskId: string;
  readonly attempt: number;
  readonly shape: SandboxShape;
  /** Absent for a build. */
  readonly placement?: Placement;
  /** Whose task it is, for engines that keep tenants apart; absent for a build. */
  readonly tenant?: string;
  /** For a build of an environment alone; such a sandbox is never warm. */
  readonly build?: BuildTools;
}

/** A sandbox whose runner waits for its spec. */
export interface Sandbox {
  readonly id: string;
  /** The engine's own id. */
  readonly containerId: string;
  readonly warm: boolean;
}

/** What the runner is told; executor-image/CONTRACT.md holds the wire form. */
export interface RunnerSpec {
  readonly attemptId: string;
  readonly program: Program;
  readonly code: string | null;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Base64. */
  readonly stdin: string;
  readonly workingDirectory: string;
  readonly outputs: readonly string[];
  readonly stopGraceMillis: number;
  /** Longest unpacking of project and inputs, and longest packing of artifacts. */
  readonly stageInMillis: number;
  readonly collectMillis: number;
  readonly deadline: Date | null;
  readonly limits: TaskLimits;
  /** Most that the task may tell of itself in spans; null where nobody keeps them. */
  readonly spans: { readonly count: number; readonly bytes: number } | null;
  /** Path of the canonical tar on the server; null for a snippet. */
  readonly projectTar: string | null;
  /** A canonical tar of the inputs, made while it is read, once; null when there are none. */
  readonly inputTar: AsyncIterable<Uint8Array> | null;
}

/** Thrown by `begin` when what it had to bring along could not be had: nothing was sent, so nothing has run. `cause` tells why. */
export class NotSent extends Error {
  constructor(cause: unknown) {
    super("the spec was not sent", { cause });
    this.name = "NotSent";
  }
}

/** How the engine saw a sandbox end; the journal usually says more. */
export interface SandboxExit {
  /** Exit code of the runner; null when the sandbox vanished. */
  readonly exitCode: number | null;
  /** The kernel's counters say that it killed for memory; a hint only where the runner could still tell. */
  readonly oomKilled: boolean;
  /** They say that a process or thread was refused; absent where the engine does not look. */
  readonly processesRefused?: boolean;
  /** The sandbox is gone without having ended: removed from outside, engine restarted. */
  readonly lost: boolean;
  readonly message: string;
}

export interface ImageInfo {
  readonly name: string;
  readonly digest: string;
}

export interface EngineTier {
  readonly isolation: Isolation;
  readonly runtime: string;
  readonly limits: readonly LimitSupport[];
  readonly networks: readonly Network[];
}

export interface EngineCapabilities {
  readonly version: string;
  /** The default first. */
  readonly tiers: readonly EngineTier[];
  /** What the host has, without reserve. */
  readonly total: Resources;
  /** The most that one task can have where `total` is that of several hosts; absent where it is one. */
  readonly largest?: Resources;
  readonly gpus: readonly Gpu[];
  /** Tracking servers of the operator's by name, each with why its sandboxes cannot reach it; empty where they can, absent where none ever can. */
  readonly trackers?: ReadonlyMap<string, string>;
  /** Sandboxes can have environments, and can build them. */
  readonly environments?: boolean;
  /** The sandboxes of its builds never have a network: packages come from a folder of wheels. */
  readonly buildsOffline?: boolean;
}

export interface SandboxStatus {
  readonly id: string;
  readonly containerId: string;
  readonly running: boolean;
  /** Idle in the engine's pool: belongs to no attempt, and is the engine's to remove. */
  readonly warm: boolean;
}

/** The append-only journal of one sandbox, read by the server through its own descriptor. */
export interface JournalSource {
  size(): Promise<number>;
  /** At most `length` bytes from `offset`, in `room` where that is given; empty at the present end. */
  read(offset: number, length: number, room?: Uint8Array): Promise<Uint8Array>;
  /** Yields whenever the journal may have grown; ends when `signal` aborts. */
  changes(signal: AbortSignal): AsyncIterable<void>;
}

/**
 * What provides sandboxes. Every promise may reject with Unavailable when the engine cannot be reached.
 * Order of an attempt: acquire, (the caller commits the container id), begin, ended, release.
 */
export interface Engine {
  readonly name: string;
  readonly kind: "docker" | "kubernetes" | "slurm" | "fake";
  /** What an earlier server left and opening this engine removed: ids of its sandboxes. */
  readonly removedAtOpen: readonly string[];
  capabilities(): Promise<EngineCapabilities>;
  /** Throws ImageRefused. */
  resolveImage(name: string): Promise<ImageInfo>;
  /** A warm sandbox of this shape without delay, if there is one; it will not be handed out again. */
  takeWarm(shape: SandboxShape): Sandbox | undefined;
  /** Warm sandboxes that idle now. */
  warmCount(): number;
  /** What idle warm sandboxes may hold of the host's memory together from now on; those over it give way. */
  limitWarm(ramBytes: number): void;
  /** No warm sandbox has this environment any more when it resolves, and none comes. */
  forgetEnvironment?(id: string): Promise<void>;
  /** A new sandbox, started and waiting. On rejection or abort nothing of it is left. */
  create(order: SandboxOrder, signal: AbortSignal): Promise<Sandbox>;
  /** Brings project and inputs in and hands the spec over. A sandbox that rejects it here has not run anything. Throws NotSent. */
  begin(sandbox: Sandbox, spec: RunnerSpec): Promise<void>;
  /** "terminate": the task gets SIGTERM and its grace; "kill": ends now, with whatever the runner can still write. */
  stop(sandboxId: string, how: "terminate" | "kill"): Promise<void>;
  /** Resolves when the sandbox has ended by itself or otherwise; rejects only on abort. Also for adopted ones. */
  ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit>;
  /** Removes container, mounts and volume; keeps the journal. Idempotent; also kills what still runs. */
  release(sandboxId: string): Promise<void>;
  /** All sandboxes of this installation, warm ones included. */
  list(): Promise<SandboxStatus[]>;
  /** What others hold on its host: now, and again whenever that changes; ends when `signal` aborts. */
  foreignLoad(signal: AbortSignal): AsyncIterable<ForeignLoad>;
  /** Files of the sandbox that outlive its container. */
  readonly files: SandboxFiles;
  /** Ends warm sandboxes and watches; running attempts go on. */
  close(): Promise<void>;
}

/** Journal and artifacts outlive the container until they are removed with the task. */
export interface SandboxFiles {
  journal(sandboxId: string): JournalSource;
  /** The tar that the sandbox wrote, from the start. */
  artifacts(sandboxId: string, signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /** After collect: the artifacts' tar is no longer needed. */
  removeArtifacts(sandboxId: string): Promise<void>;
  /** Removes everything; idempotent. */
  remove(sandboxId: string): Promise<void>;
  /** Ids of all sandboxes that still have files. */
  list(): Promise<string[]>;
}
