import type { AuditLog } from "../domain/ports/access-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { DeniedCall } from "./access-api.ts";
import type { AuditEvents } from "./audit-event.ts";

/** For how long equal denials are counted into one event after the first. */
const WINDOW_MILLIS = 60_000;
/** Callers who are told apart at a time; an attacker with many addresses must fill neither memory nor disk. */
const MAX_KINDS = 1_000;

interface Repeats {
  readonly call: DeniedCall;
  /** Since the last event that was written of them. */
  count: number;
}

/**
 * Writes denied calls to the audit log: the first of a kind at once, those that repeat it within a minute as one event with their
 * number when the minute is over or the server stops.
 */
export class Denials {
  readonly #audit: AuditLog;
  readonly #events: AuditEvents;
  readonly #log: Log;
  readonly #kinds = new Map<string, Repeats>();
  /** What came when there were too many kinds. */
  #beyond = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(deps: { audit: AuditLog; events: AuditEvents; log: Log }) {
    this.#audit = deps.audit;
    this.#events = deps.events;
    this.#log = deps.log;
  }

  add(call: DeniedCall): void {
    const key = JSON.stringify([call.caller.credential, call.peer, call.path, call.detail]);
    const known = this.#kinds.get(key);
    if (known !== undefined) known.count += 1;
    else if (this.#kinds.size >= MAX_KINDS) this.#beyond += 1;
    else {
      this.#kinds.set(key, { call, count: 0 });
      this.#write(call, 1);
    }
    this.#timer ??= setTimeout(() => this.#endWindow(), WINDOW_MILLIS).unref();
  }

  /** Writes what was counted and waits for it. */
  async close(): Promise<void> {
    this.#endWindow();
    await this.#writing;
  }

  #endWindow(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const { call, count } of this.#kinds.values()) if (count > 0) this.#write(call, count);
    this.#kinds.clear();
    if (this.#beyond === 0) return;
    const nobody = { tenant: "", subject: "", credential: "" };
    const detail = `calls of more than ${MAX_KINDS} kinds in one minute`;
    this.#write({ caller: nobody, peer: "", path: "", detail }, this.#beyond);
    this.#beyond = 0;
  }

  #write({ caller, peer, path, detail }: DeniedCall, count: number): void {
    const event = this.#events.of({ ...caller, peer }, "call.denied", path, { detail, count });
    const written = this.#audit.append(event).catch((error: unknown) =>
      // The call is denied all the same; who cannot write here cannot write tasks either.
      this.#log.error("a denied call is missing in the audit log", { event, err: error }),
    );
    this.#writing = Promise.all([this.#writing, written]);
  }
}
