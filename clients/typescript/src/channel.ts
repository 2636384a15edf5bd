import {
  type ChannelCredentials,
  Client,
  type ClientWritableStream,
  type CallOptions as GrpcCallOptions,
  type ChannelOptions as GrpcChannelOptions,
  credentials as grpcCredentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { Backoff } from "./backoff.ts";
import { fromServiceError, LongshoreError, RateLimited, Unavailable } from "./errors.ts";
import { TraceContext } from "./trace-context.ts";

export interface ChannelOptions {
  /** How the connection is secured; without it, it is not. */
  readonly credentials?: ChannelCredentials;
  /** Sent with every call; a function is asked anew for each, so that tokens can be renewed. */
  readonly metadata?:
    | Readonly<Record<string, string>>
    | (() => Record<string, string> | Promise<Record<string, string>>);
  /** Options of grpc-js; they win over those of this package. */
  readonly channelOptions?: GrpcChannelOptions;
  /** Longest a single question may take, in milliseconds; 60,000 by default. Streams have no limit. */
  readonly callTimeoutMillis?: number;
}

/** What every call takes. */
export interface CallOptions {
  /** Ends the call, and the promise with the signal's reason. */
  readonly signal?: AbortSignal;
  /** W3C trace context that the task's spans continue; by default that of the active OpenTelemetry span, else TRACEPARENT. */
  readonly traceparent?: string;
}

const MEBIBYTE = 2 ** 20;

const DEFAULT_CHANNEL_OPTIONS: GrpcChannelOptions = {
  // With the default window of 64 KiB a stream of large messages waits for acknowledgements most of the time.
  "grpc-node.flow_control_window": 4 * MEBIBYTE,
  "grpc.max_receive_message_length": 16 * MEBIBYTE,
  // grpc-js waits a second and then up to two minutes; a server that restarts is back sooner.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.min_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
};

/** Long enough for a server that restarts quickly, short enough to tell a person that none is there. */
const UNARY_GIVE_UP_MILLIS = 3_000;

/** A server that has enough of us is there, and a thousand tasks submitted at once are to arrive all the same. */
const RATE_GIVE_UP_MILLIS = 60_000;

/** One connection: calls by their generated definitions, cancelled by signals, failing with typed errors. */
export class Channel {
  readonly address: string;
  readonly #client: Client;
  readonly #options: ChannelOptions;
  readonly #active = new Set<{ cancel(): void }>();
  readonly #trace = new TraceContext();
  #closed = false;

  constructor(address: string, options: ChannelOptions) {
    this.address = address;
    this.#options = options;
    this.#client = new Client(address, options.credentials ?? grpcCredentials.createInsecure(), {
      ...DEFAULT_CHANNEL_OPTIONS,
      ...options.channelOptions,
    });
  }

  /** Ends every call that is under way and lets go of the connection. */
  close(): void {
    this.#closed = true;
    for (const call of this.#active) call.cancel();
    this.#client.close();
  }

  /** One question, one answer. With `retry` it is asked again while the server is away or has enough of us: only for what may happen twice. */
  async unary<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions & { readonly retry: boolean },
  ): Promise<Response> {
    const away = new Backoff({ giveUpMillis: UNARY_GIVE_UP_MILLIS });
    const limited = new Backoff({ giveUpMillis: RATE_GIVE_UP_MILLIS });
    for (;;) {
      try {
        return await this.#ask(method, request, options);
      } catch (error) {
        if (!options.retry) throw error;
        if (error instanceof RateLimited) await limited.wait(error, options.signal);
        else if (error instanceof Unavailable) await away.wait(error, options.signal);
        else throw error;
      }
    }
  }

  async #ask<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    const metadata = await this.#metadata(options);
    const deadline = Date.now() + (this.#options.callTimeoutMillis ?? 60_000);
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const call = this.#client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      metadata,
      { deadline } satisfies GrpcCallOptions,
      (error: ServiceError | null, response?: Response) => {
        if (response === undefined) reject(error);
        else resolve(response);
      },
    );
    const release = this.#hold(call, options.signal);
    try {
      return await promise;
    } catch (error) {
      throw this.#explain(error, options.signal);
    } finally {
      release();
    }
  }

  /** Yields the messages of a server's stream at the reader's pace; leaving the loop cancels the call. */
  async *serverStream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    options: CallOptions,
  ): AsyncGenerator<Response, void, undefined> {
    const metadata = await this.#metadata(options);
    const { path, requestSerialize, responseDeserialize } = method;
    const call = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      {},
    );
    // A call that is cancelled reports it as an error when nobody iterates any more; unheard it would end the process.
    call.on("error", ignoreLateError);
    const release = this.#hold(call, options.signal);
    try {
      for await (const message of call as AsyncIterable<Response>) yield message;
    } catch (error) {
      throw this.#explain(error, options.signal);
    } finally {
      release();
      call.cancel();
    }
  }

  /** Sends messages at the server's pace; an answer that comes before the last message ends the sending. */
  async clientStream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    messages: AsyncIterable<Request>,
    options: CallOptions,
  ): Promise<Response> {
    const metadata = await this.#metadata(options);
    const answered = new AbortController();
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const { path, requestSerialize, responseDeserialize } = method;
    const call = this.#client.makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadata,
      {},
      (error: ServiceError | null, response?: Response) => {
        if (response === undefined) reject(error);
        else resolve(response);
        answered.abort();
      },
    );
    // The callback tells the same; without a listener the event would end the process.
    call.on("error", ignoreLateError);
    const release = this.#hold(call, options.signal);
    try {
      await Promise.all([promise, send(call, messages, answered.signal)]);
      return await promise;
    } catch (error) {
      throw this.#explain(error, options.signal);
    } finally {
      release();
      call.cancel();
    }
  }

  async #metadata(options: CallOptions): Promise<Metadata> {
    options.signal?.throwIfAborted();
    if (this.#closed)
      throw new LongshoreError("the client is closed", { code: "CANCELLED", reason: "CLOSED" });
    const given = this.#options.metadata;
    const metadata = new Metadata();
    for (const [key, value] of Object.entries((typeof given === "function" ? await given() : given) ?? {})) {
      metadata.set(key, value);
    }
    if (options.traceparent !== undefined) metadata.set("traceparent", options.traceparent);
    if (metadata.get("traceparent").length > 0) return metadata;
    const traceparent = await this.#trace.traceparent();
    if (traceparent !== undefined) metadata.set("traceparent", traceparent);
    return metadata;
  }

  #hold(call: { cancel(): void }, signal: AbortSignal | undefined): () => void {
    const cancel = () => call.cancel();
    this.#active.add(call);
    signal?.addEventListener("abort", cancel, { once: true });
    // The signal may have fired while the metadata was made.
    if (signal?.aborted === true || this.#closed) call.cancel();
    return () => {
      this.#active.delete(call);
      signal?.removeEventListener("abort", cancel);
    };
  }

  #explain(error: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted === true) return signal.reason;
    if (this.#closed)
      return new LongshoreError("the client is closed", { code: "CANCELLED", reason: "CLOSED" });
    return isServiceError(error) ? fromServiceError(error) : error;
  }
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}

function ignoreLateError(): void {
  // Reported through the iterator or the callback.
}

async function send<Request>(
  call: ClientWritableStream<Request>,
  messages: AsyncIterable<Request>,
  answered: AbortSignal,
): Promise<void> {
  for await (const message of messages) {
    if (answered.aborted) return;
    if (!call.write(message)) await drained(call, answered);
  }
  if (!answered.aborted) call.end();
}

function drained(
  call: ClientWritableStream<never> | ClientWritableStream<unknown>,
  answered: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off("drain", done);
      answered.removeEventListener("abort", done);
      resolve();
    };
    call.on("drain", done);
    answered.addEventListener("abort", done, { once: true });
    if (answered.aborted) done();
  });
}
