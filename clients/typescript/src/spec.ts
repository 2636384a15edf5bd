import type { Duration } from "@longshore/proto/google/protobuf/duration";
import { Limit } from "@longshore/proto/longshore/v1/resources";
import { CreateTaskRequest, Isolation, Network } from "@longshore/proto/longshore/v1/task";
import { millisToDuration, parseDuration } from "./duration.ts";
import { type FieldViolation, InvalidRequest } from "./errors.ts";
import { type InputOptions, inputOf, listInputs } from "./inputs.ts";
import { listOf } from "./lists.ts";
import type { StateName } from "./names.ts";
import { readStates } from "./states.ts";

/** A time with its unit: "30s", "10m", "1h30m", "500ms". */
export type DurationText = string;
/** A size with its unit: "512MB", "1GB", "1GiB". MB and MiB both mean 2^20 bytes. */
export type SizeText = string;

export type NetworkName = "none" | "egress" | "tracking";
export type IsolationName = "container" | "gvisor";
export type LimitName = Lowercase<Exclude<keyof typeof Limit, "UNSPECIFIED">>;

/** How much of the machine; what is left out takes the server's default. */
export interface ResourceOptions {
  /** CPUs: 2, 0.5 or "0.5". */
  readonly cpu?: number | string;
  readonly gpu?: number | string;
  readonly gpuModel?: string;
  readonly ram?: SizeText;
  /** Disk for the workspace, /tmp and HOME together. */
  readonly storage?: SizeText;
}

/** An address, or one with the states that it is told of. */
export type WebhookOption = string | { readonly url: string; readonly states?: readonly StateName[] };

/** Everything that can be asked of a task. The server checks the values and names all wrong ones at once. */
export interface TaskOptions extends ResourceOptions {
  /** Longest run; the server's default is 30 s. */
  readonly timeout?: DurationText;
  readonly queueTimeout?: DurationText;
  readonly totalTimeout?: DurationText;
  /** File in the project, or "module:function". */
  readonly entrypoint?: string;
  readonly args?: readonly string[];
  /** Runs this instead of Python on the entrypoint. */
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Kept encrypted and never sent back. */
  readonly secretEnv?: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array;
  readonly workingDirectory?: string;
  readonly image?: string;
  /** Lines of a requirements.txt; without it the project's own is used, and an empty one asks for no packages. */
  readonly requirements?: string | readonly string[];
  /** Modules that a warm sandbox imports beforehand. */
  readonly preload?: readonly string[];
  /** Globs below the workspace; what matches at the end becomes artifacts. */
  readonly outputs?: readonly string[];
  /** Data by the path that it is placed at, read-only: a file here is uploaded first. */
  readonly inputs?: InputOptions;
  readonly network?: NetworkName;
  readonly isolation?: IsolationName;
  readonly requireEnforced?: readonly LimitName[];
  readonly placement?: {
    readonly engine?: string;
    readonly account?: string;
    readonly partition?: string;
    readonly instanceType?: string;
  };
  /** -100 to 100, higher first. */
  readonly priority?: number;
  /** An estimate of the run, which lets the shorter go first; without it the server goes by earlier runs. */
  readonly expectedDuration?: DurationText;
  /** Tasks, or their ids, that must succeed first; when one does not, this one ends at once. */
  readonly dependsOn?: readonly (string | { readonly id: string })[];
  /** Tries after faults of the system; failures of your code are never retried. */
  readonly maxAttempts?: number;
  /** Takes the result of an equal earlier task, at once and free of charge, where there is one. */
  readonly cache?: boolean;
  readonly maxProcesses?: number;
  readonly maxOpenFiles?: number;
  readonly maxInodes?: number;
  readonly maxLogBytes?: number;
  readonly maxArtifactBytes?: number;
  /** For people; need not be unique. */
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Addresses told how it ends, or of the states given; signed with the tenant's secret (`client.webhooks`). */
  readonly webhooks?: readonly WebhookOption[];
  readonly retention?: DurationText;
  /** Same id and content answers the first task; made up when left out. */
  readonly requestId?: string;
  /** MLflow: a tracking server that the server's configuration names, by name or URL, and the experiment's name. */
  readonly experiment?: { readonly trackingUri?: string; readonly name?: string };
}

const NETWORKS: Readonly<Record<NetworkName, Network>> = {
  none: Network.NONE,
  egress: Network.EGRESS,
  tracking: Network.TRACKING,
};
const ISOLATIONS: Readonly<Record<IsolationName, Isolation>> = {
  container: Isolation.CONTAINER,
  gvisor: Isolation.GVISOR,
};

/** Translates options into the request, all but the program itself; names every option that cannot be translated. */
export function requestOf(options: TaskOptions): CreateTaskRequest {
  const violations: FieldViolation[] = [];
  const request = translate(options, violations);
  if (violations.length > 0) throw new InvalidRequest(violations);
  return request;
}

/** What submit would refuse before it asks the server: for callers that have problems of their own to name beside these. */
export function findViolations(options: TaskOptions): FieldViolation[] {
  const violations: FieldViolation[] = [];
  translate(options, violations);
  return violations;
}

function translate(options: TaskOptions, violations: FieldViolation[]): CreateTaskRequest {
  const duration = (field: string, text: DurationText | undefined) => readDuration(field, text, violations);
  const list = <Item>(field: string, items: readonly Item[] | undefined) => listOf(field, items, violations);
  return CreateTaskRequest.fromPartial({
    taskType: "execute_code",
    resources: resourcesOf(options),
    entrypoint: options.entrypoint,
    args: [...list("args", options.args)],
    command: [...list("command", options.command)],
    env: { ...options.env },
    secretEnv: { ...options.secretEnv },
    stdin: typeof options.stdin === "string" ? new TextEncoder().encode(options.stdin) : options.stdin,
    workingDirectory: options.workingDirectory,
    image: options.image,
    environment: environmentOf({ ...options, preload: options.preload && list("preload", options.preload) }),
    inputs: listInputs(options.inputs).map(inputOf),
    outputs: [...list("outputs", options.outputs)],
    budgets: budgetsOf(options),
    timeout: duration("timeout", options.timeout),
    queueTimeout: duration("queue_timeout", options.queueTimeout),
    totalTimeout: duration("total_timeout", options.totalTimeout),
    network: readName("network", options.network, NETWORKS, violations),
    isolation: readName("isolation", options.isolation, ISOLATIONS, violations),
    requireEnforced: list("require_enforced", options.requireEnforced).map((name) =>
      readLimit(name, violations),
    ),
    placement: options.placement,
    priority: options.priority,
    expectedDuration: duration("expected_duration", options.expectedDuration),
    dependsOn: list("depends_on", options.dependsOn).map((task) =>
      typeof task === "string" ? task : task.id,
    ),
    maxAttempts: options.maxAttempts,
    useResultCache: options.cache,
    displayName: options.name,
    labels: { ...options.labels },
    webhooks: list("webhooks", options.webhooks).map((webhook) => webhookOf(webhook, violations)),
    retention: duration("retention", options.retention),
    requestId: options.requestId ?? crypto.randomUUID(),
    experiment: options.experiment,
  });
}

function webhookOf(webhook: WebhookOption, violations: FieldViolation[]) {
  const { url, states = [] } = typeof webhook === "string" ? { url: webhook } : webhook;
  const listed = listOf("webhooks.states", states, violations);
  return { url, states: readStates("webhooks", listed, violations) };
}

/** Absent when nothing is asked, so that the record shows what was asked. */
export function resourcesOf(options: ResourceOptions): CreateTaskRequest["resources"] {
  const { cpu, gpu, gpuModel = "", ram = "", storage = "" } = options;
  const resources = {
    cpu: String(cpu ?? ""),
    gpu: String(gpu ?? ""),
    gpuModel,
    ram: String(ram),
    storage: String(storage),
  };
  return Object.values(resources).every((value) => value === "") ? undefined : resources;
}

export function readDuration(
  field: string,
  text: DurationText | undefined,
  violations: FieldViolation[],
): Duration | undefined {
  if (text === undefined) return undefined;
  const millis = parseDuration(String(text));
  if (millis === undefined) {
    violations.push({ field, description: `"${text}" needs a number and a unit, such as 30s, 10m or 1h30m` });
  }
  return millis === undefined ? undefined : millisToDuration(millis);
}

/** A time that is the only one of a call. Throws InvalidRequest. */
export function durationOption(field: string, text: DurationText | undefined): Duration | undefined {
  const violations: FieldViolation[] = [];
  const duration = readDuration(field, text, violations);
  if (violations.length > 0) throw new InvalidRequest(violations);
  return duration;
}

function readName<Name extends string, Value>(
  field: string,
  name: Name | undefined,
  values: Readonly<Record<Name, Value>>,
  violations: FieldViolation[],
): Value | undefined {
  if (name === undefined) return undefined;
  if (!Object.hasOwn(values, name)) {
    violations.push({ field, description: `"${name}" is not one of ${Object.keys(values).join(", ")}` });
  }
  return values[name];
}

const LIMITS: ReadonlyMap<string, Limit> = new Map(
  Object.entries(Limit)
    .filter(([name]) => name !== "UNSPECIFIED")
    .map(([name, value]) => [name.toLowerCase(), value]),
);

function readLimit(name: string, violations: FieldViolation[]): Limit {
  const limit = LIMITS.get(name);
  if (limit === undefined) {
    const known = [...LIMITS.keys()].join(", ");
    violations.push({ field: "require_enforced", description: `"${name}" is not one of ${known}` });
  }
  return limit ?? Limit.UNSPECIFIED;
}

function environmentOf({ requirements, preload }: TaskOptions): CreateTaskRequest["environment"] {
  if (requirements === undefined && preload === undefined) return undefined;
  const lines = typeof requirements === "string" ? requirements : (requirements ?? []).join("\n");
  // Empty beside modules to preload means the project's own file; a comment means none.
  const none = requirements !== undefined && lines === "" && preload !== undefined && preload.length > 0;
  return { requirements: none ? "# none" : lines, preload: [...(preload ?? [])] };
}

function budgetsOf(options: TaskOptions): CreateTaskRequest["budgets"] {
  const budgets = {
    maxProcesses: options.maxProcesses ?? 0,
    maxOpenFiles: options.maxOpenFiles ?? 0,
    maxInodes: BigInt(options.maxInodes ?? 0),
    maxLogBytes: BigInt(options.maxLogBytes ?? 0),
    maxArtifactBytes: BigInt(options.maxArtifactBytes ?? 0),
  };
  return Object.values(budgets).every((value) => Number(value) === 0) ? undefined : budgets;
}
