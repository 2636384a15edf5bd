import { type Row, verdictOf } from "./row.ts";

const HEADINGS = ["", "what", "value", "spread", "goal", "", "note"] as const;

/** The rows as text, columns aligned. */
export function table(rows: readonly Row[]): string {
  const lines = [[...HEADINGS], ...rows.map(cells)];
  const widths = HEADINGS.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function cells(row: Row): string[] {
  const { value, lowest, highest, goal } = row;
  const unit = row.unit === "x" ? "" : ` ${row.unit}`;
  return [
    `(${row.group})`,
    row.name,
    value === null ? "-" : `${figure(value)}${unit}`,
    lowest === null || highest === null ? "" : `${figure(lowest)}..${figure(highest)}`,
    goal === null ? "" : `${goal.kind} ${goal.value}${unit}`,
    verdictOf(row),
    row.note,
  ];
}

function figure(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(3);
}
