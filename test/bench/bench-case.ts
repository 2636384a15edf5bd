import type { RunningServer } from "../support/running-server.ts";
import type { Row } from "./row.ts";

/** What the command line asks for. */
export interface BenchContext {
  /** Only shows that everything runs: little work, one round, no telling figures. */
  readonly quick: boolean;
  readonly rounds: number;
  /** A server of its own for one case, on an empty data folder; the case disposes it. */
  startServer(env?: Record<string, string>): Promise<RunningServer>;
  /** What the case does now, for whoever waits. */
  say(line: string): void;
}

export interface BenchCase {
  readonly letter: string;
  readonly title: string;
  run(context: BenchContext): Promise<Row[]>;
}
