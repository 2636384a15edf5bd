import {
  create,
  type DescField,
  type DescMessage,
  type DescMethod,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { RPCS } from "./dynamic-client.ts";
import { richError } from "./scripted-server.ts";

/** One call as it came: what was asked, in the JSON of protos, and which trace it belongs to. */
export interface RecordedCall {
  readonly rpc: string;
  readonly requests: readonly JsonValue[];
  readonly traceparent: string;
}

/** What is answered, as JSON; undefined means UNIMPLEMENTED. */
export type Answer = (rpc: string, request: JsonValue) => JsonValue | undefined;

export const rpcName = (method: DescMethod) => `${method.parent.name}.${method.name}`;

/** A server of every RPC that the descriptors list, which writes down what it is asked, by the header "step". */
export class RecordingServer implements AsyncDisposable {
  readonly #server = new Server();
  readonly #calls = new Map<string, RecordedCall[]>();
  readonly #answer: Answer;
  #port = 0;

  private constructor(answer: Answer) {
    this.#answer = answer;
    for (const service of new Set(RPCS.map(({ parent }) => parent))) {
      const methods = RPCS.filter(({ parent }) => parent === service);
      this.#server.addService(
        Object.fromEntries(methods.map((method) => [method.localName, definitionOf(method)])),
        Object.fromEntries(methods.map((method) => [method.localName, this.#handlerOf(method)])),
      );
    }
  }

  static async start(answer: Answer): Promise<RecordingServer> {
    const server = new RecordingServer(answer);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    server.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
    server.#port = await promise;
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** By step, in the order they came. */
  get calls(): ReadonlyMap<string, readonly RecordedCall[]> {
    return this.#calls;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
  }

  #handlerOf(method: DescMethod) {
    const unary = (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) =>
      this.#finish(done, this.#take(method, [call.request], call.metadata));
    const clientStreaming = (call: ServerReadableStream<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
      const messages: Buffer[] = [];
      call.on("data", (message: Buffer) => messages.push(message));
      call.on("end", () => this.#finish(done, this.#take(method, messages, call.metadata)));
    };
    const serverStreaming = (call: ServerWritableStream<Buffer, Buffer>) => {
      const answer = this.#take(method, [call.request], call.metadata);
      if (!Buffer.isBuffer(answer)) return call.emit("error", answer);
      call.write(answer);
      return call.end();
    };
    return {
      unary,
      client_streaming: clientStreaming,
      server_streaming: serverStreaming,
      bidi_streaming: unary,
    }[method.methodKind];
  }

  #finish(done: sendUnaryData<Buffer>, answer: Buffer | ServiceError): void {
    if (Buffer.isBuffer(answer)) done(null, answer);
    else done(answer);
  }

  #take(method: DescMethod, messages: readonly Buffer[], metadata: Metadata): Buffer | ServiceError {
    const requests = messages.map((bytes) => toJson(method.input, fromBinary(method.input, bytes)));
    const header = (name: string) => String(metadata.get(name)[0] ?? "");
    const rpc = rpcName(method);
    const calls = this.#calls.get(header("step")) ?? [];
    calls.push({ rpc, requests, traceparent: header("traceparent") });
    this.#calls.set(header("step"), calls);
    const answer = this.#answer(rpc, requests[0] ?? {});
    if (answer === undefined) return richError(status.UNIMPLEMENTED, "UNSUPPORTED", `${rpc} is not served`);
    const { output } = method;
    return Buffer.from(toBinary(output, answer === null ? create(output) : fromJson(output, answer)));
  }
}

/** Fields of requests that none of the calls set, as "Message.field". */
export function unsetFields(calls: Iterable<Pick<RecordedCall, "rpc" | "requests">>): string[] {
  const fields = new Set<string>();
  const set = new Set<string>();
  for (const { input } of RPCS) collectFields(input, fields);
  for (const { rpc, requests } of calls) {
    const method = RPCS.find((each) => rpcName(each) === rpc);
    for (const request of requests) if (method !== undefined) collectSet(method.input, request, set);
  }
  return [...fields].filter((name) => !set.has(name));
}

const fieldName = ({ name, parent }: DescField) => `${parent.name}.${name}`;
/** Of the API, in which fields can be missed; those of others come whole. */
const isOurs = (message: DescMessage | undefined) => message?.file.proto.package === "longshore.v1";

function collectFields(message: DescMessage, found: Set<string>): void {
  for (const field of message.fields) {
    if (found.has(fieldName(field))) continue;
    found.add(fieldName(field));
    if (field.message !== undefined && isOurs(field.message)) collectFields(field.message, found);
  }
}

function collectSet(message: DescMessage, value: JsonValue, found: Set<string>): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return;
  for (const field of message.fields) {
    const given = value[field.jsonName];
    if (given === undefined) continue;
    found.add(fieldName(field));
    if (field.message === undefined || !isOurs(field.message)) continue;
    for (const each of Array.isArray(given) ? given : [given]) collectSet(field.message, each, found);
  }
}

function definitionOf(method: DescMethod): ServiceDefinition[string] {
  const same = (bytes: Buffer) => bytes;
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === "client_streaming",
    responseStream: method.methodKind === "server_streaming",
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}
