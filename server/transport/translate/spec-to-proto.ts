import { Limit, type Budgets as WireBudgets } from "@longshore/proto/longshore/v1/resources.ts";
import {
  type CreateTaskRequest,
  type Input,
  Isolation,
  Network,
  type Placement,
  Task_State,
  type Environment as WireEnvironment,
} from "@longshore/proto/longshore/v1/task.ts";
import type { Budgets } from "#server/domain/limits.ts";
import type { EnvironmentSpec, TaskInput, TaskSpec } from "#server/domain/task.ts";
import { durationOfMillis, int64 } from "./to-wire.ts";

/** The spec as it was asked for. The basic view leaves out what may be large: code and stdin. */
export function specToProto(spec: TaskSpec, view: "basic" | "full"): CreateTaskRequest {
  const full = view === "full";
  return {
    taskType: spec.taskType,
    code: full ? spec.code : "",
    resources: spec.resources ?? undefined,
    archiveSha256: spec.archiveSha256,
    entrypoint: spec.entrypoint,
    args: [...spec.args],
    command: [...spec.command],
    env: { ...spec.env },
    secretEnv: Object.fromEntries(Object.keys(spec.secretEnv).map((name) => [name, ""])),
    stdin: full ? Buffer.from(spec.stdin, "base64") : new Uint8Array(),
    workingDirectory: spec.workingDirectory,
    image: spec.image,
    environment: spec.environment === null ? undefined : environmentToProto(spec.environment),
    inputs: spec.inputs.map(inputToProto),
    outputs: [...spec.outputs],
    budgets: spec.budgets === null ? undefined : budgetsToProto(spec.budgets),
    timeout: durationOfMillis(spec.timeoutMillis),
    queueTimeout: durationOfMillis(spec.queueTimeoutMillis),
    totalTimeout: durationOfMillis(spec.totalTimeoutMillis),
    network: Network[spec.network ?? "UNSPECIFIED"],
    isolation: Isolation[spec.isolation ?? "UNSPECIFIED"],
    requireEnforced: spec.requireEnforced.map((limit) => Limit[limit]),
    placement: placementToProto(spec),
    priority: spec.priority,
    expectedDuration: durationOfMillis(spec.expectedDurationMillis),
    dependsOn: [...spec.dependsOn],
    maxAttempts: spec.maxAttempts,
    useResultCache: spec.useResultCache,
    displayName: spec.displayName,
    labels: { ...spec.labels },
    webhooks: spec.webhooks.map(({ url, states }) => ({
      url,
      states: states.map((state) => Task_State[state]),
    })),
    retention: durationOfMillis(spec.retentionMillis),
    requestId: spec.requestId,
    experiment: spec.experiment ?? undefined,
  };
}

function environmentToProto({ requirements, preload }: EnvironmentSpec): WireEnvironment {
  return { requirements, preload: [...preload] };
}

function inputToProto(input: TaskInput): Input {
  const { path } = input;
  return input.kind === "blob"
    ? { path, source: { $case: "blobSha256", value: input.sha256 } }
    : {
        path,
        source: { $case: "artifact", value: { taskId: input.taskId, path: input.artifactPath } },
      };
}

function placementToProto({ engine, account, partition, instanceType }: TaskSpec): Placement | undefined {
  const placement = { engine, account, partition, instanceType };
  return Object.values(placement).some((value) => value !== "") ? placement : undefined;
}

export function budgetsToProto(budgets: Budgets): WireBudgets {
  return {
    maxProcesses: budgets.processes,
    maxOpenFiles: budgets.openFiles,
    maxInodes: int64(budgets.inodes),
    maxLogBytes: int64(budgets.logBytes),
    maxArtifactBytes: int64(budgets.artifactBytes),
  };
}
