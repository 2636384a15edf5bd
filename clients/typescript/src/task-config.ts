import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BadSource, type FieldViolation, InvalidRequest } from "./errors.ts";
import type { TaskOptions } from "./spec.ts";

/** Where the script finds its parameters, below its working directory. */
export const MODEL_PARAMS_PATH = "model_params.json";
/** The server takes 128 KiB of variables in all; larger parameters are in the file alone. */
const MOST_VARIABLE_BYTES = 64 * 1024;
const MOST_CONFIG_BYTES = 2 ** 20;
const DATASET_NAME = /^[A-Za-z0-9_][A-Za-z0-9_. -]{0,199}$/;
const STORED = /^sha256:([0-9a-f]{64})$/;

const FIELDS = [
  ...["dataset_name", "model_params", "runner_location", "model_tracking", "tracking_uri"],
  ...["experiment_name", "script_path", "script_name", "clusters"],
];
const INFRA_FIELDS = ["instance_type", "image_name", "account", "partition"];

/** The data of a task, placed beside its script as NAME.csv. */
export type Dataset = { readonly path: string } & (
  | { readonly file: string }
  | { readonly blobSha256: string }
);

/** What a configuration file asks for. */
export interface TaskConfig {
  /** Engine, account, kind of machine, image, experiment, variables: to be merged with what a caller asks besides. */
  readonly options: TaskOptions;
  /** As the file has it: script_path, or script_name. */
  readonly script: string | undefined;
  readonly dataset: Dataset | undefined;
  /** For MODEL_PARAMS_PATH. */
  readonly modelParams: Uint8Array;
  /** Field of the file that a field of the request was made of, for what the server says. */
  readonly origins: Readonly<Record<string, string>>;
}

export interface TaskConfigContext {
  /** Datasets that have a name of their own: a path here, or "sha256:DIGEST" of a stored blob. */
  readonly datasets?: Readonly<Record<string, string>>;
}

/** Reads a task's configuration file. Throws InvalidRequest that names everything wrong with it. */
export async function readTaskConfig(path: string, context: TaskConfigContext = {}): Promise<TaskConfig> {
  const reader = new ConfigReader(path, parseObject(path, await readText(path)));
  reader.refuseUnknown("", reader.fields, FIELDS, "a task's configuration");
  const modelParams = reader.object("model_params") ?? {};
  const dataset = await readDataset(reader, context.datasets ?? {});
  const placed = readPlacement(reader);
  const experiment = readExperiment(reader);
  const script = readScript(reader);
  reader.finish();
  const params = JSON.stringify(modelParams);
  const env: Record<string, string> = { MODEL_PARAMS_PATH };
  if (Buffer.byteLength(params) <= MOST_VARIABLE_BYTES) env.MODEL_PARAMS = params;
  if (dataset !== undefined) env.DATASET_PATH = dataset.path;
  return {
    options: { ...placed.options, env, ...(experiment !== undefined && { experiment }) },
    script,
    dataset,
    modelParams: new TextEncoder().encode(`${JSON.stringify(modelParams, null, 2)}\n`),
    origins: {
      ...placed.origins,
      "experiment.tracking_uri": "tracking_uri",
      "experiment.name": "experiment_name",
    },
  };
}

/** NAME=PATH or NAME=sha256:DIGEST, separated by commas: the form of LONGSHORE_DATASETS. */
export function parseDatasets(text: string): Record<string, string> {
  const pairs = text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "")
    .map((item) => {
      const at = item.indexOf("=");
      if (at < 1 || at === item.length - 1)
        throw new InvalidRequest([
          { field: "LONGSHORE_DATASETS", description: `"${item}" is not NAME=FILE or NAME=sha256:DIGEST` },
        ]);
      return [item.slice(0, at), item.slice(at + 1)] as const;
    });
  return Object.fromEntries(pairs);
}

/** The script of a configuration, and what the caller gave to run instead: one of them, which must not contradict. */
export function sourceOf(config: TaskConfig, path: string, given: string | undefined): string {
  if (given === undefined && config.script !== undefined) return join(dirname(path), config.script);
  if (given === undefined) {
    const description = "is missing; name the script there, or give it beside the configuration";
    throw new InvalidRequest([{ field: "script_path", description }]);
  }
  const named = config.script === undefined ? undefined : basename(config.script);
  if (named !== undefined && given.toLowerCase().endsWith(".py") && basename(given) !== named) {
    const description = `"${config.script}" is not the script that was given, ${given}; leave one of them out`;
    throw new InvalidRequest([{ field: "script_path", description }]);
  }
  return given;
}

async function readText(path: string): Promise<string> {
  const refuse = (problem: string) => new BadSource(path, [{ path, problem }]);
  let bytes: Buffer;
  try {
    if ((await stat(path)).size > MOST_CONFIG_BYTES)
      throw refuse("is larger than 1 MiB; put data into files of the project");
    bytes = await readFile(path);
  } catch (error) {
    if (error instanceof BadSource) throw error;
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw refuse(missing ? "there is no such configuration file" : String(error));
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // The decoder says no more than that.
    throw refuse("is not UTF-8 text");
  }
}

function parseObject(path: string, text: string): Record<string, unknown> {
  const refuse = (problem: string) => new BadSource(path, [{ path, problem }]);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw refuse(`is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isObject(parsed)) throw refuse('is not a JSON object such as {"script_path": "train.py"}');
  return parsed;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads fields and gathers what is wrong with them. */
class ConfigReader {
  readonly path: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly #violations: FieldViolation[] = [];

  constructor(path: string, fields: Readonly<Record<string, unknown>>) {
    this.path = path;
    this.fields = fields;
  }

  refuse(field: string, description: string): void {
    this.#violations.push({ field, description });
  }

  refuseUnknown(
    prefix: string,
    fields: Readonly<Record<string, unknown>>,
    known: readonly string[],
    what: string,
  ): void {
    const unknown = Object.keys(fields).filter((name) => !known.includes(name));
    for (const [index, name] of unknown.entries()) {
      const description =
        index === 0 ? `is no field of ${what}; it has ${known.join(", ")}` : "is none, either";
      this.refuse(`${prefix}${name}`, description);
    }
  }

  text(field: string, value: unknown = this.fields[field]): string | undefined {
    if (value === undefined) return undefined;
    if (typeof value === "string" && value.trim() !== "") return value;
    this.refuse(field, "must be a text that is not empty");
    return undefined;
  }

  flag(field: string): boolean | undefined {
    const value = this.fields[field];
    if (value === undefined || typeof value === "boolean") return value;
    this.refuse(field, "must be true or false");
    return undefined;
  }

  object(field: string, value: unknown = this.fields[field]): Record<string, unknown> | undefined {
    if (value === undefined || isObject(value)) return value;
    this.refuse(field, "must be an object in braces");
    return undefined;
  }

  finish(): void {
    if (this.#violations.length > 0) throw new InvalidRequest(this.#violations);
  }
}

async function readDataset(
  reader: ConfigReader,
  datasets: Readonly<Record<string, string>>,
): Promise<Dataset | undefined> {
  const given = reader.text("dataset_name");
  if (given === undefined) return undefined;
  const name = given.replace(/\.csv$/i, "");
  if (!DATASET_NAME.test(name)) {
    reader.refuse("dataset_name", `"${given}" is no name: letters, digits, and _ . - or spaces, no folders`);
    return undefined;
  }
  const path = `${name}.csv`;
  const alias = Object.hasOwn(datasets, name) ? datasets[name] : undefined;
  const digest = STORED.exec(alias ?? "")?.[1];
  if (digest !== undefined) return { path, blobSha256: digest };
  const file = alias ?? join(dirname(reader.path), path);
  if (await isFile(file)) return { path, file };
  const known = Object.keys(datasets).join(", ") || "none";
  reader.refuse(
    "dataset_name",
    alias === undefined
      ? `"${given}" is not there: no file ${file}, and no such name in LONGSHORE_DATASETS (${known})`
      : `"${given}" stands for ${alias}, which is no file; mend it in LONGSHORE_DATASETS`,
  );
  return undefined;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    // Whatever keeps it from being looked at keeps it from being sent: the caller names it.
    return false;
  }
}

function readPlacement(reader: ConfigReader): Pick<TaskConfig, "options" | "origins"> {
  const clusters = reader.object("clusters");
  const names = Object.keys(clusters ?? {});
  const location = reader.text("runner_location") ?? (names.length === 1 ? names[0] : undefined);
  if (location === undefined) {
    if (names.length > 1) reader.refuse("runner_location", `is missing; choose one of ${names.join(", ")}`);
    return { options: {}, origins: {} };
  }
  const origins: Record<string, string> = { "placement.engine": "runner_location" };
  if (clusters === undefined) return { options: { placement: { engine: location } }, origins };
  if (!Object.hasOwn(clusters, location)) {
    reader.refuse(
      "runner_location",
      `"${location}" is not in clusters, which has ${names.join(", ") || "none"}`,
    );
    return { options: {}, origins };
  }
  const at = `clusters.${location}`;
  const cluster = reader.object(at, clusters[location]) ?? {};
  reader.refuseUnknown(`${at}.`, cluster, ["infra_config"], "a cluster");
  const infra = reader.object(`${at}.infra_config`, cluster.infra_config) ?? {};
  reader.refuseUnknown(`${at}.infra_config.`, infra, INFRA_FIELDS, "infra_config");
  const text = (name: string) => reader.text(`${at}.infra_config.${name}`, infra[name]);
  for (const name of ["instance_type", "account", "partition"])
    origins[`placement.${name}`] = `${at}.infra_config.${name}`;
  origins.image = `${at}.infra_config.image_name`;
  const placement = {
    engine: location,
    instanceType: text("instance_type"),
    account: text("account"),
    partition: text("partition"),
  };
  return { options: { placement, image: text("image_name") }, origins };
}

function readExperiment(reader: ConfigReader): TaskOptions["experiment"] {
  const trackingUri = reader.text("tracking_uri");
  const name = reader.text("experiment_name");
  const tracking = reader.flag("model_tracking") ?? trackingUri !== undefined;
  if (!tracking) return undefined;
  for (const field of ["tracking_uri", "experiment_name"])
    if (reader.fields[field] === undefined)
      reader.refuse(
        field,
        "is missing, and model_tracking needs it; give it, or set model_tracking to false",
      );
  return { trackingUri, name };
}

function readScript(reader: ConfigReader): string | undefined {
  const path = reader.text("script_path");
  const name = reader.text("script_name");
  if (path !== undefined && name !== undefined && path !== name && basename(path) !== name)
    reader.refuse("script_name", `"${name}" is not script_path "${path}"; they are one, so give one of them`);
  return path ?? name;
}
