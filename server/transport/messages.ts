import { setImmediate as afterEvents } from "node:timers/promises";
import type { ServerReadableStream } from "@grpc/grpc-js";
import { InvalidRequest, Unavailable } from "#server/domain/errors.ts";
import { untilAborted } from "./abort.ts";
import type { Meter } from "./rate-limits.ts";

/** A client that stops sending must not hold its upload for ever; it can resume. */
const MAX_SILENCE_MILLIS = 120_000;

/** A request, or that its bytes are none. grpc-js would answer INTERNAL by itself if the decoder threw. */
export type Decoded = { readonly size: number } & (
  | { readonly message: unknown }
  | { readonly cause: unknown }
);

export function decoder(decode: (bytes: Buffer) => unknown): (bytes: Buffer) => Decoded {
  return (bytes) => {
    const size = bytes.length;
    try {
      return { size, message: decode(bytes) };
    } catch (cause) {
      return { size, cause };
    }
  };
}

/** An answer on its way, and whom to tell how large it is once it is encoded. */
export interface Outgoing {
  readonly message: unknown;
  readonly meter: Meter;
}

/** grpc-js encodes a message when it sends it, which may be later; an encoder may use one buffer for all. */
export function encoder(encode: (message: unknown) => Buffer): (outgoing: Outgoing) => Buffer {
  return ({ message, meter }) => {
    const bytes = encode(message);
    meter.add(bytes.length);
    return bytes;
  };
}

/** Throws InvalidRequest for bytes that are no message. */
export function messageOf(decoded: Decoded): unknown {
  if ("message" in decoded) return decoded.message;
  throw new InvalidRequest([
    {
      field: "",
      description: "the request is not a message of this RPC; client and server may use different protos",
    },
  ]);
}

/**
 * The messages of a client stream, read from the network as they are asked for. Ends at the client's own end only:
 * when the client is gone before, it throws.
 */
export async function* messagesOf(
  call: ServerReadableStream<Decoded, unknown>,
  signal: AbortSignal,
  meter: Meter,
): AsyncGenerator<unknown, void, undefined> {
  // An early answer must leave the call open for its own status.
  const iterator: AsyncIterator<Decoded, void, undefined> = call.iterator({ destroyOnReturn: false });
  for (;;) {
    const next = await nextOf(iterator.next(), signal);
    if (next.done === true) break;
    meter.add(next.value.size);
    await meter.ready(signal);
    yield messageOf(next.value);
  }
  // Node ends a stream that its client has reset before it tells of the reset, and a part of an upload must not pass for the whole.
  await afterEvents();
  signal.throwIfAborted();
}

/** What the client sends next, unless it is silent for too long. */
async function nextOf<T>(next: Promise<T>, signal: AbortSignal): Promise<T> {
  const silence = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const seconds = MAX_SILENCE_MILLIS / 1000;
    silence.reject(
      new Unavailable(`nothing was sent for ${seconds} s; ask GetBlob how much is here and go on from there`),
    );
  }, MAX_SILENCE_MILLIS);
  try {
    return await untilAborted(Promise.race([next, silence.promise]), signal);
  } finally {
    clearTimeout(timer);
  }
}
