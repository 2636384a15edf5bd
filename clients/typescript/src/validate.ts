import type { CreateTaskRequest } from "@longshore/proto/longshore/v1/task";
import { type ProjectDescription, TaskServiceService } from "@longshore/proto/longshore/v1/task_service";
import type { CallOptions, Channel } from "./channel.ts";
import { LongshoreError } from "./errors.ts";

/** The server takes messages of 4 MiB. */
const MOST_DESCRIBED_BYTES = 2 ** 20;

/**
 * Has the server say everything that is wrong with a task, once, and only when something is about to be sent for it: what it has
 * already costs no further question.
 */
export function validateOnce(
  channel: Channel,
  request: CreateTaskRequest,
  project: ProjectDescription | undefined,
  options: CallOptions,
): () => Promise<void> {
  let answer: Promise<void> | undefined;
  return () => {
    answer ??= validate(channel, request, project, options);
    return answer;
  };
}

async function validate(
  channel: Channel,
  task: CreateTaskRequest,
  project: ProjectDescription | undefined,
  options: CallOptions,
): Promise<void> {
  const described = project !== undefined && sizeOf(project) <= MOST_DESCRIBED_BYTES ? project : undefined;
  const request = { task, project: described };
  try {
    await channel.unary(TaskServiceService.validateTask, request, { ...options, retry: true });
  } catch (error) {
    // An older server does not know the call, and says what is wrong when the task is created.
    const unknown = error instanceof LongshoreError && error.code === "UNIMPLEMENTED" && error.reason === "";
    if (!unknown) throw error;
  }
}

function sizeOf({ files, folders, requirements }: ProjectDescription): number {
  const paths = [...files, ...folders].reduce((sum, path) => sum + 3 * path.length, 0);
  return requirements.reduce((sum, { content }) => sum + content.length, paths);
}
