import { status } from "@grpc/grpc-js";
import { Unauthenticated, Unavailable } from "#server/domain/errors.ts";
import type { Metrics } from "#server/domain/ports/metrics.ts";
import type { Log } from "#server/domain/ports/telemetry.ts";
import type { Caller } from "./application.ts";
import { type ErrorStatus, statusOf } from "./errors.ts";
import { type Meter, UNMETERED } from "./rate-limits.ts";
import type { CallContext } from "./service-handlers.ts";

/** Abort reason of a call whose client cancelled, vanished or ran out of time: nobody is there to answer. */
class ClientGone extends Error {}

const MAX_TIMER_MILLIS = 2 ** 31 - 1;

/** One call from its first byte to its status. */
export class ActiveCall implements CallContext {
  /** Not waited for when the server drains. */
  readonly background: boolean;
  readonly #path: string;
  readonly #controller = new AbortController();
  readonly #begin = performance.now();
  #caller: Caller | undefined;
  #meter: Meter = UNMETERED;
  #expiry: NodeJS.Timeout | undefined;
  #endsOnDrain = false;
  #draining = false;

  constructor(path: string, background: boolean) {
    this.#path = path;
    this.background = background;
  }

  get caller(): Caller {
    if (this.#caller === undefined) throw new Error(`${this.#path} was handled before it was admitted`);
    return this.#caller;
  }

  /** From now on it is known who calls, and the call ends when the credential does. */
  admit(caller: Caller): void {
    this.#caller = caller;
    if (caller.expireTime === null) return;
    const millis = caller.expireTime.getTime() - Date.now();
    // What lies beyond the longest delay of a timer outlives any call.
    if (millis > MAX_TIMER_MILLIS) return;
    this.#expiry = setTimeout(() => this.#deny("expired"), Math.max(0, millis)).unref();
  }

  get meter(): Meter {
    return this.#meter;
  }

  /** Whoever calls has a limit on what calls move. */
  measure(meter: Meter): void {
    this.#meter = meter;
  }

  /** The credential of this name was taken back. */
  revoke(credential: string): void {
    if (this.#caller?.credential === credential) this.#deny("was revoked");
  }

  /** The call is over, however it ended. */
  release(): void {
    clearTimeout(this.#expiry);
    this.#meter.release();
  }

  #deny(why: string): void {
    const { credential = "" } = this.#caller ?? {};
    this.#controller.abort(new Unauthenticated(`${credential} ${why} during the call; tasks go on`));
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  endOnDrain(): AbortSignal {
    this.#endsOnDrain = true;
    if (this.#draining) this.drain();
    return this.signal;
  }

  drain(): void {
    this.#draining = true;
    if (this.#endsOnDrain) this.end();
  }

  /** The server waits no longer. */
  end(): void {
    this.#controller.abort(
      new Unavailable("the server is shutting down; call again to go on where this ended"),
    );
  }

  clientGone(): void {
    this.#controller.abort(new ClientGone("the client is gone"));
  }

  /** What to send for an error; undefined when nobody is left to read it. Once aborted, why counts, not what broke in its wake. */
  failed(error: unknown, newId: () => string, log: Log, metrics: Metrics): ErrorStatus | undefined {
    const cause: unknown = this.signal.aborted ? this.signal.reason : error;
    if (cause instanceof ClientGone) {
      this.#measure(status.CANCELLED, metrics);
      log.debug("call cancelled", this.#facts(status.CANCELLED));
      return undefined;
    }
    const answer = statusOf(cause, newId);
    this.#measure(answer.code, metrics);
    const facts = { ...this.#facts(answer.code), reason: answer.reason };
    if (answer.faultId === undefined) log.info("call refused", facts);
    else log.error("call failed", { ...facts, fault_id: answer.faultId, err: cause });
    return answer;
  }

  succeeded(log: Log, metrics: Metrics): void {
    this.#measure(status.OK, metrics);
    log.debug("call done", this.#facts(status.OK));
  }

  #measure(code: status, metrics: Metrics): void {
    metrics.record(
      "rpc.server.call.duration",
      { "rpc.method": this.#path.slice(1), "rpc.response.status_code": status[code] },
      (performance.now() - this.#begin) / 1000,
    );
  }

  #facts(code: status): Record<string, unknown> {
    const { tenant, subject, traceparent } = this.#caller ?? {};
    const millis = Math.round(performance.now() - this.#begin);
    const traceId = traceparent?.split("-")[1];
    const trace = traceId === undefined ? {} : { trace_id: traceId };
    return { rpc: this.#path, status: status[code], millis, tenant, subject, ...trace };
  }
}
