import { explain, type FailedBuild } from "./build-environment.ts";

/** The same requirements would fail in the same way, but an index learns of new packages all the time. */
const KEPT_MILLIS = 30_000;

/** What failed lately by fault of its requirements, so that many equal tasks do not ask the index one after the other. */
export class FailedBuilds {
  readonly #clock: () => Date;
  readonly #kept = new Map<string, { readonly failed: FailedBuild; readonly until: number }>();

  constructor(clock: () => Date) {
    this.#clock = clock;
  }

  find(id: string): FailedBuild | undefined {
    this.#forgetOld();
    return this.#kept.get(id)?.failed;
  }

  remember(id: string, failed: FailedBuild): void {
    this.#forgetOld();
    const { passing } = explain(failed, [], "");
    if (!passing) this.#kept.set(id, { failed, until: this.#clock().getTime() + KEPT_MILLIS });
  }

  #forgetOld(): void {
    const now = this.#clock().getTime();
    for (const [id, { until }] of this.#kept) if (until <= now) this.#kept.delete(id);
  }
}
