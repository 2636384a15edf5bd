import { parseArgs } from "node:util";
import { type FaultReport, type Round, runFaultRounds } from "./fault-rounds.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "100" },
    tasks: { type: "string", default: "20" },
    seed: { type: "string", default: String(Date.now() % 100_000) },
  },
});

function whole(name: "rounds" | "tasks" | "seed"): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  process.stderr.write(`error: --${name} ${values[name]} is not a whole number above 0\n`);
  process.exit(2);
}

const options = { rounds: whole("rounds"), tasks: whole("tasks"), seed: whole("seed"), millisPerLine: 150 };
process.stderr.write(`${options.rounds} rounds, ${options.tasks} tasks at a time, seed ${options.seed}\n`);
const report = await runFaultRounds({
  ...options,
  onRound: ({ number, point, reached, unfinished, adopted, queued, restartMillis }) =>
    process.stderr.write(
      `${number}/${options.rounds}  ${point}${reached ? "" : " (not reached)"}  unfinished ${unfinished}, adopted ${adopted}, queued ${queued}, back after ${Math.round(restartMillis)} ms\n`,
    ),
});
process.stdout.write(`${describe(report)}\n`);
process.exitCode = report.problems.length + report.leftovers.length + report.strangers === 0 ? 0 : 1;

function describe(report: FaultReport): string {
  const points = new Map<string, Round[]>();
  for (const round of report.rounds) points.set(round.point, [...(points.get(round.point) ?? []), round]);
  const sum = (rounds: readonly Round[], of: (round: Round) => number) =>
    rounds.reduce((total, round) => total + of(round), 0);
  const rows = [...points].map(([point, rounds]) => [
    point,
    `${rounds.filter(({ reached }) => reached).length}/${rounds.length}`,
    String(sum(rounds, ({ unfinished }) => unfinished)),
    String(sum(rounds, ({ adopted }) => adopted)),
    String(sum(rounds, ({ queued }) => queued)),
    String(sum(rounds, ({ released }) => released)),
    String(sum(rounds, ({ removed }) => removed)),
    String(Math.round(sum(rounds, ({ restartMillis }) => restartMillis) / rounds.length)),
  ]);
  const header = [
    "kill -9 at",
    "reached",
    "unfinished",
    "adopted",
    "queued",
    "to clean",
    "removed",
    "back ms",
  ];
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ");
  const count = (kind: string) =>
    new Set(report.problems.filter((p) => p.kind === kind).map((p) => p.task)).size;
  return [
    line(header),
    ...rows.map(line),
    "",
    `rounds ${report.rounds.length}, tasks ${report.tasks}, new attempts of tasks that had not begun ${report.freeAttempts}`,
    `tasks lost ${count("lost")}, run twice ${count("run twice")}, with lines missing ${count("missing")}, with lines repeated ${count("repeated")}, not asked for ${report.strangers}`,
    `leftovers ${report.leftovers.length}`,
    ...report.problems.map(({ task, kind, what }) => `  ${task} ${kind}: ${what}`),
    ...report.leftovers.map((left) => `  left: ${left}`),
  ].join("\n");
}
