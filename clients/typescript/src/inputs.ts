import { basename } from "node:path";
import type { CreateTaskRequest } from "@longshore/proto/longshore/v1/task";
import type { Channel } from "./channel.ts";
import { BadSource } from "./errors.ts";
import { type UploadOptions, uploadBlob } from "./upload.ts";
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

/** Makes the server have the files among the inputs, and names them in the request by their digests. */
export async function sendInputs(
  channel: Channel,
  request: CreateTaskRequest,
  inputs: readonly InputOption[],
  options: UploadOptions,
): Promise<void> {
  for (const [index, { file, source }] of await openFiles(inputs, options)) {
    const onProgress = options.onProgress;
    const { sha256 } = await uploadBlob(channel, source, {
      ...options,
      ...(onProgress !== undefined && {
        onProgress: (progress) =>
          onProgress(progress.phase === "uploading" ? { ...progress, name: basename(file) } : progress),
      }),
    });
    const input = request.inputs[index];
    if (input !== undefined) input.source = { $case: "blobSha256", value: sha256 };
  }
}

/** Every file is looked at before the first is sent: all that cannot be read are named at once. */
async function openFiles(
  inputs: readonly InputOption[],
  { signal }: UploadOptions,
): Promise<Map<number, { file: string; source: UploadSource }>> {
  const found = new Map<number, { file: string; source: UploadSource }>();
  const problems: { path: string; problem: string }[] = [];
  for (const [index, input] of inputs.entries()) {
    if (!("file" in input)) continue;
    const { file } = input;
    try {
      found.set(index, { file, source: await fileSource(file, "raw", signal) });
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
