import type { Caller } from "./application.ts";

/** What a handler knows of its call besides the request. */
export interface CallContext {
  readonly caller: Caller;
  /** Aborts when the client is gone, its deadline has passed, or the server stops waiting for the call. */
  readonly signal: AbortSignal;
  /** For a call without an end of its own, such as a watch: `signal` shall also abort as soon as the server begins to drain. */
  endOnDrain(): AbortSignal;
}

/** One RPC as ts-proto writes it; `never` and `unknown` accept every concrete message. */
export interface Method {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  readonly responseSerialize: (message: never) => Buffer;
}

type Request<M extends Method> = ReturnType<M["requestDeserialize"]>;
type Response<M extends Method> = Parameters<M["responseSerialize"]>[0];

/** How an RPC is written here: requests come as value or iterable, answers go as promise or iterable, errors are thrown. */
type Handler<M extends Method> = M extends { requestStream: true }
  ? (parts: AsyncIterable<Request<M>>, context: CallContext) => Promise<Response<M>>
  : M extends { responseStream: true }
    ? (request: Request<M>, context: CallContext) => AsyncIterable<Response<M>>
    : (request: Request<M>, context: CallContext) => Promise<Response<M>>;

/** A handler for every RPC of a service. */
export type ServiceHandlers<D extends Readonly<Record<string, Method>>> = {
  readonly [K in keyof D]: Handler<D[K]>;
};
