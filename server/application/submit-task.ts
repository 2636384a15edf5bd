import { InvalidRequest, UploadInProgress } from "../domain/errors.ts";
import type { Policy } from "../domain/policy.ts";
import type { Task } from "../domain/task.ts";
import type { TaskRequest, UploadHeader } from "./api.ts";
import type { Caller } from "./caller.ts";
import type { CreateTask } from "./create-task.ts";
import type { Dependencies } from "./dependencies.ts";
import { headerViolations, type UploadBlob } from "./upload-blob.ts";

/** Upload and create in one call. A repeated request id is answered before its bytes are read again. */
export class SubmitTask {
  readonly #create: CreateTask;
  readonly #upload: UploadBlob;
  readonly #dependencies: Dependencies;
  readonly #policy: Policy;
  readonly #clock: () => Date;
  /** Request ids whose bytes are on their way; a second stream of one is sent away. */
  readonly #underWay = new Set<string>();

  constructor(deps: {
    createTask: CreateTask;
    uploadBlob: UploadBlob;
    dependencies: Dependencies;
    policy: Policy;
    clock: () => Date;
  }) {
    this.#create = deps.createTask;
    this.#upload = deps.uploadBlob;
    this.#dependencies = deps.dependencies;
    this.#policy = deps.policy;
    this.#clock = deps.clock;
  }

  async submit(
    caller: Caller,
    request: TaskRequest,
    upload: UploadHeader,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<Task> {
    const startTime = this.#clock();
    if (request.spec.archiveSha256 !== "") {
      throw new InvalidRequest([
        ...request.violations,
        {
          field: "header.task.archive_sha256",
          description: "must be empty; the archive follows in this stream",
        },
      ]);
    }
    const promised = { ...request, spec: { ...request.spec, archiveSha256: upload.sha256 } };
    this.#create.checkForm(caller, promised, [
      ...headerViolations({ header: upload, purpose: "project" }, this.#policy.maxUploadBytes),
    ]);
    if (upload.sha256 !== "") {
      const earlier = await this.#create.findRepeated(caller, promised);
      if (earlier !== undefined) return earlier;
    }
    // Without a digest nobody knows yet whether this repeats a request that was taken before something went wrong.
    if (upload.sha256 !== "" || request.spec.requestId === "")
      await this.#refuseWhatCannotStart(caller, request);
    const { requestId } = request.spec;
    const key = `${caller.tenant} ${requestId}`;
    if (requestId !== "" && this.#underWay.has(key)) {
      throw new UploadInProgress(
        `another stream brings the archive of request_id ${requestId}; try again when it has ended`,
      );
    }
    if (requestId !== "") this.#underWay.add(key);
    try {
      const stored = await this.#upload.execute(
        { tenant: caller.tenant, header: upload, purpose: "project" },
        chunks,
        signal,
      );
      const spec = { ...request.spec, archiveSha256: stored.sha256 };
      const origin = {
        rerunOf: "",
        startTime,
        upload: { endTime: this.#clock(), bytes: stored.receivedBytes },
      };
      return await this.#create.create(caller, { ...request, spec }, origin);
    } finally {
      this.#underWay.delete(key);
    }
  }

  /** Before gigabytes are sent for a task that another one's failure has decided. */
  async #refuseWhatCannotStart(caller: Caller, { spec }: TaskRequest): Promise<void> {
    const violations = await this.#dependencies.check(caller.tenant, spec);
    if (violations.length > 0) throw new InvalidRequest(violations);
  }
}
