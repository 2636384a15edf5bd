import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import {
  createFileRegistry,
  type DescMethod,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Client, credentials, type Interceptor, Metadata, type ServiceError } from "@grpc/grpc-js";
import { errorInfoOf } from "./grpc-calls.ts";

const registry = createFileRegistry(
  fromBinary(
    FileDescriptorSetSchema,
    await readFile(fileURLToPath(import.meta.resolve("@longshore/proto/descriptors.binpb"))),
  ),
);

/** Every RPC of longshore.v1 that the descriptors list. */
export const RPCS: readonly DescMethod[] = [...registry.files]
  .filter(({ proto }) => proto.package === "longshore.v1")
  .flatMap((file) => file.services)
  .flatMap((service) => service.methods);

export interface Outcome {
  readonly answers: readonly JsonValue[];
  /** Undefined where the call ended well. */
  readonly error: ServiceError | undefined;
  /** ErrorReason without its prefix; empty where there is none. */
  readonly reason: string;
  readonly facts: Readonly<Record<string, string>>;
}

/** Calls any RPC with messages in the JSON of protos; knows nothing but the descriptors. */
export class DynamicClient implements Disposable {
  readonly #client: Client;

  constructor(address: string, interceptors: Interceptor[] = []) {
    this.#client = new Client(address, credentials.createInsecure(), { interceptors });
  }

  async call(
    method: DescMethod,
    messages: readonly JsonValue[],
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Outcome> {
    const answers: JsonValue[] = [];
    // Here, because grpc-js would tell of a field that does not exist as if the server had refused it.
    const requests = messages.map((json) =>
      Buffer.from(toBinary(method.input, fromJson(method.input, json, { registry }))),
    );
    try {
      for await (const bytes of this.#send(method, requests, headers))
        answers.push(toJson(method.output, fromBinary(method.output, bytes), { registry }));
      return { answers, error: undefined, reason: "", facts: {} };
    } catch (error) {
      if (!(error instanceof Error && "metadata" in error)) throw error;
      // grpc-js rejects with nothing else that has metadata.
      const failure = error as ServiceError;
      const info = errorInfoOf(failure);
      return { answers, error: failure, reason: info?.reason ?? "", facts: info?.metadata ?? {} };
    }
  }

  async *#send(
    method: DescMethod,
    messages: readonly Buffer[],
    headers: Readonly<Record<string, string>>,
  ): AsyncGenerator<Buffer> {
    const path = `/${method.parent.typeName}/${method.name}`;
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
    const encode = (bytes: Buffer) => bytes;
    const decode = encode;
    const [first = Buffer.alloc(0)] = messages;
    if (method.methodKind === "server_streaming") {
      yield* this.#client.makeServerStreamRequest(path, encode, decode, first, metadata);
      return;
    }
    yield await new Promise<Buffer>((resolve, reject) => {
      const done = (error: ServiceError | null, bytes?: Buffer) =>
        bytes === undefined ? reject(error) : resolve(bytes);
      if (method.methodKind === "unary") {
        this.#client.makeUnaryRequest(path, encode, decode, first, metadata, done);
        return;
      }
      const call = this.#client.makeClientStreamRequest(path, encode, decode, metadata, done);
      // An answer that comes before the last message closes the call; the callback has it.
      call.on("error", () => undefined);
      for (const message of messages) call.write(message);
      call.end();
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}
