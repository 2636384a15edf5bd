import type { FieldViolation } from "../domain/errors.ts";
import type { TaskLimits } from "../domain/limits.ts";
import type { BlobIndex } from "../domain/ports/blob-store.ts";
import type { ArtifactStore } from "../domain/ports/task-store.ts";
import { formatSize } from "../domain/resources.ts";
import { isSha256 } from "../domain/sha256.ts";
import type { ProjectFacts } from "../domain/spec-check.ts";
import { type InputFile, isTerminal, type TaskInput, type TaskSpec } from "../domain/task.ts";
import { isDamaged } from "../domain/task-record.ts";
import { foldersAbove, inputPath } from "../domain/workspace-path.ts";
import type { TaskBook } from "./task-book.ts";

/** Artifacts named to a client that asked for one that is not there. */
const MOST_NAMED = 5;

export interface CheckInputsDeps {
  readonly book: TaskBook;
  readonly artifacts: ArtifactStore;
  readonly blobs: Pick<BlobIndex, "find" | "touch">;
  readonly clock: () => Date;
}

type Found = Omit<InputFile, "path">;

/** Looks up what the inputs of a request name, before anything is stored for it. */
export class CheckInputs {
  readonly #deps: CheckInputsDeps;

  constructor(deps: CheckInputsDeps) {
    this.#deps = deps;
  }

  /** What each input is; whatever is wrong is added to `violations`, and the answer is then of no use. */
  async check(
    tenant: string,
    spec: TaskSpec,
    project: ProjectFacts | null,
    limits: TaskLimits,
    violations: FieldViolation[],
    missing: "refused" | "may come" = "refused",
  ): Promise<InputFile[]> {
    const files: InputFile[] = [];
    for (const [index, input] of spec.inputs.entries()) {
      const field = `inputs[${index}]`;
      const path = inputPath(input.path);
      const found = await this.#find(tenant, input, field, missing, violations);
      if (path === undefined) continue;
      if (project !== null) await refuseConflict(path, project, field, violations);
      if (found !== undefined) files.push({ path, ...found });
    }
    const inputBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const needed = inputBytes + (project?.contentBytes ?? 0);
    if (inputBytes > 0 && needed > limits.storageBytes) {
      violations.push({
        field: "resources.storage",
        description: `${formatSize(limits.storageBytes)} does not hold the ${formatSize(needed)} of project and inputs; ask for more`,
      });
    }
    return files;
  }

  async #find(
    tenant: string,
    input: TaskInput,
    field: string,
    missing: "refused" | "may come",
    violations: FieldViolation[],
  ): Promise<Found | undefined> {
    const outcome =
      input.kind === "blob"
        ? await this.#blob(tenant, input.sha256, missing)
        : await this.#artifact(tenant, input.taskId, input.artifactPath);
    if (typeof outcome !== "string") return outcome;
    const part = input.kind === "blob" ? "blob_sha256" : "artifact";
    if (outcome !== "") violations.push({ field: `${field}.${part}`, description: outcome });
    return undefined;
  }

  /** What is wrong as a sentence; "" where it is told already. */
  async #blob(tenant: string, sha256: string, missing: "refused" | "may come"): Promise<Found | string> {
    if (!isSha256(sha256)) return "";
    const { blobs, clock } = this.#deps;
    const record = await blobs.find(tenant, sha256);
    if (record === undefined)
      return missing === "may come" ? "" : "is not stored; send it with UploadBlob first";
    if (record.state === "REFUSED") return `was refused: ${record.refusal}`;
    if (!(await blobs.touch(tenant, sha256, clock())))
      return "has just expired; send it again with UploadBlob";
    return { sha256, sizeBytes: record.sizeBytes };
  }

  async #artifact(tenant: string, taskId: string, path: string): Promise<Found | string> {
    if (taskId === "" || path === "") return "";
    const { book, artifacts } = this.#deps;
    const task = await book.lookUp(taskId);
    // Told already, as of everything that a task depends on.
    if (task === undefined || task.tenant !== tenant || isDamaged(task)) return "";
    if (!isTerminal(task.state)) return { sha256: "", sizeBytes: 0 };
    const found = await artifacts.find(taskId, path);
    if (found !== undefined) return { sha256: found.sha256, sizeBytes: found.sizeBytes };
    const named = (await artifacts.list(taskId, "", MOST_NAMED + 1)).map((artifact) => shown(artifact.path));
    const there =
      named.length === 0
        ? "it left none (name what to keep in its outputs)"
        : `it left ${named.slice(0, MOST_NAMED).join(", ")}${named.length > MOST_NAMED ? " and more" : ""}`;
    return `task ${taskId} left no artifact ${shown(path)}; ${there}`;
  }
}

async function refuseConflict(
  path: string,
  project: ProjectFacts,
  field: string,
  violations: FieldViolation[],
): Promise<void> {
  const refuse = (description: string) => violations.push({ field: `${field}.path`, description });
  if (await project.has(path, "file"))
    return void refuse(
      `${shown(path)} is a file of the project, too; choose another path or leave it out there`,
    );
  if (await project.has(path, "folder"))
    return void refuse(`${shown(path)} is a folder of the project; name a file in it`);
  for (const folder of foldersAbove(path)) {
    if (await project.has(folder, "file"))
      return void refuse(`${shown(path)} lies below ${shown(folder)}, which is a file of the project`);
  }
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
