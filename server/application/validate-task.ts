import { AnnouncedProject, type ProjectAnnouncement } from "../domain/announced-project.ts";
import type { Policy } from "../domain/policy.ts";
import type { TaskRequest } from "./api.ts";
import type { Caller } from "./caller.ts";
import type { CreateTask } from "./create-task.ts";
import type { StoredBytes } from "./stored-bytes.ts";

/** Says what is wrong with a task before its bytes are sent. */
export class ValidateTask {
  readonly #create: CreateTask;
  readonly #storedBytes: StoredBytes;
  readonly #policy: Policy;

  constructor(deps: { createTask: CreateTask; storedBytes: StoredBytes; policy: Policy }) {
    this.#create = deps.createTask;
    this.#storedBytes = deps.storedBytes;
    this.#policy = deps.policy;
  }

  async validate(
    caller: Caller,
    request: TaskRequest,
    announcement: ProjectAnnouncement | null,
  ): Promise<void> {
    const violations = [...request.violations];
    const archiveBytes = announcement?.archiveBytes ?? 0;
    const { maxUploadBytes } = this.#policy;
    if (archiveBytes > maxUploadBytes) {
      const description = `is ${archiveBytes}; at most ${maxUploadBytes} bytes can be uploaded`;
      violations.push({ field: "project.archive_bytes", description });
    }
    const announced = announcement === null ? null : new AnnouncedProject(announcement);
    await this.#create.validate(caller, { ...request, violations }, announced);
    using room = await this.#storedBytes.take(caller.tenant, archiveBytes);
    room.require(archiveBytes);
  }
}
