import type {
  ClientReadableStream,
  ClientUnaryCall,
  ClientWritableStream,
  ServiceError,
} from "@grpc/grpc-js";
import { InterceptingCall, type Interceptor } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo } from "@longshore/proto/google/rpc/error_details.ts";
import { Status } from "@longshore/proto/google/rpc/status.ts";

type Answer<T> = (error: ServiceError | null, value?: T) => void;

/** A unary call of a grpc-js client as a promise: `answerOf((done) => client.getTask(request, done))`. */
export function answerOf<T>(
  start: (done: Answer<T>) => ClientUnaryCall | ClientWritableStream<unknown>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => {
      if (value !== undefined) resolve(value);
      else reject(error);
    });
  });
}

/** A client-streaming call with these messages; `done` settles with the answer. */
export async function uploadOf<Q, T>(
  start: (done: Answer<T>) => ClientWritableStream<Q>,
  messages: Iterable<Q>,
): Promise<T> {
  return answerOf<T>((done) => {
    const call = start(done);
    // An early error answer closes the call; what is written after it has nowhere to go and that is all.
    call.on("error", () => undefined);
    for (const message of messages) call.write(message);
    call.end();
    return call;
  });
}

/** All messages of a server stream; rejects with its error. */
export function messagesOf<T>(call: ClientReadableStream<T>): Promise<T[]> {
  return Array.fromAsync(call as AsyncIterable<T>);
}

/** What a failed call rejects with. */
export async function failureOf(call: Promise<unknown>): Promise<ServiceError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Error && "code" in error && "metadata" in error) return error as ServiceError;
    throw error;
  }
  throw new Error("the call succeeded");
}

/** The google.rpc.Status of an error; undefined when it carries none. */
export function detailsOf(error: Pick<ServiceError, "metadata">): Status | undefined {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  return bytes instanceof Buffer ? Status.decode(bytes) : undefined;
}

export function errorInfoOf(error: Pick<ServiceError, "metadata">): ErrorInfo | undefined {
  const infos =
    detailsOf(error)?.details.filter(({ typeUrl }) => typeUrl.endsWith("/google.rpc.ErrorInfo")) ?? [];
  if (infos.length > 1) throw new Error("more than one ErrorInfo");
  return infos[0] === undefined ? undefined : ErrorInfo.decode(infos[0].value);
}

/** Fields named by the BadRequest of an error. */
export function wrongFieldsOf(error: Pick<ServiceError, "metadata">): string[] {
  const details = detailsOf(error)?.details ?? [];
  return details
    .filter(({ typeUrl }) => typeUrl.endsWith("/google.rpc.BadRequest"))
    .flatMap(({ value }) => BadRequest.decode(value).fieldViolations)
    .map(({ field }) => field);
}

/** Sends `authorization` with every call of a grpc-js client. */
export function bearer(authorization: () => string): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => {
        metadata.set("authorization", authorization());
        next(metadata, listener);
      },
    });
}
