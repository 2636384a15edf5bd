import { type Summary, summarize } from "./statistics.ts";

export interface Goal {
  readonly kind: "at most" | "at least";
  readonly value: number;
}

/** One line of the table. */
export interface Row {
  /** Letter of its case. */
  readonly group: string;
  readonly name: string;
  /** What is compared, or measured where there is nothing to compare with; null when it was not run. */
  readonly value: number | null;
  readonly unit: "x" | "MiB" | "KiB" | "ms";
  /** Over the rounds. */
  readonly lowest: number | null;
  readonly highest: number | null;
  readonly goal: Goal | null;
  readonly note: string;
  /** Absolute figures of this machine at this moment: in the JSON only. */
  readonly figures: Readonly<Record<string, Summary>>;
}

export const atMost = (value: number): Goal => ({ kind: "at most", value });
export const atLeast = (value: number): Goal => ({ kind: "at least", value });

export type Verdict = "met" | "MISSED" | "not run" | "";

export function verdictOf({ value, goal }: Row): Verdict {
  if (value === null) return "not run";
  if (goal === null) return "";
  const met = goal.kind === "at most" ? value <= goal.value : value >= goal.value;
  return met ? "met" : "MISSED";
}

interface Naming {
  readonly group: string;
  readonly name: string;
  readonly goal?: Goal;
  readonly note?: string;
}

/** Samples of both sides, one list per round. */
export interface Rounds {
  readonly ours: readonly (readonly number[])[];
  readonly theirs: readonly (readonly number[])[];
}

/** A statistic of ours divided by the same of theirs: of all samples together, and of each round for the spread. */
export function ratioRow(
  naming: Naming,
  rounds: Rounds,
  statistic: (values: readonly number[]) => number,
): Row {
  const perRound = rounds.ours.flatMap((ours, round) => {
    const theirs = rounds.theirs[round] ?? [];
    return ours.length > 0 && theirs.length > 0 ? [statistic(ours) / statistic(theirs)] : [];
  });
  const ours = rounds.ours.flat();
  const theirs = rounds.theirs.flat();
  if (ours.length === 0 || theirs.length === 0) return notRun(naming, naming.note ?? "no samples");
  return {
    group: naming.group,
    name: naming.name,
    value: statistic(ours) / statistic(theirs),
    unit: "x",
    lowest: Math.min(...perRound),
    highest: Math.max(...perRound),
    goal: naming.goal ?? null,
    note: naming.note ?? "",
    figures: { ours: summarize(ours), theirs: summarize(theirs) },
  };
}

/** A measured size or time that has no other side: the largest size, the 95th percentile of times. */
export function plainRow(naming: Naming, unit: "MiB" | "ms", values: readonly number[]): Row {
  const summary = summarize(values);
  return {
    group: naming.group,
    name: naming.name,
    value: unit === "MiB" ? summary.highest : summary.p95,
    unit,
    lowest: summary.lowest,
    highest: summary.highest,
    goal: naming.goal ?? null,
    note: naming.note ?? "",
    figures: { ours: summary },
  };
}

/** What one more costs: the slope of a line through what so many cost together, and the slopes between neighbours as its spread. */
export function slopeRow(
  naming: Naming,
  unit: "KiB",
  points: readonly { readonly count: number; readonly total: number }[],
): Row {
  const steps = points.slice(1).map(({ count, total }, place) => {
    const before = points[place];
    return before === undefined ? Number.NaN : (total - before.total) / (count - before.count);
  });
  const name = `${naming.name} (slope over ${points.map(({ count }) => count.toLocaleString("en")).join(", ")})`;
  return {
    group: naming.group,
    name,
    value: slopeOf(points),
    unit,
    lowest: Math.min(...steps),
    highest: Math.max(...steps),
    goal: naming.goal ?? null,
    note: naming.note ?? "",
    figures: {},
  };
}

/** By least squares. */
export function slopeOf(points: readonly { readonly count: number; readonly total: number }[]): number {
  const mean = (key: "count" | "total") => points.reduce((sum, each) => sum + each[key], 0) / points.length;
  const [x, y] = [mean("count"), mean("total")];
  const over = points.reduce((sum, { count, total }) => sum + (count - x) * (total - y), 0);
  return over / points.reduce((sum, { count }) => sum + (count - x) ** 2, 0);
}

export function notRun(naming: Naming, why: string): Row {
  return {
    group: naming.group,
    name: naming.name,
    value: null,
    unit: "x",
    lowest: null,
    highest: null,
    goal: naming.goal ?? null,
    note: why,
    figures: {},
  };
}
