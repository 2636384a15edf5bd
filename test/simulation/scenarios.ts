import type { ClusterSize } from "./cluster.ts";
import type { Plan } from "./simulate.ts";
import {
  type Arrival,
  EQUAL_TENANTS,
  MIXED,
  type Shape,
  type Share,
  THREE_PRIORITIES,
  taskOf,
  type Workload,
} from "./workload.ts";

export const AGING_MILLIS = 5 * 60_000;

export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly plans: readonly Plan[];
}

const ORDINARY: Workload = {
  shapes: MIXED,
  tenants: EQUAL_TENANTS,
  priorities: THREE_PRIORITIES,
  load: 0.95,
  minutes: 120,
};

const PLAN = {
  workload: ORDINARY,
  agingMillis: AGING_MILLIS,
  placement: "random",
  tickMillis: 1,
  seed: 1,
} as const satisfies Partial<Plan>;

/** One tenant of twenty asks for as much as all others together. */
const ONE_GREEDY: readonly Share<string>[] = EQUAL_TENANTS.map(({ value }, place) => ({
  value: place === 0 ? "greedy" : value,
  share: place === 0 ? 19 : 1,
}));

const SMALL_ONLY: readonly Shape[] = [{ name: "small", share: 1, cpus: 1, ramGib: 0.5, meanSeconds: 60 }];

function sized(name: string, cluster: ClusterSize, minutes: number, tickMillis = 1): Plan {
  return { ...PLAN, name, cluster, workload: { ...ORDINARY, minutes }, tickMillis };
}

const CPUS_OF_NODE = 64;

/** Everybody sent everything at once, and goes on sending as much as there is room for. */
function backlog(name: string, tasks: number, changes: Partial<Workload> = {}, gpus = 0): Plan {
  const workload = { ...ORDINARY, load: 1, minutes: 1, ...changes };
  // Two CPUs for each, as they come.
  const cpus = (tasks / 100_000) * 3000 * CPUS_OF_NODE;
  return { ...PLAN, name, cluster: { engines: 1, cpus, gpus }, workload, burst: 2 * tasks };
}

const TRAINING: Shape = { name: "training", share: 10, cpus: 4, ramGib: 16, gpus: 1, meanSeconds: 120 };

const MANY_TENANTS: readonly Share<string>[] = Array.from({ length: 1000 }, (_, place) => ({
  value: `tenant-${place}`,
  share: 1,
}));

function overload(name: string, agingMillis: number, minutes: number): Plan {
  const workload = {
    ...ORDINARY,
    shapes: SMALL_ONLY,
    tenants: ONE_GREEDY,
    priorities: [{ value: 0, share: 1 }],
    load: 1.5,
    minutes,
  };
  return { ...PLAN, name, agingMillis, workload, cluster: { engines: 1, cpus: 200 } };
}

/** A task of no priority among urgent ones that never cease. */
function alone(cpus: number): (place: number, now: number) => Arrival {
  // The small one is of the urgent ones' size, so that it is compared with them.
  const name = cpus === 1 ? "small" : "whole";
  const shape = { name, share: 1, cpus, ramGib: cpus / 2, meanSeconds: 60 };
  return (place, now) => ({
    shape,
    runMillis: 60_000,
    task: taskOf(place, now, shape, { tenant: "alone", priority: 0, expectedMillis: 60_000 }),
  });
}

export const LONE_PRIORITY = 10;
export const LONE_MINUTE = 10;

/** Tasks of priority 10 without end, and from minute 10 on one of priority 0, and one that takes the whole engine. */
export function starvation(load: number, minutes: number): Plan {
  const workload = {
    ...ORDINARY,
    shapes: SMALL_ONLY,
    priorities: [{ value: LONE_PRIORITY, share: 1 }],
    load,
    minutes,
  };
  return {
    ...PLAN,
    name: `load ${load}`,
    workload,
    cluster: { engines: 1, cpus: 64 },
    extra: [
      { minute: LONE_MINUTE, arrival: alone(1) },
      { minute: LONE_MINUTE, arrival: alone(64) },
    ],
  };
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "size",
    about: "One engine at 95 % load, of ten, a thousand, and a hundred thousand tasks at once",
    plans: [
      sized("10", { engines: 1, cpus: 64 }, 24 * 60),
      sized("1,000", { engines: 1, cpus: 5_000 }, 120),
      // Events of a tenth of a second are taken at once, as a busy event loop does.
      sized("100,000", { engines: 1, cpus: 520_000 }, 30, 100),
    ],
  },
  {
    name: "backlog",
    about:
      "Twice as many tasks at once as one engine holds, up to 100,000 running and 100,000 waiting on 3,000 nodes: what a pass takes",
    plans: [
      backlog("1,000", 1000),
      backlog("10,000", 10_000),
      backlog("100,000", 100_000),
      backlog("2,000 of 1,000 tenants", 2000, { tenants: MANY_TENANTS }),
      backlog("10,000, a tenth with a GPU", 10_000, { shapes: [...MIXED, TRAINING] }, 6000),
      backlog("1,000, no two alike", 1000, { unlike: true }),
      backlog("4,000, no two alike", 4000, { unlike: true }),
    ],
  },
  {
    name: "engines",
    about: "5,120 CPUs at 95 % load as one engine, and as several that tasks name",
    plans: [
      { ...sized("1 engine", { engines: 1, cpus: 5_120 }, 120) },
      { ...sized("8, any", { engines: 8, cpus: 640 }, 120) },
      { ...sized("8, freer of two", { engines: 8, cpus: 640 }, 120), placement: "freer of two" },
      { ...sized("64, any", { engines: 64, cpus: 80 }, 120) },
      { ...sized("64, freer of two", { engines: 64, cpus: 80 }, 120), placement: "freer of two" },
    ],
  },
  {
    name: "overload",
    about: "200 CPUs asked for half as much again as they are, one tenant of twenty asking for half of it",
    plans: [
      overload("ageing 5 min", AGING_MILLIS, 120),
      overload("ageing 1 h", 60 * 60_000, 120),
      overload("no ageing", 0, 120),
    ],
  },
  {
    name: "starvation",
    about:
      "64 CPUs full of priority 10; at minute 10 come a task of 1 CPU and one of all 64, both of priority 0",
    plans: [starvation(1, 180), starvation(1.2, 180), starvation(2, 180)],
  },
];
