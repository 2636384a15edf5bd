import type { Outcome } from "./simulate.ts";

/** Columns aligned, numbers to the right. */
function table(rows: readonly (readonly string[])[]): string {
  const [head] = rows;
  const widths = (head ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

const seconds = (value: number): string => {
  if (!Number.isFinite(value)) return "-";
  if (value >= 600) return `${(value / 60).toFixed(0)} min`;
  return `${value.toFixed(value < 10 ? 1 : 0)} s`;
};
const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;

function overall(outcomes: readonly Outcome[]): string {
  const head = ["", "tasks", "most at once", "most queued", "CPUs held", "passed by", "scheduler, per task"];
  const rows = outcomes.map((each) => [
    each.plan.name,
    each.tasks.toLocaleString("en"),
    each.mostRunning.toLocaleString("en"),
    each.mostQueued.toLocaleString("en"),
    percent(each.utilisation),
    seconds(each.passedBySeconds),
    `${each.schedulerMicrosPerTask.toFixed(0)} µs`,
  ]);
  return table([head, ...rows]);
}

/** What it takes to keep so many in order, on this machine. */
function passes(outcomes: readonly Outcome[]): string {
  const head = ["", "passes", "mean", "p99", "longest", "heap, per task"];
  const millis = (value: number) => `${value.toFixed(value < 1 ? 3 : 1)} ms`;
  const rows = outcomes.map(({ plan, passes: found, heapBytesPerTask }) => [
    plan.name,
    found.count.toLocaleString("en"),
    ...[found.meanMillis, found.p99Millis, found.mostMillis].map(millis),
    `${(heapBytesPerTask / 1024).toFixed(1)} KiB`,
  ]);
  return table([head, ...rows]);
}

function waits(outcomes: readonly Outcome[]): string {
  const head = ["", "wait of", "tasks", "median", "p95", "p99", "longest"];
  const rows = outcomes.flatMap(({ plan, waits: all }) =>
    all
      .toSorted((a, b) => a.name.localeCompare(b.name))
      .map((each) => [
        plan.name,
        each.name,
        each.count.toLocaleString("en"),
        ...[each.medianSeconds, each.p95Seconds, each.p99Seconds, each.mostSeconds].map(seconds),
      ]),
  );
  return table([head, ...rows]);
}

function fairness(outcomes: readonly Outcome[]): string {
  const head = ["", "Jain's index", "least of its due", "most", "greedy asked", "greedy held"];
  const rows = outcomes.map(({ plan, fairness: found, shares }) => {
    const all = (key: "asked" | "held") => shares.reduce((sum, each) => sum + each[key], 0);
    const greedy = shares.find(({ tenant }) => tenant === "greedy");
    return [
      plan.name,
      found.index.toFixed(3),
      percent(found.least),
      percent(found.most),
      greedy === undefined ? "-" : percent(greedy.asked / all("asked")),
      greedy === undefined ? "-" : percent(greedy.held / all("held")),
    ];
  });
  return table([head, ...rows]);
}

function extras(outcomes: readonly Outcome[]): string {
  const head = ["", "1 CPU of priority 0 waited", "64 CPUs of priority 0 waited"];
  return table([
    head,
    ...outcomes.map(({ plan, extraWaitSeconds }) => [plan.name, ...extraWaitSeconds.map(seconds)]),
  ]);
}

/** What a scenario's runs have shown, as text. */
export function report(scenario: string, outcomes: readonly Outcome[]): string {
  const parts = [overall(outcomes)];
  if (scenario === "overload") parts.push(fairness(outcomes));
  if (scenario === "backlog") return [...parts, passes(outcomes)].join("\n\n");
  if (scenario === "starvation") parts.push(extras(outcomes));
  else parts.push(waits(outcomes));
  return parts.join("\n\n");
}
