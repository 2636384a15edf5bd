import { isAbsolute, join } from "node:path";
import type { BuildTools, SandboxShape } from "../../domain/ports/engine.ts";
import { MEBIBYTE } from "../../domain/resources.ts";
import { HOSTS_FILE } from "../sandbox/runner-source.ts";
import type { SandboxPaths } from "../sandbox/sandbox-paths.ts";
import { VOLUME_FOLDERS } from "../sandbox/volume.ts";
import { systemCallFilter } from "./system-call-filter.ts";

/** What PID 1 holds must not come out of the task's RAM; as with Docker, where it was measured. */
export const RUNNER_RAM_BYTES = 12 * MEBIBYTE;
/** PID 1 and one helper of its own that overlaps with the start of the task. */
const RUNNER_PROCESSES = 2;
/** PID 1 moves descriptors out of its task's way to 256 and above, even where a task may open fewer. */
const RUNNER_DESCRIPTORS = 320;
/** Frame headers, usage samples and the end frame, beside the log bytes that were asked for. */
const JOURNAL_OVERHEAD_BYTES = 16 * MEBIBYTE;
const CPU_PERIOD_MICROS = 100_000;
/** Its own, so that the kernel's choice under memory pressure falls on a sandbox before slurmd. */
const OOM_SCORE_ADJ = 500;
const CAPABILITIES = ["CAP_SETUID", "CAP_SETGID", "CAP_KILL"];
const ENVIRONMENT = "/environment";

/** Where executor-image/slurm/job.sh has mounted what it made on the node. */
const VOLUME = "/mnt/volume";

export interface BundlePlan {
  readonly shape: SandboxShape;
  readonly uid: number;
  readonly container: string;
  readonly rootfs: string;
  readonly paths: SandboxPaths;
  readonly runnerFolder: string;
  /** Where nodes find the shape's environment; null for none. */
  readonly environment: string | null;
  /** For a build of one alone: where nodes find what it brings along. */
  readonly build: BuildTools | null;
  /** It is to share its node's network. */
  readonly nodeNetwork: boolean;
}

/**
 * The sandbox as an OCI bundle's config.json: a function of checked numbers, the server's own paths and the operator's root
 * file system.
 */
export function ociBundle(plan: BundlePlan): Record<string, unknown> {
  const { shape, rootfs } = plan;
  const ramBytes = wholeNumber("ramBytes", shape.limits.ramBytes, 16 * MEBIBYTE) + RUNNER_RAM_BYTES;
  if (!isAbsolute(rootfs)) throw new RangeError(`${rootfs} is no absolute path of a root file system`);
  return {
    ociVersion: "1.0.2",
    hostname: "sandbox",
    root: { path: rootfs, readonly: true },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ["python3", "-I", "-S", "-E", "-B", "/longshore/runner", settings(plan)],
      env: [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
        "HOME=/root",
      ],
      cwd: "/",
      noNewPrivileges: true,
      oomScoreAdj: OOM_SCORE_ADJ,
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      rlimits: rlimits(shape),
    },
    mounts: [...systemMounts(), ...ownMounts(plan)],
    linux: {
      // Beside the job's: Slurm cannot take away its own that have others below them. Not among those of gVisor's sandboxes, none
      // of which may be left empty; those of a job that Slurm killed are, until another job takes them away.
      cgroupsPath: `/longshore-jobs/${plan.container}`,
      resources: {
        devices: devices(),
        // Equal: no swap. The job's script takes `swap` out where the node's kernel does not count it.
        memory: { swap: ramBytes, limit: ramBytes },
        cpu: { quota: (shape.limits.cpuMillis * CPU_PERIOD_MICROS) / 1000, period: CPU_PERIOD_MICROS },
        pids: { limit: wholeNumber("processes", shape.limits.processes, 1) + RUNNER_PROCESSES },
      },
      namespaces: ["pid", "ipc", "uts", "mount", ...(plan.nodeNetwork ? [] : ["network"])].map((type) => ({
        type,
      })),
      seccomp: systemCallFilter(),
      maskedPaths: MASKED,
      readonlyPaths: READ_ONLY,
    },
  };
}

function settings({ uid, environment }: BundlePlan): string {
  return JSON.stringify({
    uid,
    gid: uid,
    environment: environment === null ? null : ENVIRONMENT,
    // Its spec is there when it starts: an interpreter that imports beforehand would only be in the way.
    preload: [],
    prestart: false,
    one_volume: true,
    evict_on_term: true,
  });
}

function rlimits({ limits }: SandboxShape): { type: string; soft: number; hard: number }[] {
  const files = Math.max(wholeNumber("openFiles", limits.openFiles, 1), RUNNER_DESCRIPTORS);
  const largestFile = Math.max(
    wholeNumber("storageBytes", limits.storageBytes, 1),
    wholeNumber("logBytes", limits.logBytes, 0) + JOURNAL_OVERHEAD_BYTES,
    wholeNumber("artifactBytes", limits.artifactBytes, 0) + JOURNAL_OVERHEAD_BYTES,
  );
  const limit = (type: string, value: number) => ({ type, soft: value, hard: value });
  return [limit("RLIMIT_NOFILE", files), limit("RLIMIT_FSIZE", largestFile), limit("RLIMIT_CORE", 0)];
}

function systemMounts() {
  const made = (destination: string, type: string, options: readonly string[]) => ({
    destination,
    type,
    source: type,
    options,
  });
  return [
    made("/proc", "proc", ["nosuid", "noexec", "nodev"]),
    made("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    made("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    made("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777"]),
    made("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    made("/sys", "tmpfs", ["nosuid", "noexec", "nodev", "mode=755", "size=64k"]),
    made("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
  ];
}

function ownMounts({ paths, runnerFolder, environment, build, nodeNetwork }: BundlePlan) {
  return [
    bind(runnerFolder, "/longshore/runner", true),
    bind(nodeNetwork ? "/etc/hosts" : join(runnerFolder, HOSTS_FILE), "/etc/hosts", true),
    ...(nodeNetwork ? [bind("/etc/resolv.conf", "/etc/resolv.conf", true)] : []),
    bind(paths.journal, "/longshore/journal", false),
    bind(paths.input, "/longshore/input", true),
    bind(paths.artifacts, "/longshore/artifacts", false),
    ...(environment === null ? [] : [bind(environment, ENVIRONMENT, true)]),
    ...(build === null ? [] : buildMounts(build)),
    ...VOLUME_FOLDERS.map(({ name, target }) => bind(join(VOLUME, name), target, false)),
  ];
}

function buildMounts({ uv, caBundle, wheels }: BuildTools) {
  return [
    bind(uv, "/longshore/uv", true),
    ...(caBundle === null ? [] : [bind(caBundle, "/longshore/ca.pem", true)]),
    ...(wheels === null ? [] : [bind(wheels, "/longshore/wheels", true)]),
  ];
}

function bind(source: string, destination: string, readOnly: boolean) {
  return {
    destination,
    source,
    type: "bind",
    options: ["bind", "private", "nosuid", "nodev", readOnly ? "ro" : "rw"],
  };
}

/** Nothing but what every program expects: null, zero, full, random, urandom, tty, the terminals of its own. */
function devices() {
  const character = (major: number, minor?: number) => ({
    allow: true,
    type: "c",
    access: "rwm",
    major,
    ...(minor !== undefined && { minor }),
  });
  return [
    { allow: false, access: "rwm" },
    ...[3, 5, 7, 8, 9].map((minor) => character(1, minor)),
    character(5, 0),
    character(5, 2),
    character(136),
  ];
}

/** As other runtimes have them: what tells of the host or steers it. */
const MASKED = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
];
const READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

function wholeNumber(name: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least)
    throw new RangeError(`${name} is ${value}, which is no whole number from ${least} on`);
  return value;
}
