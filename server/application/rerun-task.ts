import type { Task } from "../domain/task.ts";
import type { RerunRequest } from "./api.ts";
import type { Caller } from "./caller.ts";
import type { CreateTask } from "./create-task.ts";
import type { TaskBook } from "./task-book.ts";

/** Makes a new task of an old one's spec; fields of resources that are given replace the old ones. */
export class RerunTask {
  readonly #book: TaskBook;
  readonly #create: CreateTask;
  readonly #clock: () => Date;

  constructor(deps: { book: TaskBook; createTask: CreateTask; clock: () => Date }) {
    this.#book = deps.book;
    this.#create = deps.createTask;
    this.#clock = deps.clock;
  }

  async rerun(caller: Caller, request: RerunRequest): Promise<Task> {
    const startTime = this.#clock();
    const { spec } = await this.#book.get(request.id, caller.tenant);
    const old = spec.resources ?? { cpu: "", gpu: "", ram: "", storage: "", gpuModel: "" };
    const asked = request.resources;
    const again = {
      ...spec,
      requestId: request.requestId,
      timeoutMillis: request.timeoutMillis ?? spec.timeoutMillis,
      resources:
        asked === null
          ? spec.resources
          : {
              cpu: asked.cpu || old.cpu,
              gpu: asked.gpu || old.gpu,
              ram: asked.ram || old.ram,
              storage: asked.storage || old.storage,
              gpuModel: asked.gpuModel || old.gpuModel,
            },
    };
    const origin = { rerunOf: request.id, startTime, upload: null };
    return await this.#create.create(
      caller,
      { spec: again, secrets: {}, violations: request.violations },
      origin,
    );
  }
}
