/** The least that answers: a client stream, hashed and thrown away, and a call that gives back what it got. */
import { createHash } from "node:crypto";
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerReadableStream,
  type ServerUnaryCall,
} from "@grpc/grpc-js";

export const BARE_UPLOAD_PATH = "/bench.Bare/Upload";
export const BARE_ECHO_PATH = "/bench.Bare/Echo";

type Answer = (error: Error | null, value: Buffer | null, trailer?: Metadata) => void;

function receive(call: ServerReadableStream<Buffer, Buffer>, answer: Answer): void {
  const hash = createHash("sha256");
  call.on("data", (chunk: Buffer) => hash.update(chunk));
  call.on("end", () => answer(null, hash.digest()));
  call.on("error", (error) => answer(error, null));
}

function echo({ request }: ServerUnaryCall<Buffer, Buffer>, answer: Answer): void {
  answer(null, request);
}

const same = (bytes: Buffer) => bytes;

if (import.meta.main) {
  const server = new Server({ "grpc.max_receive_message_length": 4 * 2 ** 20 });
  server.register(BARE_UPLOAD_PATH, receive, same, same, "clientStream");
  server.register(BARE_ECHO_PATH, echo, same, same, "unary");
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error;
    process.send?.({ port });
  });
  process.once("disconnect", () => server.forceShutdown());
}
