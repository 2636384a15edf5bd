import type {
  Server,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  sendUnaryData,
} from "@grpc/grpc-js";
import { Unavailable } from "#server/domain/errors.ts";
import type { Metrics } from "#server/domain/ports/metrics.ts";
import type { Log } from "#server/domain/ports/telemetry.ts";
import { untilAborted } from "./abort.ts";
import { ActiveCall } from "./active-call.ts";
import type { ErrorStatus } from "./errors.ts";
import { type Gate, stranger, type Visitor } from "./gate.ts";
import { type Decoded, decoder, encoder, messageOf, messagesOf, type Outgoing } from "./messages.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { Need, Needs } from "./rpc-scopes.ts";
import type { CallContext, Method, ServiceHandlers } from "./service-handlers.ts";

/** Messages handed to grpc-js and not yet to the socket; one may be 1 MiB, and each slow reader costs this much memory. */
const MAX_QUEUED_MESSAGES = 4;

/** How a body reaches its call. */
type Body = (call: ActiveCall) => Promise<void>;
type UnaryHandler = (request: unknown, context: CallContext) => Promise<unknown>;
type StreamHandler = (request: unknown, context: CallContext) => AsyncIterable<unknown>;
type UploadHandler = (parts: AsyncIterable<unknown>, context: CallContext) => Promise<unknown>;

/** What every kind of call of grpc-js has. */
interface Surface extends Visitor {
  readonly cancelled: boolean;
  on(event: "cancelled", listener: () => void): unknown;
}

/** How an RPC is let in and waited for. */
interface Route {
  readonly path: string;
  /** Null: anybody may call. */
  readonly need: Need | null;
  readonly background: boolean;
  readonly isStream: boolean;
}

/** Wraps handlers for grpc-js: caller, abort signal, errors, log and backpressure in one place; knows every call in progress. */
export class Calls {
  readonly #gate: Gate;
  readonly #limits: RateLimits | null;
  readonly #log: Log;
  readonly #metrics: Metrics;
  readonly #newId: () => string;
  readonly #active = new Set<ActiveCall>();
  #draining = false;
  #quiet: (() => void) | undefined;

  /** Without limits everybody may do as much as they like. */
  constructor(gate: Gate, limits: RateLimits | null, log: Log, metrics: Metrics, newId: () => string) {
    this.#gate = gate;
    this.#limits = limits;
    this.#log = log;
    this.#metrics = metrics;
    this.#newId = newId;
  }

  /** Without `needs` anybody may call. Background services (health) answer while the server drains and are not waited for. */
  serve<D extends Readonly<Record<string, Method>>>(
    server: Server,
    definition: D,
    handlers: ServiceHandlers<D>,
    needs: Needs<D> | null,
    { background = false } = {},
  ): void {
    for (const [name, method] of Object.entries(definition)) {
      // ServiceHandlers has matched each handler to its method; grpc-js wants to be told the kind again as data.
      const handler: unknown = handlers[name];
      const encode = encoder(method.responseSerialize as (message: unknown) => Buffer);
      const decode = decoder(method.requestDeserialize);
      const { path } = method;
      const isStream = method.requestStream || method.responseStream;
      const route: Route = { path, need: needs === null ? null : needOf(needs, name), background, isStream };
      if (method.requestStream) {
        const upload = this.#upload(route, handler as UploadHandler);
        server.register(path, upload, encode, decode, "clientStream");
      } else if (method.responseStream) {
        const stream = this.#stream(route, handler as StreamHandler);
        server.register(path, stream, encode, decode, "serverStream");
      } else {
        const unary = this.#unary(route, handler as UnaryHandler);
        server.register(path, unary, encode, decode, "unary");
      }
    }
  }

  /** Refuses new calls, ends watches, and resolves when every other call has been answered. */
  drain(): Promise<void> {
    this.#draining = true;
    for (const call of this.#active) call.drain();
    return new Promise((resolve) => {
      this.#quiet = resolve;
      this.#tellQuiet();
    });
  }

  /** Ends the calls that were let in with this credential. */
  revoke(credential: string): void {
    for (const call of this.#active) call.revoke(credential);
  }

  /** Ends what still goes on. */
  endAll(): void {
    for (const call of this.#active) call.end();
  }

  #unary(route: Route, handler: UnaryHandler) {
    return (call: ServerUnaryCall<Decoded, Outgoing>, answer: sendUnaryData<Outgoing>): void => {
      const body: Body = async (active) => {
        const { meter } = active;
        meter.add(call.request.size);
        answer(null, { message: await handler(messageOf(call.request), active), meter });
      };
      void this.#run(route, call, body, answer);
    };
  }

  #upload(route: Route, handler: UploadHandler) {
    return (call: ServerReadableStream<Decoded, Outgoing>, answer: sendUnaryData<Outgoing>): void => {
      const body: Body = async (active) => {
        const { meter, signal } = active;
        answer(null, { message: await handler(messagesOf(call, signal, meter), active), meter });
      };
      void this.#run(route, call, body, answer);
    };
  }

  #stream(route: Route, handler: StreamHandler) {
    return (call: ServerWritableStream<Decoded, Outgoing>): void => {
      const body: Body = async (active) => {
        const { meter, signal } = active;
        meter.add(call.request.size);
        for await (const message of handler(messageOf(call.request), active)) {
          await meter.ready(signal);
          await write(call, { message, meter }, signal);
        }
        // A source may end quietly on abort; that is no regular end.
        signal.throwIfAborted();
        call.end();
      };
      void this.#run(route, call, body, (status) => call.emit("error", status));
    };
  }

  async #run(
    { path, need, background, isStream }: Route,
    surface: Surface,
    body: Body,
    fail: (status: ErrorStatus) => void,
  ): Promise<void> {
    const call = new ActiveCall(path, background);
    this.#active.add(call);
    // grpc-js also says "cancelled" after a regular end; by then nothing listens to the signal any more.
    surface.on("cancelled", () => call.clientGone());
    if (surface.cancelled) call.clientGone();
    try {
      if (this.#draining && !background) throw new Unavailable("the server is shutting down; try again");
      call.admit(need === null ? stranger(surface) : await this.#gate.admit(path, need, surface));
      const { credential } = call.caller;
      if (this.#limits !== null && credential !== "") call.measure(this.#limits.enter(credential, isStream));
      await body(call);
      call.succeeded(this.#log, this.#metrics);
    } catch (error) {
      const status = call.failed(error, this.#newId, this.#log, this.#metrics);
      if (status !== undefined) fail(status);
    } finally {
      call.release();
      this.#active.delete(call);
      this.#tellQuiet();
    }
  }

  #tellQuiet(): void {
    for (const call of this.#active) if (!call.background) return;
    this.#quiet?.();
  }
}

/** Needs<D> has one for every RPC; TypeScript cannot follow the name through Object.entries. */
function needOf<D>(needs: Needs<D>, name: string): Need {
  const need = (needs as Readonly<Record<string, Need | undefined>>)[name];
  if (need === undefined) throw new Error(`nothing says which scope ${name} needs`);
  return need;
}

/** Resolves when the next message may be written. */
async function write(
  call: ServerWritableStream<Decoded, Outgoing>,
  message: Outgoing,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const flushed = Promise.withResolvers<void>();
  call.write(message, () => flushed.resolve());
  // grpc-js never calls back for what was on its way when the client went; waiting for that would hold the source for ever.
  if (call.writableLength > MAX_QUEUED_MESSAGES) await untilAborted(flushed.promise, signal);
}
