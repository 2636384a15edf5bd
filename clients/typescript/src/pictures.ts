import type { MethodDefinition } from "@grpc/grpc-js";
import { Backoff } from "./backoff.ts";
import type { CallOptions, Channel } from "./channel.ts";
import { ConnectionLost, isConnectionLoss } from "./errors.ts";

export interface PictureOptions extends CallOptions {
  /** Told each time the connection was lost, before it is tried again. */
  readonly onReconnect?: (error: Error) => void;
  /** How long to go on trying to reach a server that was there before; five minutes by default. */
  readonly reconnectForMillis?: number;
}

const FIRST_CONNECT_MILLIS = 3_000;
const RECONNECT_MILLIS = 300_000;

/** Follows a stream without an end whose every message is the whole picture: after a lost connection it is asked for again. */
export async function* followPictures<Request, Response>(
  channel: Channel,
  method: MethodDefinition<Request, Response>,
  request: Request,
  options: PictureOptions,
): AsyncGenerator<Response, void, undefined> {
  const first = new Backoff({ giveUpMillis: FIRST_CONNECT_MILLIS });
  const again = new Backoff({ giveUpMillis: options.reconnectForMillis ?? RECONNECT_MILLIS });
  let seen = false;
  for (;;) {
    try {
      for await (const picture of channel.serverStream(method, request, options)) {
        seen = true;
        again.reset();
        yield picture;
      }
      throw new ConnectionLost("the server ended the stream", { code: "UNAVAILABLE" });
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      if (seen) options.onReconnect?.(error);
      await (seen ? again : first).wait(error, options.signal);
    }
  }
}
