import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceError,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { Any } from "@longshore/proto/google/protobuf/any";
import { BadRequest, ErrorInfo, ResourceInfo } from "@longshore/proto/google/rpc/error_details";
import { Status } from "@longshore/proto/google/rpc/status";
import {
  Blob,
  Blob_State,
  type BlobServiceServer,
  BlobServiceService,
  type UploadHeader,
} from "@longshore/proto/longshore/v1/blob_service";
import { GetCapabilitiesResponse, SystemServiceService } from "@longshore/proto/longshore/v1/system_service";
import {
  type Artifact,
  CreateTaskRequest,
  Task,
  Task_State,
  TaskResult_Reason,
} from "@longshore/proto/longshore/v1/task";
import {
  LogChunk_Stream,
  TaskEvent,
  type TaskServiceServer,
  TaskServiceService,
  type ValidateTaskRequest,
  type WatchTaskRequest,
  type WatchTaskResponse,
} from "@longshore/proto/longshore/v1/task_service";

type Detail = { readonly type: string; readonly value: Uint8Array };

/** An error as a Longshore server sends it: status, one ErrorInfo, and what else applies. */
export function richError(
  code: status,
  reason: string,
  message: string,
  details: readonly Detail[] = [],
): ServiceError {
  return richErrorWith(code, reason, message, {}, details);
}

export function richErrorWith(
  code: status,
  reason: string,
  message: string,
  facts: Record<string, string>,
  details: readonly Detail[] = [],
): ServiceError {
  const info = ErrorInfo.encode({ reason, domain: "longshore", metadata: facts }).finish();
  const all = [{ type: "google.rpc.ErrorInfo", value: info }, ...details].map(({ type, value }) =>
    Any.create({ typeUrl: `type.googleapis.com/${type}`, value }),
  );
  const metadata = new Metadata();
  metadata.set(
    "grpc-status-details-bin",
    Buffer.from(Status.encode({ code, message, details: all }).finish()),
  );
  return Object.assign(new Error(message), { code, details: message, metadata });
}

export function badRequest(fieldViolations: readonly { field: string; description: string }[]): Detail {
  const value = BadRequest.encode(BadRequest.fromPartial({ fieldViolations: [...fieldViolations] })).finish();
  return { type: "google.rpc.BadRequest", value };
}

/** One task of a scripted server: what is put into it is what watchers see. */
export class ScriptedTask {
  readonly id: string;
  record: Task;
  readonly events: TaskEvent[] = [];
  readonly artifacts = new Map<string, Uint8Array>();
  readonly #offsets = new Map<LogChunk_Stream, number>();
  readonly #listeners = new Set<() => void>();

  constructor(id: string, spec: CreateTaskRequest) {
    this.id = id;
    this.record = Task.fromPartial({
      id,
      spec,
      state: Task_State.QUEUED,
      traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
    });
  }

  get ended(): boolean {
    return this.record.state >= Task_State.SUCCEEDED;
  }

  change(fields: Parameters<typeof Task.fromPartial>[0]): void {
    this.record = Task.fromPartial({ ...this.record, ...fields });
    this.#add({ $case: "task", value: this.record });
  }

  log(data: Uint8Array | string, stream: LogChunk_Stream = LogChunk_Stream.STDOUT): void {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    const offset = this.#offsets.get(stream) ?? 0;
    this.#offsets.set(stream, offset + bytes.length);
    this.#add({
      $case: "log",
      value: { stream, data: bytes, text: "", attempt: 1, offsetBytes: BigInt(offset) },
    });
  }

  gap(droppedBytes: number): void {
    const stream = LogChunk_Stream.STDOUT;
    this.#add({ $case: "gap", value: { stream, droppedBytes: BigInt(droppedBytes), attempt: 1 } });
  }

  exit(exitCode: number): void {
    const succeeded = exitCode === 0;
    this.end(succeeded ? Task_State.SUCCEEDED : Task_State.FAILED, {
      reason: TaskResult_Reason.EXITED,
      exitCode,
      message: `exited with ${exitCode}`,
    });
  }

  end(state: Task_State, result: Task["result"] | object): void {
    this.change({ state, result });
  }

  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#listeners.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#listeners.add(done);
      signal.addEventListener("abort", done, { once: true });
      if (signal.aborted) done();
    });
  }

  #add(event: TaskEvent["event"]): void {
    this.events.push(TaskEvent.create({ cursor: String(this.events.length + 1), time: new Date(), event }));
    for (const listener of [...this.#listeners]) listener();
  }
}

interface StoredBlob {
  bytes: Buffer;
  state: Blob_State;
  refusal: string;
}

/** A server that keeps everything in memory and misbehaves where a test says so. */
export class ScriptedServer implements AsyncDisposable {
  readonly tasks = new Map<string, ScriptedTask>();
  readonly blobs = new Map<string, StoredBlob>();
  readonly created: CreateTaskRequest[] = [];
  readonly validated: ValidateTaskRequest[] = [];
  readonly uploads: { offset: number; received: number }[] = [];
  readonly watches: WatchTaskRequest[] = [];
  readonly cancelled: string[] = [];
  readonly metadata: Metadata[] = [];
  /** Asked before any call is served; an error that it answers is sent instead. */
  refuse: (method: string) => ServiceError | undefined = () => undefined;
  /** Called for each new task, which it usually moves along. */
  onCreate: (task: ScriptedTask) => void = (task) => task.exit(0);
  onCancel: (task: ScriptedTask) => void = (task) =>
    task.end(Task_State.CANCELLED, { reason: TaskResult_Reason.CANCELLED, message: "cancelled" });
  /** Uploads fail with UNAVAILABLE once so many bytes arrived; one number per upload. */
  readonly cutUploadsAfter: number[] = [];
  /** Artifact downloads and watches fail with UNAVAILABLE after so many messages; one number per call. */
  readonly cutStreamsAfter: number[] = [];
  /** On resume, log events before the cursor that are sent again. */
  overlap = 0;
  capabilities: GetCapabilitiesResponse = GetCapabilitiesResponse.fromPartial({ version: "0.1.0" });
  #server = new Server();
  #port = 0;

  static async start(): Promise<ScriptedServer> {
    const scripted = new ScriptedServer();
    await scripted.listen();
    return scripted;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async listen(): Promise<void> {
    const server = new Server({ "grpc.max_receive_message_length": 8 * 2 ** 20 });
    server.addService(TaskServiceService, this.#taskService());
    server.addService(BlobServiceService, this.#blobService());
    server.addService(SystemServiceService, this.#systemService());
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    server.bindAsync(`127.0.0.1:${this.#port}`, ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
    this.#port = await promise;
    this.#server = server;
  }

  /** Dies as a killed process does: connections end, memory of tasks and blobs stays (a real server has them on disk). */
  kill(): void {
    this.#server.forceShutdown();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
  }

  task(id: string): ScriptedTask {
    const task = this.tasks.get(id);
    if (task !== undefined) return task;
    const details = [
      {
        type: "google.rpc.ResourceInfo",
        value: ResourceInfo.encode(
          ResourceInfo.fromPartial({ resourceType: "task", resourceName: id }),
        ).finish(),
      },
    ];
    throw richError(
      status.NOT_FOUND,
      "NOT_FOUND",
      `there is no task ${id}; list them with ListTasks`,
      details,
    );
  }

  create(spec: CreateTaskRequest): ScriptedTask {
    const known = [...this.tasks.values()].find(({ record }) => record.spec?.requestId === spec.requestId);
    this.created.push(spec);
    if (known !== undefined && spec.requestId !== "") return known;
    const task = new ScriptedTask(`01JD3M8Q2E7V000000000000${String(this.tasks.size + 10)}`, spec);
    this.tasks.set(task.id, task);
    return task;
  }

  #check(method: string, metadata: Metadata): void {
    this.metadata.push(metadata);
    const error = this.refuse(method);
    if (error !== undefined) throw error;
  }

  #unary<Request, Response>(method: string, answer: (request: Request) => Response) {
    return (
      call: { request: Request; metadata: Metadata },
      callback: (error: ServiceError | null, response?: Response) => void,
    ) => {
      try {
        this.#check(method, call.metadata);
        callback(null, answer(call.request));
      } catch (error) {
        callback(error as ServiceError);
      }
    };
  }

  #taskService(): UntypedServiceImplementation {
    const service: Partial<TaskServiceServer> = {
      createTask: this.#unary("CreateTask", (request) => {
        const before = this.tasks.size;
        const task = this.create(request);
        const answer = { task: task.record };
        if (this.tasks.size > before) this.onCreate(task);
        return answer;
      }),
      validateTask: this.#unary("ValidateTask", (request) => {
        this.validated.push(request);
        return {};
      }),
      getTask: this.#unary("GetTask", ({ id }) => ({ task: this.task(id).record })),
      listTasks: this.#unary("ListTasks", (request) => {
        const matching = [...this.tasks.values()]
          .map(({ record }) => record)
          .filter(({ state }) => request.states.length === 0 || request.states.includes(state))
          .filter(({ spec }) =>
            Object.entries(request.labels).every(([key, value]) => spec?.labels[key] === value),
          )
          .reverse();
        const start = Number(request.pageToken || 0);
        const end = start + (request.pageSize || 50);
        const nextPageToken = end < matching.length ? String(end) : "";
        return { tasks: matching.slice(start, end), nextPageToken };
      }),
      cancelTask: this.#unary("CancelTask", ({ id }) => {
        const task = this.task(id);
        this.cancelled.push(id);
        if (!task.ended) this.onCancel(task);
        return { task: task.record };
      }),
      rerunTask: this.#unary("RerunTask", ({ id, requestId, resources }) => {
        const old = this.task(id);
        const spec = CreateTaskRequest.fromPartial({ ...old.record.spec, requestId, resources });
        const task = this.create(spec);
        task.record.rerunOf = id;
        this.onCreate(task);
        return { task: task.record };
      }),
      deleteTask: this.#unary("DeleteTask", ({ id }) => {
        const task = this.task(id);
        const facts = { state: "RUNNING" };
        if (!task.ended) {
          const message = `task ${id} is running; cancel it first`;
          throw richErrorWith(status.FAILED_PRECONDITION, "WRONG_STATE", message, facts);
        }
        this.tasks.delete(id);
        return {};
      }),
      listArtifacts: this.#unary("ListArtifacts", ({ taskId }) => {
        const artifacts = [...this.task(taskId).artifacts].map(([path, bytes]) =>
          describeArtifact(path, bytes),
        );
        return { artifacts, nextPageToken: "" };
      }),
      downloadArtifact: (call) => {
        const { artifact, offsetBytes } = call.request;
        const bytes =
          this.task(artifact?.taskId ?? "").artifacts.get(artifact?.path ?? "") ?? new Uint8Array();
        this.#sendBytes(call, bytes, Number(offsetBytes));
      },
      watchTask: (call) => {
        this.#watch(call).catch((error: ServiceError) => call.emit("error", error));
      },
      submitTask: (call, callback) => {
        const chunks: Uint8Array[] = [];
        let spec = CreateTaskRequest.create();
        call.on("data", ({ part }) => {
          if (part?.$case === "header") spec = part.value.task ?? spec;
          else if (part?.$case === "chunk") chunks.push(part.value);
        });
        call.on("end", () => {
          const bytes = Buffer.concat(chunks);
          const sha256 = createHash("sha256").update(bytes).digest("hex");
          this.blobs.set(sha256, { bytes, state: Blob_State.STORED, refusal: "" });
          const task = this.create(spec);
          task.record.archiveSha256 = sha256;
          this.onCreate(task);
          callback(null, { task: task.record });
        });
      },
    };
    // The rest is answered with UNIMPLEMENTED by grpc-js itself.
    return service as UntypedServiceImplementation;
  }

  async #watch(call: ServerWritableStream<WatchTaskRequest, WatchTaskResponse>): Promise<void> {
    const { request } = call;
    this.watches.push(request);
    this.#check("WatchTask", call.metadata);
    const task = this.task(request.id);
    const gone = new AbortController();
    call.on("cancelled", () => gone.abort());
    let budget = this.cutStreamsAfter.shift() ?? Number.POSITIVE_INFINITY;
    const send = async (event: TaskEvent) => {
      budget -= 1;
      if (budget < 0) throw richError(status.UNAVAILABLE, "", "the connection was cut");
      if (!call.write({ event })) await Promise.race([once(call, "drain"), once(gone.signal, "abort")]);
    };
    await send(TaskEvent.create({ cursor: request.cursor, event: { $case: "task", value: task.record } }));
    const from = Number(request.cursor || 0);
    let next = from === 0 ? 0 : Math.max(0, from - this.overlap);
    for (;;) {
      for (; next < task.events.length && !gone.signal.aborted; next += 1) {
        const event = task.events[next];
        if (event === undefined || (request.noLogs && event.event?.$case !== "task")) continue;
        await send(event);
      }
      if (gone.signal.aborted) return;
      if (task.ended || request.noFollow) break;
      await task.changed(gone.signal);
    }
    call.end();
  }

  #sendBytes(
    call: ServerWritableStream<unknown, { offsetBytes: bigint; chunk: Uint8Array }>,
    bytes: Uint8Array,
    offset: number,
  ): void {
    let budget = this.cutStreamsAfter.shift() ?? Number.POSITIVE_INFINITY;
    const size = 64 * 1024;
    for (let at = offset; at < bytes.length; at += size) {
      budget -= 1;
      if (budget < 0) {
        call.emit("error", richError(status.UNAVAILABLE, "", "the connection was cut"));
        return;
      }
      call.write({ offsetBytes: BigInt(at), chunk: bytes.subarray(at, at + size) });
    }
    call.end();
  }

  #blobService(): UntypedServiceImplementation {
    const service: Partial<BlobServiceServer> = {
      getBlob: this.#unary("GetBlob", ({ sha256 }) => ({ blob: this.#describe(sha256) })),
      downloadBlob: (call) => {
        const { sha256, offsetBytes } = call.request;
        this.#sendBytes(call, this.blobs.get(sha256)?.bytes ?? new Uint8Array(), Number(offsetBytes));
      },
      uploadBlob: (call, callback) => {
        let header: UploadHeader | undefined;
        let received = 0;
        let cut = Number.POSITIVE_INFINITY;
        let done = false;
        const finish = (error: ServiceError | null) => {
          if (done) return;
          done = true;
          this.uploads.push({ offset: Number(header?.offsetBytes ?? 0), received });
          callback(error, { blob: this.#describe(header?.sha256 ?? "") });
        };
        call.on("data", ({ part }) => {
          if (done) return;
          if (part?.$case === "header") {
            header = part.value;
            cut = this.cutUploadsAfter.shift() ?? cut;
          } else if (part?.$case === "chunk" && header !== undefined) {
            received += part.value.length;
            const blob = this.blobs.get(header.sha256);
            const bytes = Buffer.concat([blob?.bytes ?? Buffer.alloc(0), part.value]);
            this.blobs.set(header.sha256, { bytes, state: Blob_State.PARTIAL, refusal: "" });
            if (received >= cut) finish(richError(status.UNAVAILABLE, "", "the connection was cut"));
          }
        });
        call.on("end", () => finish(this.#seal(header)));
      },
    };
    return service as UntypedServiceImplementation;
  }

  #describe(sha256: string): Blob {
    const blob = this.blobs.get(sha256);
    if (blob === undefined) return Blob.fromPartial({ sha256, state: Blob_State.MISSING });
    const committed = BigInt(blob.bytes.length);
    const { state, refusal } = blob;
    return Blob.fromPartial({ sha256, state, refusal, committedBytes: committed, sizeBytes: committed });
  }

  #seal(header: UploadHeader | undefined): ServiceError | null {
    const blob = this.blobs.get(header?.sha256 ?? "") ?? { bytes: Buffer.alloc(0), state: 0, refusal: "" };
    const digest = createHash("sha256").update(blob.bytes).digest("hex");
    if (digest !== header?.sha256) {
      return richError(status.INVALID_ARGUMENT, "DIGEST_MISMATCH", `the bytes have the digest ${digest}`);
    }
    blob.state = Blob_State.STORED;
    this.blobs.set(digest, blob);
    return null;
  }

  #systemService(): UntypedServiceImplementation {
    return {
      getCapabilities: this.#unary("GetCapabilities", () => this.capabilities),
    } as UntypedServiceImplementation;
  }
}

export function describeArtifact(path: string, bytes: Uint8Array): Artifact {
  return { path, sizeBytes: BigInt(bytes.length), sha256: createHash("sha256").update(bytes).digest("hex") };
}
