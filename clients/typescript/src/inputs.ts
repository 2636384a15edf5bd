import { basename } from "node:path";
import type { CreateTaskRequest } from "@longshore/proto/longshore/v1/task";
import type { Channel } from "./channel.ts";
import { BadSource } from "./errors.ts";
import { type BeforeSending, type UploadOptions, uploadBlob } from "./upload.ts";
import { fileSource, type UploadSource, whyUnreadable } from "./upload-source.ts";

/** A file here by its path, a blob by its digest, or an artifact of another task (`task.artifact("model.bin")`). */
export type InputSource =
  | string
  | { readonly sha256: string }
  | { readonly blobSha256: string }
  | { readonly taskId: string; readonly artifact: string };

/** Data placed read-only at `path` below the workspace before the run. */
export type InputOption = { readonly path: string } & (
  | { readonly file: string }
  | { readonly blobSha256: string }
  | { readonly taskId: string; readonly artifact: string }
);

/** A list, or sources by the path that each is placed at. */
export type InputOptions = readonly InputOption[] | Readonly<Record<string, InputSource>>;

export function listInputs(inputs: InputOptions = []): readonly InputOption[] {
  if (isList(inputs)) return inputs;
  return Object.entries(inputs).map(([path, source]) => {
    if (typeof source === "string") return { path, file: source };
    return "sha256" in source ? { path, blobSha256: source.sha256 } : { path, ...source };
  });
}

// Array.isArray does not know lists that are read-only.
function isList(inputs: InputOptions): inputs is readonly InputOption[] {
  return Array.isArray(inputs);
}

/** As the request has them; a file has no digest before it is read. */
export function inputOf(input: InputOption): CreateTaskRequest["inputs"][number] {
  const { path } = input;
  if ("taskId" in input) {
    const value = { taskId: input.taskId, path: input.artifact };
    return { path, source: { $case: "artifact", value } };
  }
  return { path, source: { $case: "blobSha256", value: "file" in input ? "" : input.blobSha256 } };
}

/** A file among the inputs, read once for its digest. */
export interface OpenInput {
  readonly file: string;
  readonly source: UploadSource;
}

/** Makes the server have the files among the inputs. */
export async function sendInputs(
  channel: Channel,
  inputs: readonly OpenInput[],
  options: UploadOptions & BeforeSending,
): Promise<void> {
  for (const { file, source } of inputs) {
    const onProgress = options.onProgress;
    await uploadBlob(channel, source, {
      ...options,
      ...(onProgress !== undefined && {
        onProgress: (progress) =>
          onProgress(progress.phase === "uploading" ? { ...progress, name: basename(file) } : progress),
      }),
    });
  }
}

/**
 * Looks at the files among the inputs and names them in the request by their digests. None is sent before the last is read: all that
 * cannot be are named at once.
 */
export async function openInputs(
  request: CreateTaskRequest,
  inputs: readonly InputOption[],
  { signal }: UploadOptions,
): Promise<OpenInput[]> {
  const found: OpenInput[] = [];
  const problems: { path: string; problem: string }[] = [];
  for (const [index, input] of inputs.entries()) {
    if (!("file" in input)) continue;
    const { file } = input;
    try {
      const source = await fileSource(file, "raw", signal);
      found.push({ file, source });
      const named = request.inputs[index];
      if (named !== undefined) named.source = { $case: "blobSha256", value: source.sha256 };
    } catch (error) {
      signal?.throwIfAborted();
      problems.push({
        path: file,
        problem: `cannot be read as input ${input.path}: ${whyUnreadable(error)}`,
      });
    }
  }
  if (problems.length > 0) throw new BadSource("inputs", problems);
  return found;
}
