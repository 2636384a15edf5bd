import { Longshore } from "@longshore/client";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { dockerRun } from "../docker-run.ts";
import { atLeast, type Row, ratioRow } from "../row.ts";
import { median, timed } from "../statistics.ts";

const IMAGE = "longshore/executor:dev";
const CODE = "print('hi')";
const CLIENTS = 20;
/** Where more in parallel stops helping `docker run` lies between these on any small machine. */
const PARALLEL_DOCKER_RUNS = [1, 2, 4, 8] as const;

/** Work items per millisecond, so many at a time. */
async function rate(
  count: number,
  parallel: number,
  work: (worker: number) => Promise<unknown>,
): Promise<number> {
  let left = count;
  const loop = async (worker: number) => {
    while (left-- > 0) await work(worker);
  };
  const loops = Array.from({ length: parallel }, (_, worker) => loop(worker));
  return count / (await timed(() => Promise.all(loops)));
}

async function measure(context: BenchContext): Promise<Row[]> {
  const count = context.quick ? 4 : 60;
  const rounds = Math.min(context.rounds, 3);
  await using server = await context.startServer();
  await using stack = new AsyncDisposableStack();
  const clients = Array.from({ length: CLIENTS }, () => stack.use(new Longshore(server.address)));
  const runOurs = async (worker: number) => {
    const outcome = await clients[worker]?.run({ code: CODE }, { reject: false });
    if (outcome?.succeeded !== true) throw new Error(`a task ended as ${outcome?.reason}`);
  };
  await rate(context.quick ? 1 : CLIENTS, CLIENTS, runOurs);
  const ours: number[][] = [];
  const best: number[][] = [];
  for (let round = 0; round < rounds; round++) {
    context.say(`    round ${round + 1} of ${rounds}`);
    ours.push([await rate(count, CLIENTS, runOurs)]);
    const rates: number[] = [];
    for (const parallel of context.quick ? [2] : PARALLEL_DOCKER_RUNS)
      rates.push(await rate(count, parallel, () => dockerRun({ image: IMAGE, code: CODE })));
    best.push([Math.max(...rates)]);
  }
  const name = "fresh-sandbox tasks/s, 20 clients / best parallel docker run";
  return [ratioRow({ group: "e", name, goal: atLeast(1.5) }, { ours, theirs: best }, median)];
}

export const sustained: BenchCase = {
  letter: "e",
  title: "tasks per second, each in a fresh sandbox, against the best parallel docker run loop",
  run: measure,
};
