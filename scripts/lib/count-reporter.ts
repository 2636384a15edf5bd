/**
 * A node:test reporter that writes what the last lines of scripts/test say: tests that were skipped, with their reasons, and
 * the counts. The spec reporter lists failures after its counts, and buries skipped tests among the passed.
 */
import { relative } from "node:path";
import type { TestEvent } from "node:test/reporters";

type Summary = Extract<TestEvent, { type: "test:summary" }>["data"];

function countsLine({ counts, duration_ms }: Summary): string {
  const failed = counts.tests - counts.passed - counts.skipped - counts.todo;
  const seconds = (duration_ms / 1000).toFixed(0);
  return `${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped, in ${seconds} s`;
}

export default async function* countReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    if (event.type === "test:pass" && event.data.skip !== undefined) {
      const { name, file, skip } = event.data;
      const reason = typeof skip === "string" ? skip : "no reason given";
      yield `skipped  ${file === undefined ? "" : relative(process.cwd(), file)}  ${name}: ${reason}\n`;
    }
    // One summary per file has its path; the one without is the whole run's.
    if (event.type === "test:summary" && event.data.file === undefined) yield `${countsLine(event.data)}\n`;
  }
}
