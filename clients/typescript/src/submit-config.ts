import { resolve } from "node:path";
import { InvalidRequest } from "./errors.ts";
import { type InputOption, listInputs } from "./inputs.ts";
import type { TaskOptions } from "./spec.ts";
import { MODEL_PARAMS_PATH, type TaskConfig } from "./task-config.ts";

/** What a caller asks for besides goes before what the file says. */
export function mergeOptions<O extends TaskOptions>(
  config: TaskConfig,
  asked: O,
  inputs: readonly InputOption[],
): O {
  const { options } = config;
  return {
    ...options,
    ...withoutUndefined(asked),
    env: { ...options.env, ...asked.env },
    inputs: [...inputs, ...listInputs(asked.inputs)],
    placement: { ...options.placement, ...withoutUndefined(asked.placement ?? {}) },
  };
}

/** What the configuration brings beside the program; a dataset at the top of the program's folder goes with it anyway. */
export async function inputsOf(
  config: TaskConfig,
  folder: string | undefined,
  upload: (content: Uint8Array) => Promise<{ readonly sha256: string }>,
): Promise<InputOption[]> {
  const { dataset, modelParams } = config;
  const params = { path: MODEL_PARAMS_PATH, blobSha256: (await upload(modelParams)).sha256 };
  if (dataset === undefined) return [params];
  if ("file" in dataset && folder !== undefined && resolve(dataset.file) === resolve(folder, dataset.path))
    return [params];
  return [params, dataset];
}

/** What the server says of a field is said of the file's field that it was made of. */
export function inWordsOfConfig(error: unknown, { origins }: TaskConfig): unknown {
  if (!(error instanceof InvalidRequest)) return error;
  const { code, reason, metadata } = error;
  const violations = error.violations.map(({ field, description }) => ({
    field: Object.hasOwn(origins, field) ? (origins[field] ?? field) : field,
    description,
  }));
  return new InvalidRequest(violations, { code, reason, metadata, cause: error });
}

function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
