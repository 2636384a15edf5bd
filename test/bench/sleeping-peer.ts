import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { z } from "zod";
import type { ProcessCosts } from "./sleeping-server.ts";

const COSTS = z.object({ heapBytes: z.number(), residentBytes: z.number(), cpuMicros: z.number() });

/** A server of its own process whose tasks run for as long as nobody stops them. */
export class SleepingServer implements AsyncDisposable {
  readonly address: string;
  readonly #child: ChildProcess;

  static async start(): Promise<SleepingServer> {
    const execArgv = [
      ...(process.env.PROF ? ["--cpu-prof", "--cpu-prof-dir=/tmp/scale/prof"] : []),
      "--conditions=longshore-source",
      "--expose-gc",
    ];
    const child = fork(join(import.meta.dirname, "sleeping-server.ts"), { execArgv });
    const [address]: unknown[] = await Promise.race([once(child, "message"), once(child, "exit")]);
    if (typeof address !== "string") throw new Error(`the sleeping server ended with ${String(address)}`);
    return new SleepingServer(child, address);
  }

  private constructor(child: ChildProcess, address: string) {
    this.#child = child;
    this.address = address;
  }

  /** With `collect` after a collection of garbage, so that memory is what is held. */
  async costs({ collect = true } = {}): Promise<ProcessCosts> {
    const answer = once(this.#child, "message");
    this.#child.send({ collect });
    const [costs]: unknown[] = await answer;
    return COSTS.parse(costs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.disconnect();
    await once(this.#child, "exit");
  }
}
