import type {
  V1Container,
  V1Job,
  V1PodSpec,
  V1ResourceRequirements,
  V1VolumeMount,
} from "@kubernetes/client-node";
import type { SandboxShape } from "../../domain/ports/engine.ts";
import { MEBIBYTE, type Resources } from "../../domain/resources.ts";
import { checkedSandboxId } from "../sandbox/sandbox-id.ts";
import { LABELS } from "./naming.ts";
import type { KubernetesPlacement } from "./options.ts";

/** What PID 1 holds must not come out of the task's RAM; measured for the Docker engine. */
const RUNNER_RAM_BYTES = 12 * MEBIBYTE;
/** Its PID 1 and the connections of a server, about 9 MB each. */
const COURIER_RAM_BYTES = 96 * MEBIBYTE;
const COURIER_CPU_MILLIS = 20;

/** What the pod of a task asks for besides what its task may use. */
export const SANDBOX_OVERHEAD: Resources = {
  cpuMillis: COURIER_CPU_MILLIS,
  ramBytes: RUNNER_RAM_BYTES + COURIER_RAM_BYTES,
  storageBytes: 0,
  gpuCount: 0,
};
/** PID 1 moves descriptors out of its task's way to 256 and above, even where a task may open fewer. */
const RUNNER_DESCRIPTORS = 320;
/** Frame headers, usage samples and the end frame, beside the log bytes that were asked for. */
const JOURNAL_OVERHEAD_BYTES = 16 * MEBIBYTE;
/** Project and inputs lie in the pod's data volume while it runs; how large they are is not known when it is made. */
const INPUT_ALLOWANCE_BYTES = 8 * 1024 * MEBIBYTE;
/** A runner that got no spec for so long has no server any more. */
const IDLE_SECONDS = 300;
/** Beyond the runner's own deadline: staging in, collecting, grace. */
const SLACK_SECONDS = 600;
/** Jobs that nobody removes, because their server is gone for good, go by themselves. */
const KEEP_ENDED_SECONDS = 3600;

export const RUNNER = "runner";
export const COURIER = "courier";
const DATA_FOLDER = "/longshore/data";
export const PROGRAMS = "/longshore/programs";

const FIXED_ENV = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
  HOME: "/root",
} as const;

/** -I -S -E -B: an image's sitecustomize, .pth files or PYTHONPATH would otherwise run with the runner's rights. */
export const PYTHON = ["python3", "-I", "-S", "-E", "-B"] as const;

export interface ProgramVolume {
  /** The config map with runner and programs, named by its content. */
  readonly configMap: string;
  /** Its keys and the paths below /longshore/runner and /longshore/programs that they stand for. */
  readonly runner: readonly { readonly key: string; readonly path: string }[];
  readonly programs: readonly { readonly key: string; readonly path: string }[];
}

export interface JobPlan {
  readonly name: string;
  readonly sandboxId: string;
  readonly installationId: string;
  readonly engine: string;
  readonly taskId: string;
  readonly attempt: number;
  readonly shape: SandboxShape;
  /** As the kubelets pull it. */
  readonly image: string;
  readonly uid: number;
  /** For the build of an environment: with which network. */
  readonly build: { readonly network: boolean } | null;
  readonly volume: ProgramVolume;
  readonly placement: KubernetesPlacement;
  /** Labels that its node must have besides the operator's. */
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly startSeconds: number;
  readonly holdSeconds: number;
  readonly nodeAwaySeconds: number;
}

/**
 * The whole job of a sandbox as a function of checked numbers, the operator's settings and the image's reference: no text of a client
 * is among the inputs. What an image declares about how to start it is overridden.
 */
export function sandboxJob(plan: JobPlan): V1Job {
  const runSeconds =
    Math.ceil(wholeNumber("runMillis", plan.shape.limits.runMillis, 1) / 1000) + SLACK_SECONDS;
  const lifeSeconds = IDLE_SECONDS + runSeconds + plan.holdSeconds;
  const labels = {
    [LABELS.role]: "sandbox",
    [LABELS.installation]: plan.installationId.toLowerCase(),
    [LABELS.engine]: plan.engine,
    [LABELS.sandbox]: checkedSandboxId(plan.sandboxId),
    [LABELS.task]: plan.build === null ? checkedSandboxId(plan.taskId) : checkedBuildId(plan.taskId),
    ...(plan.build?.network === true && { [LABELS.network]: "build" }),
    [LABELS.attempt]: String(wholeNumber("attempt", plan.attempt, 0)),
  };
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: plan.name, labels },
    spec: {
      // One attempt is one pod: who tries again is the server, which knows what ran.
      backoffLimit: 0,
      podReplacementPolicy: "Failed",
      // A backstop for servers that never come back; the runner and the server keep the real deadlines.
      activeDeadlineSeconds: plan.startSeconds + lifeSeconds + SLACK_SECONDS,
      ttlSecondsAfterFinished: KEEP_ENDED_SECONDS,
      template: { metadata: { labels }, spec: podSpec(plan, lifeSeconds) },
    },
  };
}

function podSpec(plan: JobPlan, lifeSeconds: number): V1PodSpec {
  const { shape, placement, uid } = plan;
  return {
    ...hardenedPod(placement),
    nodeSelector: { ...placement.nodeSelector, ...plan.nodeLabels },
    ...(placement.runtimeClass === "" ? {} : { runtimeClassName: placement.runtimeClass }),
    // Instead of the five minutes that a cluster gives by default.
    tolerations: [
      ...placement.tolerations.map((toleration) => ({ ...toleration })),
      ...["not-ready", "unreachable"].map((state) => ({
        key: `node.kubernetes.io/${state}`,
        operator: "Exists",
        effect: "NoExecute",
        tolerationSeconds: plan.nodeAwaySeconds,
      })),
    ],
    ...(plan.build?.network === true ? NODE_DNS : NO_DNS),
    hostname: "sandbox",
    volumes: [
      { name: "data", emptyDir: {} },
      ...broughtVolumes(plan).map((name) => ({ name, emptyDir: {} })),
      { name: "volume", emptyDir: volumeOf(plan) },
      { name: "shm", emptyDir: { medium: "Memory", sizeLimit: String(shape.limits.ramBytes) } },
      {
        name: "runner",
        configMap: { name: plan.volume.configMap, items: [...plan.volume.runner], defaultMode: 0o444 },
      },
      {
        name: "programs",
        configMap: { name: plan.volume.configMap, items: [...plan.volume.programs], defaultMode: 0o444 },
      },
    ],
    initContainers: [
      {
        ...hardenedContainer(plan, "prepare", ["CHOWN"]),
        command: [
          ...PYTHON,
          `${PROGRAMS}/prepare.py`,
          String(uid),
          ...(plan.build === null ? [] : ["tools"]),
        ],
        volumeMounts: [
          mount("data", DATA_FOLDER),
          mount("volume", "/longshore/volume"),
          ...(plan.build === null ? [] : [mount("tools", TOOLS_FOLDER)]),
          readOnly("programs", PROGRAMS),
        ],
        resources: courierResources(),
      },
    ],
    containers: [
      {
        ...hardenedContainer(plan, COURIER, []),
        command: [...PYTHON, `${PROGRAMS}/courier.py`, "wait", String(IDLE_SECONDS), String(lifeSeconds)],
        volumeMounts: [
          mount("data", DATA_FOLDER),
          readOnly("programs", PROGRAMS),
          ...broughtVolumes(plan).map((name) => mount(name, `/longshore/${name}`)),
        ],
        resources: courierResources(),
      },
      {
        ...hardenedContainer(plan, RUNNER, ["SETUID", "SETGID", "KILL"]),
        command: [...PYTHON, `${PROGRAMS}/start.py`, runnerSettings(plan), startSettings(shape)],
        volumeMounts: [...runnerMounts(), ...broughtMounts(plan)],
        resources: runnerResources(plan),
      },
    ],
  };
}

/** What every pod of ours has, the one that tries an image out, too. */
export function hardenedPod(placement: KubernetesPlacement): V1PodSpec {
  return {
    restartPolicy: "Never",
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 0,
    hostNetwork: false,
    hostPID: false,
    hostIPC: false,
    securityContext: { seccompProfile: { type: "RuntimeDefault" } },
    nodeSelector: { ...placement.nodeSelector },
    ...(placement.priorityClass === "" ? {} : { priorityClassName: placement.priorityClass }),
    imagePullSecrets: placement.imagePullSecrets.map((name) => ({ name })),
    containers: [],
  };
}

export function hardenedContainer(
  { image, placement }: Pick<JobPlan, "image" | "placement">,
  name: string,
  capabilities: readonly string[],
): V1Container {
  return {
    name,
    image,
    imagePullPolicy: placement.imagePullPolicy,
    workingDir: "/",
    stdin: false,
    tty: false,
    // Root in its container, whatever the image says: only so can the runner give its task another uid than its journal has.
    securityContext: {
      runAsUser: 0,
      runAsGroup: 0,
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"], ...(capabilities.length === 0 ? {} : { add: [...capabilities] }) },
    },
  };
}

function volumeOf({ shape, placement }: JobPlan) {
  const sizeLimit = String(wholeNumber("storageBytes", shape.limits.storageBytes, 1));
  return placement.storage === "memory" ? { medium: "Memory", sizeLimit } : { sizeLimit };
}

/** Files, not folders: nothing that a task could leave a program in is seen by two containers. */
function runnerMounts(): V1VolumeMount[] {
  return [
    readOnly("runner", "/longshore/runner"),
    readOnly("programs", PROGRAMS),
    { ...mount("data", "/longshore/journal"), subPath: "journal" },
    { ...mount("data", "/longshore/artifacts"), subPath: "artifacts" },
    { ...readOnly("data", "/longshore/input"), subPath: "input" },
    { ...readOnly("data", "/longshore/spec"), subPath: "spec" },
    { ...mount("volume", "/workspace"), subPath: "workspace" },
    { ...mount("volume", "/tmp"), subPath: "tmp" },
    { ...mount("volume", "/home/task"), subPath: "home" },
    mount("shm", "/dev/shm"),
  ];
}

/** What the courier unpacks before the spec comes: packages, and what builds of them take. */
function broughtVolumes({ shape, build }: JobPlan): ("environment" | "tools")[] {
  return [
    ...(hasPackages(shape) ? ["environment" as const] : []),
    ...(build === null ? [] : ["tools" as const]),
  ];
}

function broughtMounts({ shape, build }: JobPlan): V1VolumeMount[] {
  const tool = (name: string) => ({ ...readOnly("tools", `/longshore/${name}`), subPath: name });
  return [
    ...(hasPackages(shape) ? [readOnly("environment", ENVIRONMENT)] : []),
    ...(build === null ? [] : ["uv", "ca.pem", "wheels"].map(tool)),
  ];
}

function hasPackages({ environment }: SandboxShape): boolean {
  return (environment?.folder ?? null) !== null;
}

function mount(name: string, mountPath: string): V1VolumeMount {
  return { name, mountPath };
}

function readOnly(name: string, mountPath: string): V1VolumeMount {
  return { name, mountPath, readOnly: true };
}

function runnerResources({ shape, placement }: JobPlan): V1ResourceRequirements {
  const { limits, gpuIds } = shape;
  const own = {
    cpu: `${wholeNumber("cpuMillis", limits.cpuMillis, 10)}m`,
    memory: String(wholeNumber("ramBytes", limits.ramBytes, 16 * MEBIBYTE) + RUNNER_RAM_BYTES),
    ...(gpuIds.length === 0 ? {} : { [placement.gpuResource]: String(gpuIds.length) }),
  };
  const kept =
    wholeNumber("logBytes", limits.logBytes, 0) + wholeNumber("artifactBytes", limits.artifactBytes, 0);
  const stored = placement.storage === "disk" ? limits.storageBytes : 0;
  return {
    requests: { ...own, "ephemeral-storage": String(stored) },
    limits: {
      ...own,
      "ephemeral-storage": String(stored + kept + JOURNAL_OVERHEAD_BYTES + INPUT_ALLOWANCE_BYTES),
    },
  };
}

function courierResources(): V1ResourceRequirements {
  const memory = String(COURIER_RAM_BYTES);
  return {
    requests: { cpu: `${COURIER_CPU_MILLIS}m`, memory },
    limits: { cpu: "1", memory, "ephemeral-storage": String(64 * MEBIBYTE) },
  };
}

function runnerSettings({ uid, shape }: JobPlan): string {
  const preload = shape.environment?.preload ?? [];
  for (const name of preload)
    if (!MODULE.test(name)) throw new RangeError(`${JSON.stringify(name)} is no name of a module`);
  return JSON.stringify({
    uid,
    gid: uid,
    preload,
    environment: hasPackages(shape) ? ENVIRONMENT : null,
    // An interpreter that starts before its packages are there would not find them.
    prestart: !hasPackages(shape),
    one_volume: true,
    // The kubelet's SIGTERM must not look like a client's cancellation.
    evict_on_term: true,
  });
}

/** RLIMIT_FSIZE bounds every single file, the journal and the artifacts among them, even if PID 1 was taken over. */
function startSettings({ limits }: SandboxShape): string {
  return JSON.stringify({
    descriptors: Math.max(wholeNumber("openFiles", limits.openFiles, 1), RUNNER_DESCRIPTORS),
    file_bytes: Math.max(
      limits.storageBytes,
      limits.logBytes + JOURNAL_OVERHEAD_BYTES,
      limits.artifactBytes + JOURNAL_OVERHEAD_BYTES,
    ),
    env: FIXED_ENV,
  });
}

/** Nothing of the cluster is told to a task, and without a network nobody answers. */
const NO_DNS: Pick<V1PodSpec, "dnsPolicy" | "dnsConfig"> = {
  dnsPolicy: "None",
  dnsConfig: {
    nameservers: ["127.0.0.1"],
    options: [
      { name: "timeout", value: "1" },
      { name: "attempts", value: "1" },
    ],
  },
};
/** The node's: it knows the index, and nothing of the cluster. */
const NODE_DNS: typeof NO_DNS = { dnsPolicy: "Default" };
const ENVIRONMENT = "/environment";
const TOOLS_FOLDER = "/longshore/tools";
const BUILD_ID = /^environment-[0-9a-f]{16}$/;

/** It becomes a label. */
function checkedBuildId(id: string): string {
  if (!BUILD_ID.test(id)) throw new RangeError(`${JSON.stringify(id.slice(0, 64))} is no id of a build`);
  return id;
}

const MODULE = /^[A-Za-z_][A-Za-z0-9_]{0,99}(?:\.[A-Za-z_][A-Za-z0-9_]{0,99})*$/;

/** The last gate before the cluster: what is no whole number must not become part of a quantity. */
function wholeNumber(name: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least)
    throw new RangeError(`${name} is ${value}, which is no whole number from ${least} on`);
  return value;
}
