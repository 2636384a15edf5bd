import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { CommandFailed } from "./command.ts";
import type { CommandOrder, CommandReport } from "./command-worker.ts";

const WORKER = join(import.meta.dirname, "command-worker.ts");

interface Waiting {
  readonly order: CommandOrder;
  readonly resolve: (stdout: string) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Runs host tools from a small process of its own. To start one, a process is copied with its page tables: for the server that
 * stops every other call for 5 to 7 ms each time, for a sandbox three times over (seen in a profile).
 */
export class CommandHost {
  #worker: ChildProcess | undefined;
  readonly #waiting = new Map<number, Waiting>();
  #count = 0;

  /** As `runCommand`, without input. */
  run(command: string, args: readonly string[]): Promise<string> {
    const worker = this.#worker ?? this.#start();
    const order = { id: this.#count++, command, args };
    return new Promise((resolve, reject) => {
      this.#waiting.set(order.id, { order, resolve, reject });
      worker.channel?.ref();
      worker.send(order, (error) => {
        if (error !== null) this.#settle(order.id, (waiting) => waiting.reject(lost(waiting.order, error)));
      });
    });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined) return;
    this.#worker = undefined;
    const ended = once(worker, "exit");
    worker.ref();
    worker.disconnect();
    await ended;
  }

  #start(): ChildProcess {
    // No arguments of ours: a profiler or a test runner must not begin in there.
    const worker = fork(WORKER, { execArgv: [], env: {}, serialization: "json" });
    this.#worker = worker;
    worker.unref();
    worker.on("message", (report: CommandReport) => this.#report(report));
    worker.once("error", (cause) => this.#lose(worker, cause));
    worker.once("exit", (code, signal) => this.#lose(worker, `its process ended with ${code ?? signal}`));
    return worker;
  }

  #report(report: CommandReport): void {
    this.#settle(report.id, ({ order, resolve, reject }) => {
      if ("stdout" in report) resolve(report.stdout);
      else reject(new CommandFailed(nameOf(order), report.exitCode, report.stderr, undefined));
    });
  }

  /** The next command starts another worker. */
  #lose(worker: ChildProcess, cause: unknown): void {
    if (this.#worker === worker) this.#worker = undefined;
    for (const id of [...this.#waiting.keys()])
      this.#settle(id, (waiting) => waiting.reject(lost(waiting.order, cause)));
  }

  #settle(id: number, settle: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    // An idle worker must not keep a process alive that has nothing else to do.
    if (this.#waiting.size === 0) this.#worker?.channel?.unref();
    settle(waiting);
  }
}

function nameOf({ command, args }: CommandOrder): string {
  return `${command} ${args.join(" ")}`;
}

function lost(order: CommandOrder, cause: unknown): CommandFailed {
  return new CommandFailed(nameOf(order), null, "", cause);
}
