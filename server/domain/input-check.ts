import type { FieldViolation } from "./errors.ts";
import { isSha256 } from "./sha256.ts";
import type { TaskSpec } from "./task.ts";
import { foldersAbove, inputPath } from "./workspace-path.ts";

const MAX_INPUTS = 100;
/** Where a snippet is written. */
const SNIPPET = "main.py";

const shown = (text: string): string => JSON.stringify(text.slice(0, 100));

/** Checks all that can be said of inputs without looking anything up. */
export function checkInputs({ inputs, code }: TaskSpec, violations: FieldViolation[]): void {
  const refuse = (field: string, description: string) => violations.push({ field, description });
  if (inputs.length > MAX_INPUTS) {
    refuse(
      "inputs",
      `has ${inputs.length} entries; at most ${MAX_INPUTS} are allowed, so send more as a project`,
    );
    return;
  }
  const places = new Map<string, number>();
  for (const [index, input] of inputs.entries()) {
    const field = `inputs[${index}]`;
    if (input.kind === "blob") {
      if (!isSha256(input.sha256))
        refuse(`${field}.blob_sha256`, "is not a SHA-256 digest of 64 lower-case hex digits");
    } else {
      if (input.taskId === "") refuse(`${field}.artifact.task_id`, "is empty; name the task that left it");
      if (input.artifactPath === "")
        refuse(`${field}.artifact.path`, "is empty; name the artifact of that task");
    }
    const path = inputPath(input.path);
    if (path === undefined) {
      refuse(
        `${field}.path`,
        `${shown(input.path)} must be a file's path below the workspace, such as data/train.parquet: relative, without .. or control characters`,
      );
    } else if (places.has(path)) {
      refuse(
        `${field}.path`,
        `${shown(path)} is the place of inputs[${places.get(path)}], too; each needs its own`,
      );
    } else {
      if (path === SNIPPET && code !== "")
        refuse(`${field}.path`, `"${SNIPPET}" is where the code itself goes; choose another name`);
      places.set(path, index);
    }
  }
  for (const [path, index] of places) {
    const above = foldersAbove(path).find((folder) => places.has(folder));
    if (above !== undefined) {
      refuse(
        `inputs[${index}].path`,
        `${shown(path)} lies below ${shown(above)}, which is the file of inputs[${places.get(above)}]`,
      );
    }
  }
}
