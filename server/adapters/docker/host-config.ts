import { isIPv4 } from "node:net";
import { join } from "node:path";
import type { ContainerCreateOptions, HostConfig, MountSettings } from "dockerode";
import type { BuildTools, SandboxShape } from "../../domain/ports/engine.ts";
import { MEBIBYTE } from "../../domain/resources.ts";
import { environmentIdOf } from "../sandbox/environment-folder.ts";
import { HOSTS_FILE } from "../sandbox/runner-source.ts";
import type { SandboxPaths } from "../sandbox/sandbox-paths.ts";
import { VOLUME_FOLDERS } from "../sandbox/volume.ts";
import type { CgroupLimits } from "./cgroups.ts";
import type { StorageTier } from "./storage.ts";

/**
 * What PID 1 holds must not come out of the task's RAM. Measured: 6 MB anonymous while it waits, 8 MB at 500 MB/s of logs and 20,000
 * artifacts, and its kernel memory. What it leaves unused of this, the task can use beyond its own limit.
 */
export const RUNNER_RAM_BYTES = 12 * MEBIBYTE;
/** PID 1, which has no threads, and one helper that overlaps with the start of the task. */
const RUNNER_PROCESSES = 2;
/** gVisor's kernel in user space and its file server, where they count from their start. Measured: 30 and 20 MB. */
const SENTRY_RAM_BYTES = 48 * MEBIBYTE;
/** The same where the sandbox enters its control groups later: only what they grow by from there on is charged to them. */
export const SENTRY_GROWTH_BYTES = 16 * MEBIBYTE;
/** Host threads of an idle gVisor sandbox (measured: 87), and of each process in it (measured: 5). */
const SENTRY_THREADS = 128;
const SENTRY_THREADS_PER_PROCESS = 6;
/** PID 1 moves descriptors out of its task's way to 256 and above, even where a task may open fewer. */
const RUNNER_DESCRIPTORS = 320;
/** Frame headers, usage samples and the end frame, beside the log bytes that were asked for. */
const JOURNAL_OVERHEAD_BYTES = 16 * MEBIBYTE;
/** Between 0 and the task's own 1000: under memory pressure on the host, sandboxes go before the daemon and the server. */
const OOM_SCORE_ADJ = 500;

const FIXED_ENV = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
  HOME: "/root",
} as const;

/** The packet rules are about IPv4, so there must be nothing else. */
export const NO_IPV6 = { "net.ipv6.conf.all.disable_ipv6": "1" } as const;

/** The network that sandboxes with the same policy share. */
export interface EgressAttachment {
  readonly network: string;
  /** Empty leaves it to the daemon. */
  readonly nameservers: readonly string[];
  /** Names that the sandbox knows without asking: the operator's. */
  readonly hosts: readonly { readonly name: string; readonly address: string }[];
  /** Nobody answers other names, so that a look-up should fail soon. */
  readonly noLookups: boolean;
}

export interface SandboxPlan {
  readonly shape: SandboxShape;
  readonly runtime: string;
  readonly uid: number;
  readonly paths: SandboxPaths;
  readonly storage: StorageTier;
  /** The runner's source below the data directory. */
  readonly runnerFolder: string;
  /** For the shapes that ask for it. */
  readonly egress?: EgressAttachment;
  /** For the sandbox of a build alone. */
  readonly build?: BuildTools;
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
    Entrypoint: ["python3", "-I", "-S", "-E", "-B", "/longshore/runner", settings(plan)],
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
    // Not only network mode none, for which the daemon starts itself twice (a third of all that a start costs): runc makes a
    // network namespace with loopback alone, too.
    NetworkDisabled: hasNoNetwork(plan),
    HostConfig: hostConfig(plan),
  };
}

/** What a sandbox may hold on the host: what the task asked for, and what running it takes besides. */
export function hostLimits(
  { limits, isolation }: SandboxShape,
  sentryBytes = SENTRY_RAM_BYTES,
): CgroupLimits {
  const ramBytes = wholeNumber("ramBytes", limits.ramBytes, 16 * MEBIBYTE) + RUNNER_RAM_BYTES;
  const processes = wholeNumber("processes", limits.processes, 1) + RUNNER_PROCESSES;
  const cpuMillis = wholeNumber("cpuMillis", limits.cpuMillis, 10);
  if (isolation === "CONTAINER") return { ramBytes, processes, cpuMillis };
  return {
    ramBytes: ramBytes + sentryBytes,
    processes: processes * SENTRY_THREADS_PER_PROCESS + SENTRY_THREADS,
    cpuMillis,
  };
}

function hostConfig(plan: SandboxPlan): HostConfig {
  const { shape } = plan;
  const held = hostLimits(shape);
  return {
    Runtime: plan.runtime,
    ReadonlyRootfs: true,
    Privileged: false,
    CapDrop: ["ALL"],
    CapAdd: ["SETUID", "SETGID", "KILL"],
    // No seccomp entry: the daemon's default profile applies.
    SecurityOpt: ["no-new-privileges:true"],
    ...network(plan),
    IpcMode: "private",
    // Memory behind /dev/shm is charged to the sandbox, so the RAM limit is the one that counts.
    ShmSize: shape.limits.ramBytes,
    Memory: held.ramBytes,
    // Equal to Memory: no swap.
    MemorySwap: held.ramBytes,
    NanoCpus: held.cpuMillis * 1_000_000,
    PidsLimit: held.processes,
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

function network({ shape, egress, build }: SandboxPlan): Partial<HostConfig> {
  // Docker's own, for builds where the operator chose it: nothing but uv runs in those.
  if (shape.network === "NONE" && build?.openNetwork === true)
    return { NetworkMode: "bridge", Sysctls: { ...NO_IPV6 }, DnsSearch: ["."] };
  if (shape.network === "NONE") return { NetworkMode: "none" };
  if (egress === undefined || !EGRESS_NETWORK.test(egress.network))
    throw new RangeError("there is no network with packet rules for this sandbox");
  return {
    NetworkMode: egress.network,
    Sysctls: { ...NO_IPV6 },
    // Without a search domain: the host's own would tell tasks where they are.
    DnsSearch: ["."],
    ...(egress.nameservers.length === 0 ? {} : { Dns: [...egress.nameservers] }),
    ...(egress.noLookups ? { DnsOptions: ["timeout:1", "attempts:1"] } : {}),
    ...(egress.hosts.length === 0 ? {} : { ExtraHosts: egress.hosts.map(extraHost) }),
  };
}

function extraHost({ name, address }: EgressAttachment["hosts"][number]): string {
  if (!HOST_NAME.test(name) || !isIPv4(address))
    throw new RangeError(`${JSON.stringify(name)} at ${JSON.stringify(address)} is no host`);
  return `${name}:${address}`;
}

function hasNoNetwork({ shape, build }: SandboxPlan): boolean {
  return shape.network === "NONE" && build?.openNetwork !== true;
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
    // With a network the daemon writes these; without one the image's own would be seen, or nothing at all.
    ...(hasNoNetwork(plan) ? [bind(join(plan.runnerFolder, HOSTS_FILE), "/etc/hosts", true)] : []),
    bind(paths.journal, "/longshore/journal", false),
    bind(paths.input, "/longshore/input", true),
    bind(paths.artifacts, "/longshore/artifacts", false),
    ...environmentMounts(plan),
  ];
  if (plan.storage === "engine-tmpfs") return files;
  return [
    ...files,
    ...VOLUME_FOLDERS.map(({ name, target }) => bind(join(paths.volume, name), target, false)),
  ];
}

function environmentMounts({ shape, build }: SandboxPlan): MountSettings[] {
  const { environment } = shape;
  const content =
    environment === undefined || environment.folder === null
      ? []
      : [bind(environmentFolder(environment.folder), ENVIRONMENT, true)];
  if (build === undefined) return content;
  return [
    ...content,
    bind(build.uv, "/longshore/uv", true),
    ...(build.caBundle === null ? [] : [bind(build.caBundle, "/longshore/ca.pem", true)]),
    ...(build.wheels === null ? [] : [bind(build.wheels, "/longshore/wheels", true)]),
  ];
}

function environmentFolder(path: string): string {
  if (environmentIdOf(path) === undefined) throw new RangeError(`${path} is no folder of an environment`);
  return path;
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

function settings({ uid, storage, shape }: SandboxPlan): string {
  const preload = shape.environment?.preload ?? [];
  for (const name of preload)
    if (!MODULE.test(name)) throw new RangeError(`${JSON.stringify(name)} is no name of a module`);
  const oneVolume = storage !== "engine-tmpfs";
  return JSON.stringify({
    uid,
    gid: uid,
    preload,
    environment: (shape.environment?.folder ?? null) === null ? null : ENVIRONMENT,
    prestart: true,
    one_volume: oneVolume,
  });
}

function environment(imageEnvNames: readonly string[]): string[] {
  const fixed = Object.entries(FIXED_ENV).map(([name, value]) => `${name}=${value}`);
  // A name without "=" takes the image's variable away instead of merging it in.
  return [...fixed, ...imageEnvNames.filter((name) => !Object.hasOwn(FIXED_ENV, name))];
}

/** Compute and utility by name: without them it depends on the image which of the driver's libraries are there. */
function gpuRequest(gpuIds: readonly string[]): {
  Driver: string;
  DeviceIDs: string[];
  Capabilities: string[][];
} {
  for (const id of gpuIds) if (!GPU_ID.test(id)) throw new RangeError(`${JSON.stringify(id)} is no GPU id`);
  return { Driver: "", DeviceIDs: [...gpuIds], Capabilities: [["gpu", "compute", "utility"]] };
}

const GPU_ID = /^(?:GPU|MIG)-[0-9A-Za-z/-]{1,80}$/;
const EGRESS_NETWORK = /^longshore-egress-[0-9a-f]{8}$/;
const HOST_NAME = /^[a-z0-9][a-z0-9.-]{0,252}$/;
/** Where the runner looks for it. */
const ENVIRONMENT = "/environment";
const MODULE = /^[A-Za-z_][A-Za-z0-9_]{0,99}(?:\.[A-Za-z_][A-Za-z0-9_]{0,99})*$/;
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
