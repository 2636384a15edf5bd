import {
  Limit,
  type Resources,
  type Budgets as WireBudgets,
} from "@longshore/proto/longshore/v1/resources.ts";
import {
  type CreateTaskRequest,
  Isolation,
  Network,
  Task_State,
} from "@longshore/proto/longshore/v1/task.ts";
import type { Budgets } from "#server/domain/limits.ts";
import type { ResourceRequest } from "#server/domain/resources.ts";
import type { TaskInput, TaskSpec } from "#server/domain/task.ts";
import type { TaskRequest } from "../application.ts";
import { FieldCheck } from "./field-check.ts";

/** What is asked for and what its wire form alone shows to be wrong; whether it makes sense is for the application to say. */
export function specFromProto(request: CreateTaskRequest, check = new FieldCheck()): TaskRequest {
  const spec: TaskSpec = {
    taskType: request.taskType,
    code: request.code,
    resources: resourcesFromProto(request.resources),
    archiveSha256: request.archiveSha256,
    entrypoint: request.entrypoint,
    args: request.args,
    command: request.command,
    env: request.env,
    secretEnv: {},
    stdin: Buffer.from(request.stdin).toString("base64"),
    workingDirectory: request.workingDirectory,
    image: request.image,
    environment: request.environment ?? null,
    inputs: inputsFromProto(request, check),
    outputs: request.outputs,
    budgets: budgetsFromProto(request.budgets, check),
    timeoutMillis: check.duration("timeout", request.timeout, "above 0"),
    queueTimeoutMillis: check.duration("queue_timeout", request.queueTimeout, "above 0"),
    totalTimeoutMillis: check.duration("total_timeout", request.totalTimeout, "above 0"),
    network: check.choice("network", Network, request.network),
    isolation: check.choice("isolation", Isolation, request.isolation),
    requireEnforced: check.choices("require_enforced", Limit, request.requireEnforced),
    engine: request.placement?.engine ?? "",
    account: request.placement?.account ?? "",
    partition: request.placement?.partition ?? "",
    instanceType: request.placement?.instanceType ?? "",
    priority: request.priority,
    expectedDurationMillis: check.duration("expected_duration", request.expectedDuration, "above 0"),
    dependsOn: request.dependsOn,
    maxAttempts: check.count("max_attempts", request.maxAttempts),
    useResultCache: request.useResultCache,
    displayName: request.displayName,
    labels: request.labels,
    webhooks: request.webhooks.map(({ url, states }, index) => ({
      url,
      states: check.choices(`webhooks[${index}].states`, Task_State, states),
    })),
    experiment: request.experiment ?? null,
    retentionMillis: check.duration("retention", request.retention, "0 or more"),
    requestId: request.requestId,
  };
  return { spec, secrets: request.secretEnv, violations: check.violations };
}

function inputsFromProto({ inputs }: CreateTaskRequest, check: FieldCheck): TaskInput[] {
  return inputs.flatMap(({ path, source }, index): TaskInput[] => {
    switch (source?.$case) {
      case "blobSha256":
        return [{ kind: "blob", path, sha256: source.value }];
      case "artifact":
        return [{ kind: "artifact", path, taskId: source.value.taskId, artifactPath: source.value.path }];
      default:
        check.add(`inputs[${index}]`, "names no source; give blob_sha256 or artifact");
        return [];
    }
  });
}

export function resourcesFromProto(resources: Resources | undefined): ResourceRequest | null {
  if (resources === undefined) return null;
  const { cpu, gpu, ram, storage, gpuModel } = resources;
  return { cpu, gpu, ram, storage, gpuModel };
}

function budgetsFromProto(budgets: WireBudgets | undefined, check: FieldCheck): Budgets | null {
  if (budgets === undefined) return null;
  return {
    processes: check.count("budgets.max_processes", budgets.maxProcesses),
    openFiles: check.count("budgets.max_open_files", budgets.maxOpenFiles),
    inodes: check.size("budgets.max_inodes", budgets.maxInodes),
    logBytes: check.size("budgets.max_log_bytes", budgets.maxLogBytes),
    artifactBytes: check.size("budgets.max_artifact_bytes", budgets.maxArtifactBytes),
  };
}
