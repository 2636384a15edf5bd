import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Longshore, type TaskOutcome } from "@longshore/client";
import type { RunningServer } from "../../support/running-server.ts";
import { indexSettings, whyNoIndex } from "../../support/uv.ts";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { dockerRun } from "../docker-run.ts";
import { atMost, notRun, type Row, ratioRow } from "../row.ts";
import { median, timed } from "../statistics.ts";
import { untilQuiet } from "../until-quiet.ts";

const IMAGE = "longshore/executor:dev";
const HELLO = "print('hi')";
const FIT_GOAL = { group: "h", name: "scikit-learn fit / docker run", goal: atMost(0.1) };
const HIT_GOAL = { group: "h", name: "start with an environment hit / without", goal: atMost(1.25) };

/** What is installed, and a program that says first whether it was imported before it began. */
interface Workload {
  readonly requirements: readonly string[];
  readonly preload: readonly string[];
  readonly code: string;
}

const FIT: Workload = {
  requirements: ["scikit-learn", "pandas"],
  preload: ["sklearn.ensemble", "pandas"],
  code: `
import sys
print("pandas" in sys.modules)
import numpy as np, pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
values = np.random.default_rng(0).normal(size=(2000, 8))
data = pd.DataFrame(values, columns=[f"x{i}" for i in range(8)])
model = HistGradientBoostingClassifier(max_iter=10).fit(data, values[:, 0] > 0)
print(model.score(data, values[:, 0] > 0))
`,
};
const SMALL: Workload = {
  requirements: ["six"],
  preload: ["six"],
  code: "import sys\nprint('six' in sys.modules)\nimport six\nprint(six.PY3)",
};

type Options = NonNullable<Parameters<Longshore["submit"]>[1]>;

async function run(client: Longshore, code: string, options: Options): Promise<[number, TaskOutcome]> {
  let outcome: TaskOutcome | undefined;
  const millis = await timed(async () => {
    outcome = await client.run({ code }, { ...options, reject: false });
  });
  if (outcome?.succeeded !== true)
    throw new Error(`the task ended as ${outcome?.reason}: ${outcome?.message}`);
  return [millis, outcome];
}

/** A start that met a ready interpreter: one that still imports is not what is measured. */
async function preloaded(client: Longshore, quiet: () => Promise<void>, work: Workload): Promise<number> {
  for (;;) {
    await quiet();
    const [millis, { record }] = await run(client, work.code, work);
    if (record.result?.stdoutTail.startsWith("True") === true) return millis;
    // Nothing tells from outside when an interpreter has imported what it was told to.
    await delay(1000);
  }
}

/** A start from the pool. */
async function warm(client: Longshore, quiet: () => Promise<void>, options: Options): Promise<number> {
  for (;;) {
    await quiet();
    const [millis, { record }] = await run(client, HELLO, options);
    if (record.attempts.at(-1)?.warm === true) return millis;
  }
}

/** Where the server keeps the one environment there is. */
async function packagesOf({ dataDirectory }: RunningServer): Promise<string> {
  const id = (await readdir(join(dataDirectory, "environments"))).find((name) => name.length === 64);
  if (id === undefined) throw new Error("the server keeps no environment");
  return join(dataDirectory, "environments", id, "content");
}

async function measure(context: BenchContext): Promise<Row[]> {
  const why = await whyNoIndex();
  if (why !== undefined) return [notRun(FIT_GOAL, why), notRun(HIT_GOAL, why)];
  const work = context.quick ? SMALL : FIT;
  await using server = await context.startServer(indexSettings());
  await using client = new Longshore(server.address);
  const quiet = () => untilQuiet(client, server);
  context.say(`    installing ${work.requirements.join(", ")}`);
  const { requirements } = work;
  await run(client, HELLO, { requirements });
  const packages = await packagesOf(server);
  const fit = { ours: [] as number[][], theirs: [] as number[][] };
  const start = { ours: [] as number[][], theirs: [] as number[][] };
  for (let round = 0; round < context.rounds; round++) {
    context.say(`    round ${round + 1} of ${context.rounds}`);
    for (const samples of [fit.ours, fit.theirs, start.ours, start.theirs]) samples.push([]);
    for (let sample = 0; sample < (context.quick ? 1 : 5); sample++) {
      fit.ours.at(-1)?.push(await preloaded(client, quiet, work));
      await quiet();
      fit.theirs.at(-1)?.push(await timed(() => dockerRun({ image: IMAGE, code: work.code, packages })));
      start.ours.at(-1)?.push(await warm(client, quiet, { requirements }));
      start.theirs.at(-1)?.push(await warm(client, quiet, {}));
    }
  }
  const note = context.quick ? "a small package" : "";
  return [ratioRow({ ...FIT_GOAL, note }, fit, median), ratioRow({ ...HIT_GOAL, note }, start, median)];
}

export const environments: BenchCase = {
  letter: "h",
  title: "a scikit-learn fit, environment preloaded, against docker run doing the same imports",
  run: measure,
};
