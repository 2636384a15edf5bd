import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type {
  handleBidiStreamingCall,
  Server,
  ServerDuplexStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";

/** What buf made of the protos, comments included. */
export function readDescriptors(): Promise<Uint8Array> {
  return readFile(fileURLToPath(import.meta.resolve("@longshore/proto/descriptors.binpb")));
}

/** grpc.reflection v1 and v1alpha over the protos as buf compiled them. */
export class Reflection {
  readonly #service: ReflectionService;
  /** Clients such as grpcurl keep one open for the whole of their run. */
  readonly #streams = new Set<ServerDuplexStream<unknown, unknown>>();

  /** buf's own descriptors and not proto-loader's, which have lost comments and the imports that current clients look for. */
  constructor(descriptors: Uint8Array) {
    const files = fromBinary(FileDescriptorSetSchema, descriptors).file;
    const fileDescriptorProtos = files.map((file) => Buffer.from(toBinary(FileDescriptorProtoSchema, file)));
    // The library reads nothing but the files of a definition; which kind it is does not matter.
    const format = "Protocol Buffer 3 EnumDescriptorProto";
    this.#service = new ReflectionService({ files: { format, type: {}, fileDescriptorProtos } });
  }

  addTo(server: Server): void {
    this.#service.addToServer({
      addService: (definition: ServiceDefinition, implementation: UntypedServiceImplementation) => {
        // The only RPC of both versions, a bidirectional stream.
        const handle = implementation.ServerReflectionInfo as handleBidiStreamingCall<unknown, unknown>;
        server.addService(definition, {
          ServerReflectionInfo: (stream: ServerDuplexStream<unknown, unknown>) =>
            this.#answer(stream, handle),
        });
      },
    });
  }

  close(): void {
    for (const stream of this.#streams) stream.end();
  }

  #answer(
    stream: ServerDuplexStream<unknown, unknown>,
    handle: handleBidiStreamingCall<unknown, unknown>,
  ): void {
    this.#streams.add(stream);
    stream.on("close", () => this.#streams.delete(stream));
    handle(stream);
    // The library answers however much is asked; a client that asks without reading must not fill the memory.
    stream.on("data", () => {
      if (stream.writableNeedDrain) stream.pause();
    });
    stream.on("drain", () => stream.resume());
  }
}
