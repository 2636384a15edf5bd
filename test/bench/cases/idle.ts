import { Longshore, type Task } from "@longshore/client";
import { EngineHosts } from "#server/application/engine-host.ts";
import { Scheduler } from "#server/application/scheduler.ts";
import { NO_RESOURCES } from "#server/domain/capacity.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";
import { FairShare } from "#server/domain/fair-share.ts";
import { CollectingLog } from "../../support/fakes/collecting-log.ts";
import { FakeEngine } from "../../support/fakes/fake-engine.ts";
import { sampleTask } from "../../support/sample-task.ts";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { occupy } from "../occupy.ts";
import { residentMebibytes } from "../process-memory.ts";
import { atMost, plainRow, type Row } from "../row.ts";
import { watchOn } from "../watch-on.ts";

const CONNECTIONS = 10;
const SUBMITTERS = 32;

/** So many tasks in the queue of a real server and so many watchers of them: its memory. */
async function memoryRow(context: BenchContext, queued: number, watchers: number): Promise<Row> {
  await using server = await context.startServer();
  await using stack = new AsyncDisposableStack();
  const clients = Array.from({ length: CONNECTIONS }, () => stack.use(new Longshore(server.address)));
  const [first] = clients;
  if (first === undefined) throw new Error("no client");
  await occupy(first);
  const tasks: Task[] = [];
  const submit = async (worker: number) => {
    while (tasks.length < queued - SUBMITTERS + 1)
      tasks.push(await (clients[worker % CONNECTIONS] ?? first).submit({ code: "print('hi')" }));
  };
  await Promise.all(Array.from({ length: SUBMITTERS }, (_, worker) => submit(worker)));
  const stop = new AbortController();
  stack.defer(() => stop.abort());
  for (let number = 0; number < watchers; number++) {
    const task = tasks[number % tasks.length];
    const client = clients[number % CONNECTIONS] ?? first;
    if (task !== undefined) await watchOn(client.task(task.id), stop.signal);
  }
  const name = `${queued} queued tasks and ${watchers} watchers, server's memory`;
  return plainRow({ group: "g", name, goal: atMost(512) }, "MiB", [await residentMebibytes(server.pid)]);
}

/** A pass over a full queue in which nothing fits, the scheduler alone: from the wake to what it tells at its end. */
async function passRow(
  context: BenchContext,
  queued: number,
  { shapes, tenants }: { shapes: number; tenants: number },
  what: string,
): Promise<Row> {
  const engine = new FakeEngine();
  const host = {
    engine,
    capabilities: await engine.capabilities(),
    ledger: new CapacityLedger(NO_RESOURCES, NO_RESOURCES),
  };
  const scheduler = new Scheduler({
    hosts: new EngineHosts([host]),
    fairShare: new FairShare(new Map(), () => new Date()),
    agingMillis: 300_000,
    launch: () => undefined,
    tell: () => undefined,
    log: new CollectingLog(),
    clock: () => new Date(),
  });
  for (let place = 0; place < queued; place++) {
    const task = sampleTask(place, { tenant: `tenant ${place % tenants}` });
    scheduler.enqueue({ ...task, limits: { ...task.limits, ramBytes: 2 ** 20 + (place % shapes) } });
  }
  const passes: number[] = [];
  for (let pass = 0; pass < (context.quick ? 3 : 50); pass++) {
    const done = Promise.withResolvers<void>();
    const deaf = scheduler.changes.listen(engine.name, done.resolve);
    const start = performance.now();
    scheduler.wake();
    await done.promise;
    passes.push(performance.now() - start);
    deaf();
  }
  const name = `scheduling pass over ${queued} tasks, ${what}`;
  return plainRow({ group: "g", name, goal: atMost(50) }, "ms", passes);
}

async function measure(context: BenchContext): Promise<Row[]> {
  const queued = context.quick ? 100 : 10_000;
  const watchers = context.quick ? 20 : 1000;
  return [
    await memoryRow(context, queued, watchers),
    await passRow(context, queued, { shapes: 1, tenants: 1 }, "all alike"),
    await passRow(context, queued, { shapes: queued, tenants: 1 }, "no two alike"),
    await passRow(context, queued, { shapes: queued, tenants: 100 }, "no two alike, of 100 tenants"),
  ];
}

export const idle: BenchCase = {
  letter: "g",
  title: "1,000 idle watchers and 10,000 queued tasks: memory, and a pass of the scheduler",
  run: measure,
};
