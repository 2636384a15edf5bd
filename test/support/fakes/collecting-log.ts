import type { Log } from "#server/domain/ports/telemetry.ts";

/** Keeps what was logged, to be looked at. */
export class CollectingLog implements Log {
  readonly lines: string[] = [];

  debug(): void {
    // Nothing is asserted about what only a developer reads.
  }

  info(message: string, facts?: Readonly<Record<string, unknown>>): void {
    this.#keep(message, facts);
  }

  warn(message: string, facts?: Readonly<Record<string, unknown>>): void {
    this.#keep(message, facts);
  }

  error(message: string, facts?: Readonly<Record<string, unknown>>): void {
    this.#keep(message, facts);
  }

  #keep(message: string, facts: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push(`${message} ${JSON.stringify(facts)}`);
  }
}
