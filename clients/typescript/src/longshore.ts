import {
  type Capacity,
  type GetCapabilitiesResponse,
  type ReconcileReport,
  SystemServiceService,
} from "@longshore/proto/longshore/v1/system_service";
import type { CreateTaskRequest, Task as TaskRecord } from "@longshore/proto/longshore/v1/task";
import {
  type SubmitTaskRequest,
  TaskServiceService,
  TaskView,
} from "@longshore/proto/longshore/v1/task_service";
import { Access } from "./access.ts";
import { Blobs } from "./blobs.ts";
import { type CallOptions, Channel } from "./channel.ts";
import { channelOptions, type LongshoreOptions } from "./connection.ts";
import { LongshoreError } from "./errors.ts";
import { listInputs, openInputs, sendInputs } from "./inputs.ts";
import type { StateName } from "./names.ts";
import type { TaskOutcome } from "./outcome.ts";
import { followPictures, type PictureOptions } from "./pictures.ts";
import { isFolder, openSource, type Source } from "./source.ts";
import { requestOf, type TaskOptions } from "./spec.ts";
import { reasonsOf, statesOf } from "./states.ts";
import { inputsOf, inWordsOfConfig, mergeOptions } from "./submit-config.ts";
import { type ResultOptions, Task, taskFrom } from "./task.ts";
import { readTaskConfig, sourceOf, type TaskConfigContext } from "./task-config.ts";
import { type UploadOptions, uploadBlob } from "./upload.ts";
import { type BlobFormatName, CHUNK_BYTES, formatNumber } from "./upload-source.ts";
import {
  type Estimate,
  type EstimateOptions,
  estimateCost,
  listUsage,
  type Quota,
  readQuota,
  readUsage,
  type UsageEntry,
  type UsageOptions,
  type UsageRange,
  type UsageReport,
} from "./usage.ts";
import { validateOnce } from "./validate.ts";
import { Webhooks } from "./webhooks.ts";

export type SubmitOptions = TaskOptions & UploadOptions;

export type SubmitConfigOptions = SubmitOptions & TaskConfigContext;

export interface SubmitStreamOptions extends TaskOptions, CallOptions {
  /** What the bytes are; told by their beginning when left out. */
  readonly format?: Exclude<BlobFormatName, "raw">;
}

export interface ListOptions extends CallOptions {
  /** Any of these; all when left out. */
  readonly states?: readonly StateName[];
  /** Ended for any of these, such as "TIMED_OUT"; for whatever reason when left out. */
  readonly reasons?: readonly string[];
  /** All of these. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly createdAfter?: Date;
  readonly createdBefore?: Date;
  readonly owner?: string;
  readonly view?: "basic" | "full";
  /** Asked for at once; how many are yielded in all is up to who reads. */
  readonly pageSize?: number;
}

export interface WatchTasksOptions extends PictureOptions {
  /** All of these. */
  readonly labels?: Readonly<Record<string, string>>;
  /** At most so many in each picture; 50 by default, 200 at most. */
  readonly maxTasks?: number;
}

/** All that has not ended, at one moment. */
export interface TasksUnderWay {
  /** Those that were started, oldest first, with what they use so far; then the queue in its order, with why each waits. */
  readonly tasks: readonly TaskRecord[];
  /** Those beyond `maxTasks` among them. */
  readonly totalCount: number;
}

/** A connection to a Longshore server. `await using client = new Longshore("localhost:50051")` closes it at the end. */
export class Longshore implements AsyncDisposable {
  readonly address: string;
  /** Uploads and downloads of bytes by their digest. */
  readonly blobs: Blobs;
  /** Who may call, and who did what. */
  readonly access: Access;
  /** Who is told of what becomes of tasks. */
  readonly webhooks: Webhooks;
  readonly #channel: Channel;

  constructor(address = "127.0.0.1:50051", options: LongshoreOptions = {}) {
    this.address = address;
    this.#channel = new Channel(address, channelOptions(address, options));
    this.access = new Access(this.#channel);
    this.webhooks = new Webhooks(this.#channel);
    this.blobs = new Blobs(this.#channel);
  }

  /** Uploads what is not there yet, creates the task and returns at once. See Source for what can be given. */
  async submit(source: Source, options: SubmitOptions = {}): Promise<Task> {
    const request = requestOf(options);
    await using program = await openSource(source, options);
    if (request.displayName === "") request.displayName = program.name;
    if (program.kind === "code") request.code = program.code;
    if (program.kind === "stored") request.archiveSha256 = program.sha256;
    if (program.kind === "archive") {
      if (request.entrypoint === "") request.entrypoint = program.entrypoint;
      request.archiveSha256 = program.archive.sha256;
    }
    const inputs = await openInputs(request, listInputs(options.inputs), options);
    const project = program.kind === "archive" ? program.project : undefined;
    const beforeSending = validateOnce(this.#channel, request, project, options);
    const sending = { ...options, beforeSending };
    if (program.kind === "archive") await uploadBlob(this.#channel, program.archive, sending);
    await sendInputs(this.#channel, inputs, sending);
    // Awaited here: a refusal that comes while the program is released would count as unhandled and end the process.
    return await this.#create(request, options);
  }

  /**
   * Submits what a configuration file describes: its dataset and model_params go along as inputs, its cluster becomes the
   * placement, its experiment is tracked. `source` is the script or its folder; without it script_path, beside the file.
   * Options go before what the file says. Throws InvalidRequest with everything that is wrong with the file.
   */
  async submitConfig(path: string, source?: string, options: SubmitConfigOptions = {}): Promise<Task> {
    const { datasets, ...asked } = options;
    const config = await readTaskConfig(path, { datasets });
    const program = sourceOf(config, path, source);
    const upload = (content: Uint8Array) => this.blobs.upload(content, { signal: options.signal });
    const folder = (await isFolder(program)) ? program : undefined;
    const inputs = await inputsOf(config, folder, upload);
    const merged = mergeOptions(config, asked, inputs);
    try {
      return await this.submit(program, {
        ...merged,
        ...(folder !== undefined && merged.entrypoint === undefined && { entrypoint: config.script }),
      });
    } catch (error) {
      throw inWordsOfConfig(error, config);
    }
  }

  /** Submits and waits for the end; `onEvent` is told everything until then. Throws TaskFailed unless `reject` is false. */
  async run(source: Source, options: SubmitOptions & ResultOptions = {}): Promise<TaskOutcome> {
    const task = await this.submit(source, options);
    return task.result(options);
  }

  /**
   * Sends an archive as it is made and creates its task in the same call, for bytes that cannot be read twice. Such an
   * upload cannot be resumed: submit is the better way for anything that lies on disk.
   */
  async submitStream(archive: AsyncIterable<Uint8Array>, options: SubmitStreamOptions = {}): Promise<Task> {
    const task = requestOf(options);
    const inputs = await openInputs(task, listInputs(options.inputs), options);
    await sendInputs(this.#channel, inputs, options);
    const format = options.format === undefined ? 0 : formatNumber(options.format);
    const messages = async function* (): AsyncGenerator<SubmitTaskRequest, void, undefined> {
      const header = { task, archive: { sha256: "", sizeBytes: 0n, offsetBytes: 0n, format } };
      yield { part: { $case: "header", value: header } };
      for await (const bytes of archive) {
        for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
          yield { part: { $case: "chunk", value: bytes.subarray(at, at + CHUNK_BYTES) } };
        }
      }
    };
    const answer = await this.#channel.clientStream(TaskServiceService.submitTask, messages(), options);
    return taskFrom(this.#channel, answer.task);
  }

  /** A handle of a task by its id; asks nothing of the server. */
  task(id: string): Task {
    return new Task(this.#channel, id);
  }

  /** Records of tasks, newest first, page after page for as long as the loop reads on. */
  async *list(options: ListOptions = {}): AsyncGenerator<TaskRecord, void, undefined> {
    const states = statesOf(options.states ?? []);
    const reasons = reasonsOf(options.reasons ?? []);
    let pageToken = "";
    do {
      const request = {
        pageSize: options.pageSize ?? 0,
        pageToken,
        states,
        labels: { ...options.labels },
        createdAfter: options.createdAfter,
        createdBefore: options.createdBefore,
        owner: options.owner ?? "",
        reasons,
        view: options.view === "full" ? TaskView.FULL : TaskView.BASIC,
      };
      const page = await this.#channel.unary(TaskServiceService.listTasks, request, {
        ...options,
        retry: true,
      });
      yield* page.tasks;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Engines, limits and how well each is held, sizes. */
  capabilities(options: CallOptions = {}): Promise<GetCapabilitiesResponse> {
    return this.#channel.unary(SystemServiceService.getCapabilities, {}, { ...options, retry: true });
  }

  /** What is held and free now, on the default engine or the one named. */
  async capacity(options: CallOptions & { readonly engine?: string } = {}): Promise<Capacity> {
    const request = { engine: options.engine ?? "" };
    const answer = await this.#channel.unary(SystemServiceService.getCapacity, request, {
      ...options,
      retry: true,
    });
    if (answer.capacity === undefined)
      throw new LongshoreError("the server answered without figures", { code: "INTERNAL" });
    return answer.capacity;
  }

  /** The same at once and at every change, through lost connections, until the loop is left. */
  async *watchCapacity(
    options: PictureOptions & { readonly engine?: string } = {},
  ): AsyncGenerator<Capacity, void, undefined> {
    const request = { engine: options.engine ?? "" };
    const stream = followPictures(this.#channel, SystemServiceService.watchCapacity, request, options);
    for await (const { capacity } of stream) if (capacity !== undefined) yield capacity;
  }

  /** What is under way, at once and at every change, through lost connections, until the loop is left. */
  async *watchTasks(options: WatchTasksOptions = {}): AsyncGenerator<TasksUnderWay, void, undefined> {
    const request = { labels: { ...options.labels }, maxTasks: options.maxTasks ?? 0 };
    const stream = followPictures(this.#channel, TaskServiceService.watchTasks, request, options);
    for await (const { tasks, totalCount } of stream) yield { tasks, totalCount };
  }

  /** What the server found of an earlier one when it started, and what it tidied up since. */
  async reconcileReport(options: CallOptions = {}): Promise<ReconcileReport> {
    const answer = await this.#channel.unary(
      SystemServiceService.getReconcileReport,
      {},
      { ...options, retry: true },
    );
    if (answer.report === undefined)
      throw new LongshoreError("the server answered without a report", { code: "INTERNAL" });
    return answer.report;
  }

  /** What was used and what it cost, this month unless told otherwise: a total, and sums by what `by` names. */
  usage(options: UsageOptions = {}): Promise<UsageReport> {
    return readUsage(this.#channel, options);
  }

  /** The ledger itself, one row for each attempt, latest end first; it stays when tasks are deleted. */
  usageEntries(options: UsageRange = {}): AsyncGenerator<UsageEntry, void, undefined> {
    return listUsage(this.#channel, options);
  }

  /** What your tenant may have, and how much of it is used; empty where nothing is limited. */
  quota(options: CallOptions = {}): Promise<readonly Quota[]> {
    return readQuota(this.#channel, options);
  }

  /** What a task would hold and cost at most; nothing is uploaded or created. */
  estimate(options: EstimateOptions = {}): Promise<Estimate> {
    return estimateCost(this.#channel, options);
  }

  /** Ends every call under way and lets go of the connection. Tasks go on. */
  close(): void {
    this.#channel.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #create(request: CreateTaskRequest, options: CallOptions): Promise<Task> {
    // Safe to repeat: the request_id makes the second one answer the first task.
    const answer = await this.#channel.unary(TaskServiceService.createTask, request, {
      ...options,
      retry: true,
    });
    return taskFrom(this.#channel, answer.task);
  }
}
