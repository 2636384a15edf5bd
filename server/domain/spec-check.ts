import { listNames } from "./alias.ts";
import { MAX_DEPENDENCIES } from "./dependency.ts";
import type { FieldViolation } from "./errors.ts";
import { checkInputs } from "./input-check.ts";
import { withInstanceType } from "./instance-type.ts";
import type { Budgets, TaskLimits } from "./limits.ts";
import type { Policy } from "./policy.ts";
import { parseResources } from "./resources.ts";
import { isSha256 } from "./sha256.ts";
import type { Program, TaskSpec } from "./task.ts";
import { checkExperiment } from "./tracking.ts";
import { normalisePath } from "./workspace-path.ts";

const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** Read by the loader, the GPU runtime or ourselves before the user's code begins. */
const RESERVED_ENV = /^(LD_|NVIDIA_|LONGSHORE_)/;
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,64}$/;
const MODULE_FUNCTION = /^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$/;
const LABEL_KEY = /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
/** These come to the command lines and requests of schedulers. */
const PLACEMENT = /^[A-Za-z0-9]([A-Za-z0-9._@-]{0,61}[A-Za-z0-9])?$/;
const MAX_ARGS = 1000;
const MAX_ARGS_BYTES = 128 * 1024;
const MAX_ENV_BYTES = 128 * 1024;
const MAX_OUTPUTS = 100;
const MAX_LABELS = 64;
const MAX_LABEL_LENGTH = 63;

const bytes = (text: string): number => new TextEncoder().encode(text).length;

/** Checks all that can be said of a spec without looking anything up; every wrong field is added to `violations`. */
export function checkSpec(spec: TaskSpec, policy: Policy, violations: FieldViolation[]): TaskLimits {
  const refuse = (field: string, description: string) => violations.push({ field, description });
  if (spec.taskType !== "" && spec.taskType !== "execute_code") {
    refuse("task_type", `"${spec.taskType.slice(0, 100)}" is unknown; use "execute_code" or leave it out`);
  }
  checkSource(spec, policy, refuse);
  checkProcess(spec, policy, refuse);
  checkOutputs(spec, refuse);
  checkInputs(spec, violations);
  checkRecord(spec, policy, refuse);
  checkPlacement(spec, policy, refuse);
  checkExperiment(spec, policy, violations);
  const resources = parseResources(
    withInstanceType(spec.resources, policy.instanceTypes.get(spec.instanceType)),
    policy.defaultResources,
    "resources",
    violations,
  );
  return { ...resources, ...checkBudgets(spec, policy, refuse), ...checkTimes(spec, policy, refuse) };
}

/** Whether the engine has accounts and partitions is the engine's to say. */
function checkPlacement(spec: TaskSpec, policy: Policy, refuse: Refuse): void {
  for (const [field, value] of [
    ["placement.account", spec.account],
    ["placement.partition", spec.partition],
    ["placement.instance_type", spec.instanceType],
  ] as const) {
    if (value !== "" && !PLACEMENT.test(value))
      refuse(field, "must have 1 to 63 letters, digits and . _ @ - between them");
  }
  const { instanceTypes } = policy;
  if (spec.instanceType !== "" && instanceTypes.size > 0 && !instanceTypes.has(spec.instanceType)) {
    refuse(
      "placement.instance_type",
      `"${spec.instanceType.slice(0, 100)}" is none of this server's: ${listNames(instanceTypes.keys())}`,
    );
  }
}

type Refuse = (field: string, description: string) => void;

function checkSource(spec: TaskSpec, policy: Policy, refuse: Refuse): void {
  const hasArchive = spec.archiveSha256 !== "";
  if (spec.code !== "" && hasArchive) {
    refuse("code", "and an archive are both given; send one of them");
    refuse("archive_sha256", "and code are both given; send one of them");
  }
  if (spec.code === "" && !hasArchive && spec.command.length === 0) {
    refuse("code", "is empty; give code, an archive, or a command");
  }
  if (spec.code !== "" && spec.code.trim() === "") refuse("code", "holds nothing but white space");
  const codeBytes = bytes(spec.code);
  if (codeBytes > policy.maxCodeBytes) {
    refuse(
      "code",
      `has ${codeBytes} bytes; at most ${policy.maxCodeBytes} are allowed, so send a project archive`,
    );
  }
  if (hasArchive && !isSha256(spec.archiveSha256)) {
    refuse("archive_sha256", "is not a SHA-256 digest of 64 lower-case hex digits");
  }
  if (spec.entrypoint !== "") {
    if (spec.command.length > 0) refuse("entrypoint", "and command are both given; send one of them");
    else if (!hasArchive) refuse("entrypoint", "names a file of an archive, but no archive is given");
    else if (!MODULE_FUNCTION.test(spec.entrypoint) && normalisePath(spec.entrypoint) === undefined) {
      refuse("entrypoint", 'is neither a file of the archive such as "train.py" nor "module:function"');
    }
  }
  if (spec.workingDirectory !== "" && normalisePath(spec.workingDirectory) === undefined) {
    refuse("working_directory", "must be a folder below the project, without a leading slash or ..");
  }
}

function checkProcess(spec: TaskSpec, policy: Policy, refuse: Refuse): void {
  if (spec.args.length > MAX_ARGS)
    refuse("args", `has ${spec.args.length} entries; at most ${MAX_ARGS} are allowed`);
  for (const [field, list] of [
    ["args", spec.args],
    ["command", spec.command],
  ] as const) {
    if (list.reduce((sum, item) => sum + bytes(item) + 1, 0) > MAX_ARGS_BYTES) {
      refuse(field, `is longer than ${MAX_ARGS_BYTES} bytes; pass large input on stdin or in the project`);
    }
    if (list.some((item) => item.includes("\0"))) refuse(field, "holds a NUL character");
  }
  if (spec.command[0] === "") refuse("command[0]", "is empty; the first element is the program");
  let envBytes = 0;
  const plain = Object.entries(spec.env).map((entry) => ["env", ...entry] as const);
  const secret = Object.entries(spec.secretEnv).map((entry) => ["secret_env", ...entry] as const);
  for (const [list, name, value] of [...plain, ...secret]) {
    envBytes += bytes(name) + bytes(value) + 2;
    const field = `${list}[${name.slice(0, 100)}]`;
    if (list === "secret_env" && name in spec.env) refuse(field, "is given in env, too; send it once");
    if (!ENV_NAME.test(name)) refuse(field, "is no variable name; use letters, digits and _");
    else if (RESERVED_ENV.test(name))
      refuse(field, "is reserved; LD_*, NVIDIA_* and LONGSHORE_* cannot be set");
    if (value.includes("\0")) refuse(field, "holds a NUL character");
  }
  if (envBytes > MAX_ENV_BYTES) refuse("env", `has ${envBytes} bytes; at most ${MAX_ENV_BYTES} are allowed`);
  const stdinBytes = Math.floor((spec.stdin.length * 3) / 4);
  if (stdinBytes > policy.maxStdinBytes) {
    refuse(
      "stdin",
      `has ${stdinBytes} bytes; at most ${policy.maxStdinBytes} are allowed, so put it into the project`,
    );
  }
}

function checkOutputs(spec: TaskSpec, refuse: Refuse): void {
  if (spec.outputs.length > MAX_OUTPUTS)
    refuse("outputs", `has ${spec.outputs.length} globs; at most ${MAX_OUTPUTS} are allowed`);
  for (const [index, glob] of spec.outputs.entries()) {
    if (glob === "" || glob.length > 1024) refuse(`outputs[${index}]`, "must have 1 to 1024 characters");
    else if (normalisePath(glob) === undefined) {
      refuse(
        `outputs[${index}]`,
        `"${glob}" must be a glob below the workspace, without a leading slash or ..`,
      );
    }
  }
}

function checkRecord(spec: TaskSpec, policy: Policy, refuse: Refuse): void {
  const labels = Object.entries(spec.labels);
  if (labels.length > MAX_LABELS)
    refuse("labels", `has ${labels.length} entries; at most ${MAX_LABELS} are allowed`);
  for (const [key, value] of labels) {
    if (!LABEL_KEY.test(key)) {
      refuse(
        `labels[${key.slice(0, 100)}]`,
        "is no label key: 1 to 63 letters, digits, and . _ / - between them",
      );
    }
    if (value.length > MAX_LABEL_LENGTH)
      refuse(`labels[${key.slice(0, 100)}]`, `has a value of more than ${MAX_LABEL_LENGTH} characters`);
  }
  if (spec.displayName.length > 200) refuse("display_name", "has more than 200 characters");
  if (spec.requestId !== "" && !REQUEST_ID.test(spec.requestId)) {
    refuse("request_id", "must have 1 to 64 letters, digits and . _ : -, such as a UUID");
  }
  if (spec.priority < -100 || spec.priority > 100)
    refuse("priority", `${spec.priority} is not between -100 and 100`);
  if (spec.dependsOn.length > MAX_DEPENDENCIES)
    refuse("depends_on", `names ${spec.dependsOn.length} tasks; at most ${MAX_DEPENDENCIES} are allowed`);
  if (spec.maxAttempts < 0 || spec.maxAttempts > 10)
    refuse("max_attempts", `${spec.maxAttempts} is not between 0 and 10`);
  if (
    spec.retentionMillis !== null &&
    (spec.retentionMillis <= 0 || spec.retentionMillis > policy.maxRetentionMillis)
  ) {
    refuse("retention", `must be above 0 and at most ${policy.maxRetentionMillis / 1000} s`);
  }
}

const BUDGET_FIELDS: readonly (readonly [keyof Budgets, string])[] = [
  ["processes", "max_processes"],
  ["openFiles", "max_open_files"],
  ["inodes", "max_inodes"],
  ["logBytes", "max_log_bytes"],
  ["artifactBytes", "max_artifact_bytes"],
];

function checkBudgets(spec: TaskSpec, policy: Policy, refuse: Refuse): Budgets {
  const budgets: Record<keyof Budgets, number> = { ...policy.defaultBudgets };
  for (const [key, name] of BUDGET_FIELDS) {
    const asked = spec.budgets?.[key] ?? 0;
    if (asked === 0) continue;
    if (asked < 0) refuse(`budgets.${name}`, `${asked} is negative`);
    else if (asked > policy.maxBudgets[key])
      refuse(`budgets.${name}`, `${asked} is above the most of ${policy.maxBudgets[key]}`);
    budgets[key] = asked;
  }
  return budgets;
}

function checkTimes(
  spec: TaskSpec,
  policy: Policy,
  refuse: Refuse,
): Pick<TaskLimits, "runMillis" | "queueMillis" | "totalMillis"> {
  const runMillis = spec.timeoutMillis ?? policy.defaultTimeoutMillis;
  if (runMillis <= 0 || runMillis > policy.maxTimeoutMillis) {
    refuse("timeout", `must be above 0 and at most ${policy.maxTimeoutMillis / 1000} s`);
  }
  for (const [field, value] of [
    ["queue_timeout", spec.queueTimeoutMillis],
    ["total_timeout", spec.totalTimeoutMillis],
  ] as const) {
    if (value !== null && (value <= 0 || value > 366 * 86_400_000))
      refuse(field, "must be above 0 and at most a year");
  }
  return { runMillis, queueMillis: spec.queueTimeoutMillis, totalMillis: spec.totalTimeoutMillis };
}

/** What is known of the archive that a spec names. */
export interface ProjectFacts {
  /** Sum of its files' sizes. */
  readonly contentBytes: number;
  readonly topLevelScripts: readonly string[];
  has(path: string, kind: "file" | "folder"): Promise<boolean>;
}

/** Decides what is run. `project` is null for a snippet or a bare command. */
export async function resolveProgram(
  spec: TaskSpec,
  project: ProjectFacts | null,
  violations: FieldViolation[],
): Promise<Program> {
  const directory = normalisePath(spec.workingDirectory) ?? "";
  if (directory !== "" && (project === null || !(await project.has(directory, "folder")))) {
    violations.push({
      field: "working_directory",
      description: `"${spec.workingDirectory}" is not a folder of the project`,
    });
  }
  if (spec.command.length > 0) return { kind: "command", command: spec.command };
  if (project === null) return { kind: "script", script: "main.py" };
  if (MODULE_FUNCTION.test(spec.entrypoint)) {
    const [module = "", name = ""] = spec.entrypoint.split(":");
    return { kind: "module", module, function: name };
  }
  if (spec.entrypoint !== "") {
    const script = normalisePath(spec.entrypoint) ?? "";
    if (!(await project.has(script, "file"))) {
      violations.push({
        field: "entrypoint",
        description: `"${spec.entrypoint}" is not in the archive; ${offer(project)}`,
      });
    }
    return { kind: "script", script };
  }
  const scripts = project.topLevelScripts;
  const only = scripts.length === 1 ? scripts[0] : undefined;
  const script = scripts.includes("main.py") ? "main.py" : only;
  if (script === undefined) {
    violations.push({
      field: "entrypoint",
      description: `is needed, for the archive has no main.py at its top; ${offer(project)}`,
    });
  }
  return { kind: "script", script: script ?? "main.py" };
}

function offer(project: ProjectFacts): string {
  const scripts = project.topLevelScripts;
  if (scripts.length === 0) return "it has no .py file at its top";
  const named = scripts.slice(0, 10).join(", ");
  return `it has ${named}${scripts.length > 10 ? " and more" : ""}`;
}
