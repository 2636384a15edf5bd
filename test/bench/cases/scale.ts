import { setTimeout as delay } from "node:timers/promises";
import { Longshore, type Task } from "@longshore/client";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { occupy } from "../occupy.ts";
import { type Row, slopeOf, slopeRow } from "../row.ts";
import { SleepingServer } from "../sleeping-peer.ts";
import { watchOn } from "../watch-on.ts";

/** Clients of one process share a connection, and the server lets a thousand calls be open on each. */
const MOST_CALLS = 980;
const SUBMITTERS = 16;
/** What a change leaves to do is done in less. */
const SETTLE_MILLIS = 2000;
const KIBIBYTE = 1024;

interface Point {
  readonly count: number;
  readonly heapKib: number;
  readonly residentKib: number;
  /** Of one core, while nobody asks for anything. */
  readonly idleCpuMicrosPerSecond: number;
}

/** A server whose tasks sleep, and what it costs with ever more of something. */
class Field implements AsyncDisposable {
  readonly tasks: Task[] = [];
  readonly client: Longshore;
  readonly #server: SleepingServer;
  readonly #stack: AsyncDisposableStack;
  readonly #stop = new AbortController();
  #watches = 0;

  static async open(): Promise<Field> {
    await using stack = new AsyncDisposableStack();
    const server = stack.use(await SleepingServer.start());
    const client = stack.use(new Longshore(server.address));
    return new Field(server, client, stack.move());
  }

  private constructor(server: SleepingServer, client: Longshore, stack: AsyncDisposableStack) {
    this.#server = server;
    this.client = client;
    this.#stack = stack;
  }

  async submitUpTo(count: number): Promise<void> {
    let left = count - this.tasks.length;
    const submit = async () => {
      while (left-- > 0)
        this.tasks.push(
          await this.client.submit({ code: "import time; time.sleep(36000)" }, { timeout: "10h" }),
        );
    };
    await Promise.all(Array.from({ length: SUBMITTERS }, submit));
  }

  async untilRunning(count: number): Promise<void> {
    const stop = new AbortController();
    for await (const { running } of this.client.watchCapacity({ signal: stop.signal }))
      if (running === count) break;
  }

  async watchUpTo(count: number): Promise<void> {
    for (; this.#watches < count; this.#watches++) {
      const task = this.tasks[this.#watches % this.tasks.length];
      if (task === undefined) throw new Error("there is no task to watch");
      await watchOn(this.client.task(task.id), this.#stop.signal);
    }
  }

  async measure(count: number, seconds: number): Promise<Point> {
    await delay(SETTLE_MILLIS);
    const before = await this.#server.costs();
    const start = performance.now();
    await delay(seconds * 1000);
    const passed = (performance.now() - start) / 1000;
    const after = await this.#server.costs({ collect: false });
    return {
      count,
      heapKib: before.heapBytes / KIBIBYTE,
      residentKib: before.residentBytes / KIBIBYTE,
      idleCpuMicrosPerSecond: (after.cpuMicros - before.cpuMicros) / passed,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#stack[Symbol.asyncDispose]();
  }
}

function rowOf(name: string, points: readonly Point[]): Row {
  const slope = (key: "residentKib" | "idleCpuMicrosPerSecond") =>
    slopeOf(points.map((point) => ({ count: point.count, total: point[key] })));
  const note = `resident ${slope("residentKib").toFixed(1)} KiB, idle CPU ${slope("idleCpuMicrosPerSecond").toFixed(1)} µs a second`;
  return slopeRow(
    { group: "k", name: `each ${name}: heap`, note },
    "KiB",
    points.map(({ count, heapKib }) => ({ count, total: heapKib })),
  );
}

async function grow(
  context: BenchContext,
  counts: readonly number[],
  field: Field,
  to: (count: number) => Promise<void>,
): Promise<Point[]> {
  const points: Point[] = [];
  for (const count of counts) {
    await to(count);
    const point = await field.measure(count, context.quick ? 0.5 : 10);
    const { heapKib, residentKib, idleCpuMicrosPerSecond } = point;
    context.say(
      `    ${count}: heap ${(heapKib / 1024).toFixed(1)} MiB, resident ${(residentKib / 1024).toFixed(0)} MiB, idle CPU ${(idleCpuMicrosPerSecond / 1000).toFixed(1)} ms a second`,
    );
    points.push(point);
  }
  return points;
}

async function measure(context: BenchContext): Promise<Row[]> {
  const tasks = context.quick ? [10, 20, 40] : [1000, 4000, 10_000];
  const watches = context.quick ? [10, 20, 40] : [200, 500, MOST_CALLS];
  const rows: Row[] = [];
  {
    await using field = await Field.open();
    await occupy(field.client);
    context.say("    queued tasks");
    rows.push(rowOf("queued task", await grow(context, tasks, field, (count) => field.submitUpTo(count))));
    context.say("    watchers of queued tasks");
    rows.push(rowOf("watcher", await grow(context, watches, field, (count) => field.watchUpTo(count))));
  }
  await using field = await Field.open();
  context.say("    running tasks");
  const running = async (count: number) => {
    await field.submitUpTo(count);
    await field.untilRunning(count);
  };
  rows.push(rowOf("running task", await grow(context, tasks, field, running)));
  context.say("    open log streams");
  rows.push(rowOf("open log stream", await grow(context, watches, field, (count) => field.watchUpTo(count))));
  return rows;
}

export const scale: BenchCase = {
  letter: "k",
  title: "what one more costs the server: a queued task, a running one, a watcher, an open log stream",
  run: measure,
};
