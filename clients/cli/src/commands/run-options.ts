import { open, stat } from "node:fs/promises";
import {
  BadSource,
  type FieldViolation,
  findViolations,
  type InputOption,
  InvalidRequest,
  type LimitName,
  type Source,
  type TaskOptions,
} from "@longshore/client";
import { UsageError } from "../usage-error.ts";

/** The options of run and submit, as commander hands them over. */
export interface RunFlags {
  readonly config?: string;
  readonly code?: string;
  readonly command?: boolean;
  readonly cpu?: string;
  readonly gpu?: string;
  readonly gpuModel?: string;
  readonly ram?: string;
  readonly storage?: string;
  readonly timeout?: string;
  readonly queueTimeout?: string;
  readonly totalTimeout?: string;
  readonly env: readonly string[];
  readonly secretEnv: readonly string[];
  readonly entrypoint?: string;
  readonly image?: string;
  readonly label: readonly string[];
  readonly network?: string;
  readonly isolation?: string;
  readonly engine?: string;
  readonly account?: string;
  readonly partition?: string;
  readonly instanceType?: string;
  readonly out: readonly string[];
  readonly input: readonly string[];
  readonly stdin?: string;
  readonly priority?: string;
  readonly expectedDuration?: string;
  readonly dependsOn: readonly string[];
  readonly webhook: readonly string[];
  readonly cache?: boolean;
  readonly name?: string;
  readonly workdir?: string;
  readonly maxAttempts?: string;
  readonly requireEnforced: readonly string[];
  /** Files and lines in turn; false asks for none at all. */
  readonly requirements: readonly string[] | false;
  readonly preload: readonly string[];
  readonly requestId?: string;
  readonly detach?: boolean;
  readonly estimate?: boolean;
}

export interface RunRequest {
  readonly source: Source;
  /** A configuration file to submit with the source; the source may then be left out. */
  readonly config: string | undefined;
  /** What progress lines call it. */
  readonly name: string;
  readonly options: TaskOptions;
}

/** More than a server takes, so that it is the one to say so. */
const MOST_REQUIREMENTS_BYTES = 2 ** 20;
/** The most that a task can be given on standard input. */
const MOST_STDIN_BYTES = 2 ** 20;

/** Makes a request of a command line; names everything that is wrong with it at once. */
export async function readRunRequest(
  operands: readonly string[],
  rest: readonly string[],
  flags: RunFlags,
  process: NodeJS.Process,
): Promise<RunRequest> {
  const path = operands[0];
  checkOperands(operands, flags, rest);
  const violations: FieldViolation[] = [];
  const stdin = await readStdin(flags.stdin, process, violations);
  const options: TaskOptions = {
    ...resourceFlags(flags),
    queueTimeout: flags.queueTimeout,
    totalTimeout: flags.totalTimeout,
    entrypoint: flags.entrypoint,
    image: flags.image,
    workingDirectory: flags.workdir,
    requirements: await readRequirements(flags.requirements),
    preload: flags.preload.length === 0 ? undefined : flags.preload,
    name: flags.name,
    requestId: flags.requestId,
    outputs: flags.out,
    inputs: readInputs(flags.input, violations),
    args: flags.command === true ? [] : rest,
    command: flags.command === true ? rest : [],
    env: readPairs("env", flags.env, process.env, violations),
    secretEnv: readPairs("secret_env", flags.secretEnv, process.env, violations),
    labels: readPairs("labels", flags.label, undefined, violations),
    // Names that are none of these are refused by the client, which lists the right ones.
    network: flags.network as TaskOptions["network"],
    isolation: flags.isolation as TaskOptions["isolation"],
    placement: placementOf(flags),
    requireEnforced: flags.requireEnforced as readonly LimitName[],
    expectedDuration: flags.expectedDuration,
    dependsOn: flags.dependsOn,
    webhooks: flags.webhook,
    cache: flags.cache,
    priority: readWhole("priority", flags.priority, violations),
    maxAttempts: readWhole("max_attempts", flags.maxAttempts, violations),
    stdin,
  };
  violations.push(...findViolations(options));
  if (violations.length > 0) throw new InvalidRequest(violations);
  const source = await readSource(path, flags, process);
  return { source, config: flags.config, name: path ?? flags.config ?? "", options };
}

/** The flags that rerun has too. */
export function resourceFlags({ cpu, gpu, gpuModel, ram, storage, timeout }: RunFlags) {
  return { cpu, gpu, gpuModel, ram, storage, timeout };
}

/** Undefined where none of it was asked for: a configuration file may say it instead. */
function placementOf({ engine, account, partition, instanceType }: RunFlags): TaskOptions["placement"] {
  const asked = Object.entries({ engine, account, partition, instanceType }).filter(
    ([, value]) => value !== undefined,
  );
  return asked.length === 0 ? undefined : Object.fromEntries(asked);
}

function checkOperands(operands: readonly string[], flags: RunFlags, rest: readonly string[]): void {
  const [path, ...more] = operands;
  if (more.length > 0) {
    throw new UsageError(
      `too many things to run; arguments of the task go after --: longshore run ${path} -- ${more.join(" ")}`,
    );
  }
  if (path !== undefined && flags.code !== undefined)
    throw new UsageError("give either a path or --code, not both");
  if (flags.command === true && rest.length === 0) {
    throw new UsageError(
      "--command needs a program after --, such as: longshore run DIR --command -- bash run.sh",
    );
  }
  if (flags.config !== undefined && (flags.code !== undefined || flags.command === true || path === "-")) {
    throw new UsageError("--config describes a script: give its file or folder, or nothing beside it");
  }
  if (
    path === undefined &&
    flags.code === undefined &&
    flags.command !== true &&
    flags.config === undefined
  ) {
    throw new UsageError(
      "nothing to run; give a .py file, a folder, an archive, - for standard input, or --code",
    );
  }
  if (path === "-" && flags.stdin === "-") {
    throw new UsageError("the program and the task's input cannot both come from standard input");
  }
}

async function readSource(
  path: string | undefined,
  flags: RunFlags,
  process: NodeJS.Process,
): Promise<Source> {
  if (flags.code !== undefined) return { code: flags.code };
  if (path === undefined) return {};
  return path === "-"
    ? { code: (await readAll(process.stdin, Number.POSITIVE_INFINITY)).toString("utf8") }
    : path;
}

/** What names a file here is read as one; anything else is a line by itself. Undefined leaves it to the project's own file. */
async function readRequirements(given: readonly string[] | false): Promise<readonly string[] | undefined> {
  if (given === false) return [];
  if (given.length === 0) return undefined;
  const texts: string[] = [];
  for (const item of given) {
    const isFile = await stat(item).then(
      (stats) => stats.isFile(),
      // Not there, or no path at all.
      () => false,
    );
    if (!isFile && /^[^;@]*\.txt$/.test(item))
      throw new BadSource(item, [{ path: item, problem: "there is no such file of requirements" }]);
    texts.push(isFile ? (await readFileUpTo(item, MOST_REQUIREMENTS_BYTES)).toString("utf8") : item);
  }
  return texts;
}

/** KEY=VALUE, or for variables KEY alone: its value here. */
function readPairs(
  field: string,
  pairs: readonly string[],
  environment: NodeJS.ProcessEnv | undefined,
  violations: FieldViolation[],
): Record<string, string> {
  const read: Record<string, string> = {};
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    const key = at < 0 ? pair : pair.slice(0, at);
    const value = at < 0 ? environment?.[key] : pair.slice(at + 1);
    if (key === "" || (at < 0 && environment === undefined)) {
      violations.push({ field, description: `"${pair}" is not of the form KEY=VALUE` });
    } else if (value === undefined) {
      violations.push({ field, description: `"${key}" is not set here; give ${key}=VALUE` });
    } else read[key] = value;
  }
  return read;
}

const ULID = /^[0-9A-HJKMNP-TV-Z]{26}$/;

/** PATH=FILE, PATH=sha256:DIGEST or PATH=TASK:ARTIFACT. */
function readInputs(flags: readonly string[], violations: FieldViolation[]): InputOption[] {
  return flags.flatMap((flag): InputOption[] => {
    const at = flag.indexOf("=");
    const [path, source] = [flag.slice(0, Math.max(at, 0)), flag.slice(at + 1)];
    if (path === "" || source === "") {
      const description = `"${flag}" is not of the form PATH=FILE, PATH=sha256:DIGEST or PATH=TASK:ARTIFACT`;
      violations.push({ field: "inputs", description });
      return [];
    }
    const [, head = "", rest = ""] = /^([^:]*):(.*)$/s.exec(source) ?? [];
    if (head === "sha256") return [{ path, blobSha256: rest }];
    return ULID.test(head) ? [{ path, taskId: head, artifact: rest }] : [{ path, file: source }];
  });
}

function readWhole(
  field: string,
  text: string | undefined,
  violations: FieldViolation[],
): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?\d{1,9}$/.test(text)) violations.push({ field, description: `"${text}" is not a whole number` });
  return Number(text);
}

async function readStdin(
  flag: string | undefined,
  process: NodeJS.Process,
  violations: FieldViolation[],
): Promise<Uint8Array | undefined> {
  if (flag === undefined) return undefined;
  const bytes =
    flag === "-"
      ? await readAll(process.stdin, MOST_STDIN_BYTES)
      : await readFileUpTo(flag, MOST_STDIN_BYTES);
  if (bytes.length > MOST_STDIN_BYTES) {
    const description = "is more than 1 MiB; put it into the project as a file and open it there";
    violations.push({ field: "stdin", description });
  }
  return bytes;
}

/** Everything, or a little more than `most` when there is more. */
async function readAll(stream: AsyncIterable<Uint8Array | string>, most: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk);
    chunks.push(bytes);
    length += bytes.length;
    if (length > most) break;
  }
  return Buffer.concat(chunks);
}

async function readFileUpTo(path: string, most: number): Promise<Buffer> {
  const file = await openNamed(path);
  try {
    return await readAll(file.createReadStream({ autoClose: false, end: most }), most);
  } finally {
    await file.close();
  }
}

async function openNamed(path: string) {
  try {
    return await open(path);
  } catch (error) {
    throw new BadSource(path, [{ path, problem: error instanceof Error ? error.message : String(error) }]);
  }
}
