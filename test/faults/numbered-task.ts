import { randomUUID } from "node:crypto";
import {
  durationToMillis,
  type Longshore,
  LongshoreError,
  type Source,
  type Task,
  type TaskEvent,
  type TaskRecord,
  type UsageEntry,
} from "@longshore/client";
import { untilAnswered } from "./until-answered.ts";

export const LINES = 60;
const NONCE = /^nonce ([0-9a-f]{32})$/;
const RUN_STAGE = "run";

/** A fresh nonce for each run, then numbered lines that take a while. */
export function numberedCode(millisPerLine: number): string {
  return [
    "import time, uuid",
    "print('nonce', uuid.uuid4().hex, flush=True)",
    `for n in range(${LINES}):`,
    "    print('line', n, flush=True)",
    `    time.sleep(${millisPerLine / 1000})`,
    "open('left.txt', 'w').write('done')",
  ].join("\n");
}

/** What a client saw of one task over all its connections. */
export class NumberedTask {
  readonly task: Task;
  readonly ended: Promise<void>;
  #output = "";
  #failure: unknown;
  #gaps = 0;

  constructor(task: Task, onEvent: (event: TaskEvent, task: NumberedTask) => void) {
    this.task = task;
    this.ended = this.#watch(onEvent).catch((error: unknown) => {
      this.#failure = error;
    });
  }

  /** Creates the task although its server may be killed meanwhile: the same request, until it is answered. */
  static async submit(
    client: Longshore,
    source: Source,
    options: { readonly outputs: readonly string[] },
    onEvent: (event: TaskEvent, task: NumberedTask) => void,
  ): Promise<NumberedTask> {
    const requestId = randomUUID();
    const task = await untilAnswered(() =>
      client.submit(source, {
        ...options,
        requestId,
        cpu: "0.05",
        ram: "64MB",
        storage: "16MB",
        timeout: "10m",
        maxAttempts: 1,
      }),
    );
    return new NumberedTask(task, onEvent);
  }

  get lines(): number {
    return this.#output.split("\n").length - 1;
  }

  /** Everything that is not as it must be; empty when the task ran once and its watcher saw each byte once. */
  async problems(): Promise<Problem[]> {
    if (this.#failure !== undefined)
      return [{ kind: "lost", what: `its watch failed: ${String(this.#failure)}` }];
    const record = await untilAnswered(() => this.task.get());
    return [...this.#outputProblems(record), ...recordProblems(record)];
  }

  async #watch(onEvent: (event: TaskEvent, task: NumberedTask) => void): Promise<void> {
    for (let seen = false; ; ) {
      try {
        for await (const event of this.task.watch({ reconnectForMillis: 600_000 })) {
          seen = true;
          if (event.kind === "log" && event.stream === "stdout")
            this.#output += Buffer.from(event.data).toString();
          if (event.kind === "gap") this.#gaps++;
          onEvent(event, this);
        }
        return;
      } catch (error) {
        // A watch that never had a connection gives up soon, as its user may have the wrong address; here the server comes back.
        if (seen || !(error instanceof LongshoreError) || error.code !== "UNAVAILABLE") throw error;
      }
    }
  }

  *#outputProblems(record: TaskRecord): Generator<Problem> {
    const lines = this.#output.split("\n").slice(0, -1);
    const nonces = lines.filter((line) => NONCE.test(line)).length;
    if (nonces > 1) yield { kind: "run twice", what: `${nonces} nonces` };
    if (nonces === 0) yield { kind: "lost", what: "no nonce" };
    const seen = new Map<string, number>();
    for (const line of lines) seen.set(line, (seen.get(line) ?? 0) + 1);
    for (let n = 0; n < LINES; n++) {
      const times = seen.get(`line ${n}`) ?? 0;
      if (times === 0) yield { kind: "missing", what: `line ${n}` };
      if (times > 1) yield { kind: "repeated", what: `line ${n}` };
    }
    if (this.#gaps > 0) yield { kind: "missing", what: `${this.#gaps} gaps` };
    const bytes = Buffer.byteLength(this.#output);
    if (Number(record.result?.stdoutBytes ?? -1n) !== bytes)
      yield { kind: "missing", what: `${record.result?.stdoutBytes} bytes in the record, ${bytes} seen` };
  }
}

function* recordProblems(record: TaskRecord): Generator<Problem> {
  const runs = record.stages.filter((stage) => STAGE_NAMES[stage.name] === RUN_STAGE).length;
  if (runs > 1) yield { kind: "run twice", what: `${runs} run stages` };
  if (record.result?.exitCode !== 0)
    yield { kind: "lost", what: record.result?.message ?? "it has no result" };
  for (const stage of record.stages)
    if (stage.endTime === undefined) yield { kind: "lost", what: `stage ${STAGE_NAMES[stage.name]} is open` };
}

/** As task.proto numbers them. */
const STAGE_NAMES: Readonly<Record<number, string>> = {
  1: "upload",
  2: "validate",
  3: "queue",
  4: "environment",
  5: "sandbox",
  6: "stage_in",
  7: "run",
  8: "collect",
  9: "cleanup",
};

/** Every attempt has one row of the ledger, which charges what the record says. */
export function* billingProblems(
  attempts: TaskRecord["attempts"],
  rows: readonly UsageEntry[],
): Generator<Problem> {
  for (const { number, usage } of attempts) {
    const own = rows.filter((row) => row.attempt === number);
    if (own.length === 0) yield { kind: "missing", what: `no row of the ledger for attempt ${number}` };
    if (own.length > 1)
      yield { kind: "repeated", what: `${own.length} rows of the ledger for attempt ${number}` };
    const [charged, recorded] = [own[0]?.usage?.chargedTime, usage?.chargedTime].map(durationToMillis);
    if (own.length === 1 && charged !== recorded)
      yield { kind: "missing", what: `${charged} ms in the ledger, ${recorded} ms in the record` };
  }
}

export interface Problem {
  readonly kind: "lost" | "run twice" | "missing" | "repeated";
  readonly what: string;
}
