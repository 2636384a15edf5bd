import type { Log } from "../domain/ports/telemetry.ts";
import type { Removal } from "../domain/reconcile-report.ts";

const KEPT = 100;

/** Remembers what was tidied up, for the report. */
export class Removals {
  readonly #log: Log;
  readonly #clock: () => Date;
  #latest: Removal[] = [];
  #count = 0;

  constructor({ log, clock }: { log: Log; clock: () => Date }) {
    this.#log = log;
    this.#clock = clock;
  }

  get count(): number {
    return this.#count;
  }

  /** Oldest first. */
  get latest(): readonly Removal[] {
    return this.#latest;
  }

  add(kind: Removal["kind"], name: string): void {
    this.#log.info("removed", { kind, name });
    this.#count++;
    this.#latest = [...this.#latest, { time: this.#clock(), kind, name }].slice(-KEPT);
  }
}
