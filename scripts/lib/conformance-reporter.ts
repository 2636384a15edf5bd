/**
 * A node:test reporter that writes what the suites "Engine: NAME" found as a Markdown table: cases by engines, and below it why a
 * case was not tried. Exceptions are told by the engines themselves, so that the table never claims more than they promise.
 */
import type { TestEvent } from "node:test/reporters";

const SUITE = /^Engine: (.+)$/;

interface Findings {
  /** Case to engine to what is written there. */
  readonly cells: Map<string, Map<string, string>>;
  readonly engines: Set<string>;
  /** Engines that could not be tried at all, with the reason. */
  readonly missing: Map<string, string>;
  readonly notes: string[];
}

function take(event: TestEvent, current: Map<string, string>, found: Findings): void {
  if (event.type === "test:start" && event.data.nesting === 0) {
    current.set(event.data.file ?? "", SUITE.exec(event.data.name)?.[1] ?? "");
    return;
  }
  if (event.type !== "test:pass" && event.type !== "test:fail") return;
  const { name, nesting, file = "", skip } = event.data;
  const why = typeof skip === "string" ? skip : "";
  const engine = nesting === 0 ? (SUITE.exec(name)?.[1] ?? "") : (current.get(file) ?? "");
  if (engine === "") return;
  found.engines.add(engine);
  if (nesting === 0) {
    if (skip !== undefined) found.missing.set(engine, why);
    return;
  }
  if (nesting > 1) return;
  const row = found.cells.get(name) ?? new Map<string, string>();
  found.cells.set(name, row);
  row.set(
    engine,
    event.type === "test:fail" ? "**FAILED**" : skip === undefined ? "yes" : note(engine, why, found),
  );
}

function note(engine: string, why: string, { notes }: Findings): string {
  const text = `${engine}: ${why}`;
  const number = notes.includes(text) ? notes.indexOf(text) + 1 : notes.push(text);
  const level = /^(advisory|unsupported):/.exec(why)?.[1] ?? "not offered";
  return `${level} (${number})`;
}

function table({ cells, engines, missing, notes }: Findings): string {
  const columns = [...engines].filter((engine) => !missing.has(engine));
  const line = (parts: readonly string[]) => `| ${parts.join(" | ")} |`;
  const rows = [...cells].map(([name, row]) =>
    line([name, ...columns.map((engine) => row.get(engine) ?? "")]),
  );
  return [
    line(["case", ...columns]),
    line(["---", ...columns.map(() => "---")]),
    ...rows,
    ...(notes.length === 0 ? [] : [""]),
    ...notes.map((text, index) => `${index + 1}. ${text}`),
    ...(missing.size === 0 ? [] : [""]),
    ...[...missing].map(([engine, why]) => `Not tried here: ${engine} (${why})`),
    "",
  ].join("\n");
}

export default async function* conformanceReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const found: Findings = { cells: new Map(), engines: new Set(), missing: new Map(), notes: [] };
  const current = new Map<string, string>();
  for await (const event of events) take(event, current, found);
  yield table(found);
}
