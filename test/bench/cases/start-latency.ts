import { Longshore, type TaskOutcome } from "@longshore/client";
import { Isolation } from "@longshore/proto/longshore/v1/task.ts";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { type DockerRun, dockerRun } from "../docker-run.ts";
import { atMost, type Row, ratioRow } from "../row.ts";
import { median, quantile, timed } from "../statistics.ts";
import { untilQuiet } from "../until-quiet.ts";

const CODE = "print('hi')";
const IMAGE = "longshore/executor:dev";
const AT_ONCE = 20;

type Options = Parameters<Longshore["submit"]>[1];

/** Submits and waits for the terminal event of its watch. */
async function run(client: Longshore, options: Options): Promise<{ millis: number; warm: boolean }> {
  let outcome: TaskOutcome | undefined;
  const millis = await timed(async () => {
    outcome = await client.run({ code: CODE }, { ...options, reject: false });
  });
  if (outcome?.succeeded !== true)
    throw new Error(`the task ended as ${outcome?.reason}: ${outcome?.message}`);
  return { millis, warm: outcome.record.attempts.at(-1)?.warm === true };
}

/** Samples of one kind of start, by round. */
class Samples {
  readonly rounds: number[][] = [];
  #hits = 0;
  #all = 0;

  begin(): void {
    this.rounds.push([]);
  }

  add(millis: number, warm?: boolean): void {
    this.rounds.at(-1)?.push(millis);
    this.#all++;
    if (warm === true) this.#hits++;
  }

  get hits(): string {
    return `${this.#hits} of ${this.#all} warm`;
  }
}

async function together(count: number, start: (index: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, index) => start(index)));
}

const KINDS = [
  "docker",
  "runsc",
  "warm",
  "changed",
  "cold",
  "gvisor",
  "docker20",
  "warm20",
  "cold20",
] as const;
type Kind = (typeof KINDS)[number];
type AllSamples = Readonly<Record<Kind, Samples>>;

/** Every kind once after the other: what the pool makes anew is made while the next kind is measured. */
class Starts {
  readonly samples: AllSamples;
  readonly #withPool: Longshore;
  readonly #withoutPool: Longshore;
  readonly #clients: readonly Longshore[];
  readonly #atOnce: number;
  readonly #gvisor: boolean;
  readonly #quiet: () => Promise<void>;
  #shapes = 0;

  constructor(clients: {
    withPool: Longshore;
    withoutPool: Longshore;
    many: readonly Longshore[];
    gvisor: boolean;
    quiet: () => Promise<void>;
  }) {
    this.#withPool = clients.withPool;
    this.#withoutPool = clients.withoutPool;
    this.#clients = clients.many;
    this.#atOnce = clients.many.length;
    this.#gvisor = clients.gvisor;
    this.#quiet = clients.quiet;
    this.samples = Object.fromEntries(KINDS.map((kind) => [kind, new Samples()])) as AllSamples;
  }

  begin(): void {
    for (const samples of Object.values(this.samples)) samples.begin();
  }

  async oneByOne(): Promise<void> {
    const { samples } = this;
    await this.#docker(samples.docker, {});
    await this.#ours(samples.warm, this.#withPool, {});
    // No two the same, so that none is in the pool.
    await this.#ours(samples.changed, this.#withPool, { ram: `${513 + this.#shapes++}MB` });
    await this.#ours(samples.cold, this.#withoutPool, {});
    if (!this.#gvisor) return;
    await this.#docker(samples.runsc, { runtime: "runsc" });
    await this.#ours(samples.gvisor, this.#withPool, { isolation: "gvisor" });
  }

  async manyAtOnce(): Promise<void> {
    const { samples } = this;
    await together(this.#atOnce, () => this.#docker(samples.docker20, {}));
    await together(this.#atOnce, (index) =>
      this.#add(samples.warm20, this.#clients[index] ?? this.#withPool, {}),
    );
    await this.#quiet();
    await together(this.#atOnce, () => this.#add(samples.cold20, this.#withoutPool, {}));
    await this.#quiet();
  }

  /** First use of everything: images examined, connections made, the pool told what is asked for. */
  async warmUp(): Promise<void> {
    await run(this.#withPool, {});
    await run(this.#withoutPool, {});
    if (this.#gvisor) await run(this.#withPool, { isolation: "gvisor" });
    await together(this.#atOnce, async (index) => {
      await run(this.#clients[index] ?? this.#withPool, {});
    });
    await this.#quiet();
  }

  async #ours(samples: Samples, client: Longshore, options: Options): Promise<void> {
    await this.#add(samples, client, options);
    await this.#quiet();
  }

  async #add(samples: Samples, client: Longshore, options: Options): Promise<void> {
    const { millis, warm } = await run(client, options);
    samples.add(millis, warm);
  }

  async #docker(samples: Samples, changes: Partial<DockerRun>): Promise<void> {
    samples.add(await timed(() => dockerRun({ image: IMAGE, code: CODE, ...changes })));
  }
}

function rowsOf(samples: AllSamples, gvisor: boolean): Row[] {
  const p95 = (values: readonly number[]) => quantile(values, 0.95);
  const against = (ours: Kind, theirs: Kind) => ({
    ours: samples[ours].rounds,
    theirs: samples[theirs].rounds,
  });
  const row = (name: string, ours: Kind, theirs: Kind, goal?: number, statistic = median): Row =>
    ratioRow(
      { group: "a", name, note: samples[ours].hits, ...(goal === undefined ? {} : { goal: atMost(goal) }) },
      against(ours, theirs),
      statistic,
    );
  return [
    row("warm, p50 / docker run", "warm", "docker", 0.06),
    row("warm, p95 / docker run", "warm", "docker", undefined, p95),
    row("20 clients, p50 / 20 docker run", "warm20", "docker20"),
    row("20 clients, p95 / 20 docker run", "warm20", "docker20", 0.5, p95),
    row("changed shape, p50 / docker run", "changed", "docker"),
    row("cold, p50 / docker run", "cold", "docker", 1.1),
    row("cold, 20 at once, p95 / docker run", "cold20", "docker20", undefined, p95),
    ...(gvisor
      ? [
          row("gVisor warm, p50 / docker run", "gvisor", "docker", 0.25),
          row("gVisor warm, p50 / runsc docker run", "gvisor", "runsc"),
        ]
      : []),
  ];
}

async function offersGvisor(client: Longshore): Promise<boolean> {
  const { engines } = await client.capabilities();
  return engines.some(({ tiers }) => tiers.some(({ isolation }) => isolation === Isolation.GVISOR));
}

async function measure(context: BenchContext): Promise<Row[]> {
  await using withPool = await context.startServer();
  await using withoutPool = await context.startServer({ LONGSHORE_WARM_COUNT: "0" });
  await using stack = new AsyncDisposableStack();
  const client = stack.use(new Longshore(withPool.address));
  const gvisor = await offersGvisor(client);
  const bare = stack.use(new Longshore(withoutPool.address));
  const starts = new Starts({
    withPool: client,
    withoutPool: bare,
    many: Array.from({ length: context.quick ? 3 : AT_ONCE }, () =>
      stack.use(new Longshore(withPool.address)),
    ),
    gvisor,
    quiet: async () => {
      await untilQuiet(client, withPool);
      await untilQuiet(bare, withoutPool);
    },
  });
  await starts.warmUp();
  for (let round = 0; round < context.rounds; round++) {
    context.say(`    round ${round + 1} of ${context.rounds}`);
    starts.begin();
    for (let sample = 0; sample < (context.quick ? 1 : 10); sample++) await starts.oneByOne();
    await starts.manyAtOnce();
  }
  return rowsOf(starts.samples, gvisor);
}

export const startLatency: BenchCase = {
  letter: "a",
  title: "submit to terminal event, against docker run --rm with the same limits",
  run: measure,
};
