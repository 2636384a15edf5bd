import { join } from "node:path";
import type { ContainerCreateOptions, HostConfig, MountSettings } from "dockerode";
import type { SandboxShape } from "../../domain/ports/engine.ts";
import { MEBIBYTE } from "../../domain/resources.ts";
import type { SandboxPaths } from "./sandbox-paths.ts";
import { type StorageTier, VOLUME_FOLDERS } from "./storage.ts";

/** PID 1 itself: what it holds must not come out of the task's RAM. Measured: see docs of the RAM limit in capabilities. */
export const RUNNER_RAM_BYTES = 24 * MEBIBYTE;
/** PID 1, its threads, and the process that writes the artifacts. */
export const RUNNER_PROCESSES = 8;
/** PID 1 needs this many descriptors even where a task may open fewer. */
const RUNNER_DESCRIPTORS = 256;
/** Frame headers, usage samples and the end frame, beside the log bytes that were asked for. */
const JOURNAL_OVERHEAD_BYTES = 16 * MEBIBYTE;
/** Between 0 and the task's own 1000: under memory pressure on the host, sandboxes go before the daemon and the server. */
const OOM_SCORE_ADJ = 500;

const FIXED_ENV = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
  HOME: "/root",
} as const;

/** Name of the bridge that EGRESS sandboxes share; its rules are network.ts. */
export const EGRESS_NETWORK = "longshore-egress";

export interface SandboxPlan {
  readonly shape: SandboxShape;
  readonly runtime: string;
  readonly uid: number;
  readonly paths: SandboxPaths;
  readonly storage: StorageTier;
  /** The runner's source below the data directory. */
  readonly runnerFolder: string;
  /** Names in the image's own environment: each is taken away. */
  readonly imageEnvNames: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * The whole container of a sandbox as a function of checked numbers, our own paths and the image's digest: no text of a
 * client is among the inputs. What an image declares about how to start it is overridden, never merged.
 */
export function containerOptions(plan: SandboxPlan): ContainerCreateOptions {
  return {
    Image: imageId(plan.shape.imageDigest),
    Hostname: "sandbox",
    User: "0:0",
    WorkingDir: "/",
    // -I -S -E -B: an image's sitecustomize, .pth files or PYTHONPATH would otherwise run as PID 1.
    Entrypoint: ["python3", "-I", "-S", "-E", "-B", "/longshore/runner", settings(plan.uid)],
    Cmd: [],
    Env: environment(plan.imageEnvNames),
    // An image's own health check would run as root beside the runner.
    Healthcheck: { Test: ["NONE"] },
    Labels: { ...plan.labels },
    AttachStdin: true,
    AttachStdout: false,
    AttachStderr: true,
    OpenStdin: true,
    // The runner reads end of file when its server is gone, and ends.
    StdinOnce: true,
    Tty: false,
    // A stop that is not ours (docker stop, a daemon going down) must not look like a cancellation.
    StopSignal: "SIGKILL",
    HostConfig: hostConfig(plan),
  };
}

function hostConfig(plan: SandboxPlan): HostConfig {
  const { shape } = plan;
  const memory = wholeNumber("ramBytes", shape.limits.ramBytes, 16 * MEBIBYTE) + RUNNER_RAM_BYTES;
  return {
    Runtime: plan.runtime,
    ReadonlyRootfs: true,
    Privileged: false,
    CapDrop: ["ALL"],
    CapAdd: ["SETUID", "SETGID", "KILL"],
    // No seccomp entry: the daemon's default profile applies.
    SecurityOpt: ["no-new-privileges:true"],
    NetworkMode: shape.network === "EGRESS" ? EGRESS_NETWORK : "none",
    IpcMode: "private",
    // Memory behind /dev/shm is charged to the sandbox, so the RAM limit is the one that counts.
    ShmSize: shape.limits.ramBytes,
    Memory: memory,
    // Equal to Memory: no swap.
    MemorySwap: memory,
    NanoCpus: wholeNumber("cpuMillis", shape.limits.cpuMillis, 10) * 1_000_000,
    PidsLimit: wholeNumber("processes", shape.limits.processes, 1) + RUNNER_PROCESSES,
    OomScoreAdj: OOM_SCORE_ADJ,
    Ulimits: ulimits(shape),
    LogConfig: { Type: "none", Config: {} },
    RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
    Init: false,
    AutoRemove: false,
    Mounts: mounts(plan),
    ...(plan.storage === "engine-tmpfs" ? { Tmpfs: engineTmpfs(plan) } : {}),
    ...(shape.gpuIds.length > 0 ? { DeviceRequests: [gpuRequest(shape.gpuIds)] } : {}),
  };
}

/** RLIMIT_FSIZE bounds every single file, the journal and the artifacts among them, even if PID 1 was taken over. */
function ulimits(shape: SandboxShape): HostConfig["Ulimits"] {
  const { limits } = shape;
  const files = Math.max(wholeNumber("openFiles", limits.openFiles, 1), RUNNER_DESCRIPTORS);
  const largestFile = Math.max(
    wholeNumber("storageBytes", limits.storageBytes, 1),
    wholeNumber("logBytes", limits.logBytes, 0) + JOURNAL_OVERHEAD_BYTES,
    wholeNumber("artifactBytes", limits.artifactBytes, 0) + JOURNAL_OVERHEAD_BYTES,
  );
  return [
    { Name: "nofile", Soft: files, Hard: files },
    { Name: "fsize", Soft: largestFile, Hard: largestFile },
    { Name: "core", Soft: 0, Hard: 0 },
  ];
}

/** As Mounts, not Binds: a missing source is an error then, and not a new folder owned by root. */
function mounts(plan: SandboxPlan): MountSettings[] {
  const { paths } = plan;
  const files = [
    bind(plan.runnerFolder, "/longshore/runner", true),
    bind(paths.journal, "/longshore/journal", false),
    bind(paths.input, "/longshore/input", true),
    bind(paths.artifacts, "/longshore/artifacts", false),
  ];
  if (plan.storage === "engine-tmpfs") return files;
  return [
    ...files,
    ...VOLUME_FOLDERS.map(({ name, target }) => bind(join(paths.volume, name), target, false)),
  ];
}

function bind(source: string, target: string, readOnly: boolean): MountSettings {
  return {
    Type: "bind",
    Source: source,
    Target: target,
    ReadOnly: readOnly,
    BindOptions: { Propagation: "rprivate" },
  };
}

function engineTmpfs(plan: SandboxPlan): Record<string, string> {
  const { storageBytes, inodes } = plan.shape.limits;
  return Object.fromEntries(
    VOLUME_FOLDERS.map(({ target, mode }) => [
      target,
      `rw,exec,nosuid,nodev,size=${storageBytes},nr_inodes=${inodes},mode=${mode.toString(8)},uid=${plan.uid},gid=${plan.uid}`,
    ]),
  );
}

function settings(uid: number): string {
  return JSON.stringify({ uid, gid: uid, preload: [], environment: null, prestart: true });
}

function environment(imageEnvNames: readonly string[]): string[] {
  const fixed = Object.entries(FIXED_ENV).map(([name, value]) => `${name}=${value}`);
  // A name without "=" takes the image's variable away instead of merging it in.
  return [...fixed, ...imageEnvNames.filter((name) => !Object.hasOwn(FIXED_ENV, name))];
}

function gpuRequest(gpuIds: readonly string[]): {
  Driver: string;
  DeviceIDs: string[];
  Capabilities: string[][];
} {
  for (const id of gpuIds) if (!GPU_ID.test(id)) throw new RangeError(`${JSON.stringify(id)} is no GPU id`);
  return { Driver: "", DeviceIDs: [...gpuIds], Capabilities: [["gpu"]] };
}

const GPU_ID = /^(?:GPU|MIG)-[0-9A-Za-z/-]{1,80}$/;
const IMAGE_ID = /^sha256:[0-9a-f]{64}$/;

function imageId(digest: string): string {
  if (!IMAGE_ID.test(digest)) throw new RangeError(`${JSON.stringify(digest)} is no image digest`);
  return digest;
}

/** The last gate before the daemon: 0 means "no limit" there, so it must never get through where a limit was meant. */
function wholeNumber(name: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least)
    throw new RangeError(`${name} is ${value}, which is no whole number from ${least} on`);
  return value;
}
