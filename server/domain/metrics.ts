/** How a figure is made: counted as things happen, measured each time, or read when somebody asks. */
export type MetricKind = "counter" | "histogram" | "gauge" | "total";

export interface MetricDefinition {
  /** "gauge" and "total" are read when somebody asks; a total only grows. */
  readonly kind: MetricKind;
  /** As UCUM writes it: "s", "By"; what is merely counted stands in braces and is no part of a name. */
  readonly unit: "s" | "By" | "1" | `{${string}}`;
  /** Every label has few values: states, reasons, configured names; never an id and never a text of a user's. */
  readonly labels: readonly string[];
  readonly about: string;
  /** Upper bounds of a histogram's buckets. */
  readonly bounds?: readonly number[];
}

/** From a warm start to a training run of a day. */
const TASK_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 28_800,
] as const;
const CALL_SECONDS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const;

/** The parts of a host's capacity; they never overlap, but for the total. */
export const CAPACITY_PARTS = ["total", "reserve", "held", "foreign", "free"] as const;
export type CapacityPart = (typeof CAPACITY_PARTS)[number];

const OF_CAPACITY = ["engine", "part"] as const;

/** Every figure that the server tells of itself, by its name in OpenTelemetry. docs/metrics.md is made of it. */
export const METRICS = {
  "longshore.tasks.created": {
    kind: "counter",
    unit: "{task}",
    labels: [],
    about: "Tasks that were accepted",
  },
  "longshore.tasks.ended": {
    kind: "counter",
    unit: "{task}",
    labels: ["state", "reason"],
    about: "Tasks that ended, by final state and by what ended them",
  },
  "longshore.tasks.cached": {
    kind: "counter",
    unit: "{task}",
    labels: [],
    about: "Tasks that were answered from an equal earlier one and did not run",
  },
  "longshore.tasks.active": {
    kind: "gauge",
    unit: "{task}",
    labels: ["state"],
    about: "Tasks that have not ended, by state",
  },
  "longshore.task.duration": {
    kind: "histogram",
    unit: "s",
    labels: ["state"],
    about: "Time from creation to end, by final state",
    bounds: TASK_SECONDS,
  },
  "longshore.stage.duration": {
    kind: "histogram",
    unit: "s",
    labels: ["stage"],
    about: "Time of each stage of a task; stage queue is the wait for capacity",
    bounds: TASK_SECONDS,
  },
  "longshore.start.duration": {
    kind: "histogram",
    unit: "s",
    labels: ["engine", "pool"],
    about:
      "Time from asking for a sandbox until the task's code runs, by whether a warm one was there (hit or miss)",
    bounds: TASK_SECONDS,
  },
  "longshore.attempts.ended": {
    kind: "counter",
    unit: "{attempt}",
    labels: ["engine", "reason"],
    about: "Attempts that ended, those that were tried again among them, by what ended them",
  },
  "longshore.attempts.running": {
    kind: "gauge",
    unit: "{attempt}",
    labels: ["engine"],
    about: "Attempts that start or run and hold what they asked for",
  },
  "longshore.queue.depth": {
    kind: "gauge",
    unit: "{task}",
    labels: ["wait", "limit"],
    about: "Queued tasks, by what they wait for and, where capacity or a quota is short, of what",
  },
  "longshore.queue.oldest.age": {
    kind: "gauge",
    unit: "s",
    labels: [],
    about:
      "How long the longest waiting task has waited, but for what waits for other tasks; 0 when none waits",
  },
  "longshore.starts.paused": {
    kind: "gauge",
    unit: "{pause}",
    labels: [],
    about: "1 while nothing is started, because the server drains or its disk is nearly full; else 0",
  },
  "longshore.capacity.cpus": {
    kind: "gauge",
    unit: "{cpu}",
    labels: OF_CAPACITY,
    about: "CPUs of an engine: total, reserve, held by tasks, foreign (other containers), free",
  },
  "longshore.capacity.ram": {
    kind: "gauge",
    unit: "By",
    labels: OF_CAPACITY,
    about: "Memory of an engine, as its CPUs",
  },
  "longshore.capacity.storage": {
    kind: "gauge",
    unit: "By",
    labels: OF_CAPACITY,
    about: "Disk of an engine, as its CPUs",
  },
  "longshore.capacity.gpus": {
    kind: "gauge",
    unit: "{gpu}",
    labels: OF_CAPACITY,
    about: "Whole GPUs of an engine, as its CPUs",
  },
  "longshore.pool.idle.sandboxes": {
    kind: "gauge",
    unit: "{sandbox}",
    labels: ["engine"],
    about: "Warm sandboxes that wait for a task",
  },
  "longshore.engine.call.duration": {
    kind: "histogram",
    unit: "s",
    labels: ["engine", "call", "outcome"],
    about: "Time of each call to an engine; outcome is ok, error or aborted",
    bounds: CALL_SECONDS,
  },
  "longshore.log.written": {
    kind: "counter",
    unit: "By",
    labels: [],
    about: "Output of attempts that ended, both streams",
  },
  "longshore.upload.received": {
    kind: "counter",
    unit: "By",
    labels: [],
    about: "Bytes of uploads that came through the server; what was stored already is not sent",
  },
  "longshore.data.disk.free": {
    kind: "gauge",
    unit: "By",
    labels: [],
    about: "Free space of the data folder's disk",
  },
  "longshore.reconcile.problems": {
    kind: "gauge",
    unit: "{problem}",
    labels: [],
    about: "What the latest comparison of record and host could not do (longshore doctor --reconcile)",
  },
  "rpc.server.call.duration": {
    kind: "histogram",
    unit: "s",
    labels: ["rpc.method", "rpc.response.status_code"],
    about: "Time of each gRPC call to its status; a watch lasts as long as it is watched",
    bounds: CALL_SECONDS,
  },
  "longshore.delivery.tries": {
    kind: "counter",
    unit: "{try}",
    labels: ["outcome"],
    about:
      "Tries to tell a webhook or mail address of a task: delivered, retry (to be tried again), given_up",
  },
  "nodejs.eventloop.delay.p50": {
    kind: "gauge",
    unit: "s",
    labels: [],
    about: "Median lateness of the server's event loop over the latest seconds",
  },
  "nodejs.eventloop.delay.p99": {
    kind: "gauge",
    unit: "s",
    labels: [],
    about: "99th percentile of it",
  },
  "nodejs.eventloop.delay.max": {
    kind: "gauge",
    unit: "s",
    labels: [],
    about: "The worst of it",
  },
  "process.memory.usage": {
    kind: "gauge",
    unit: "By",
    labels: [],
    about: "Resident memory of the server",
  },
  "process.cpu.time": {
    kind: "total",
    unit: "s",
    labels: [],
    about: "CPU time of the server, user and system",
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

export type MetricName = keyof typeof METRICS;
type NameOf<K extends MetricKind> = {
  [N in MetricName]: (typeof METRICS)[N]["kind"] extends K ? N : never;
}[MetricName];
export type CounterName = NameOf<"counter">;
export type HistogramName = NameOf<"histogram">;
export type ObservedName = NameOf<"gauge" | "total">;

export type LabelsOf<N extends MetricName> = Readonly<Record<(typeof METRICS)[N]["labels"][number], string>>;
