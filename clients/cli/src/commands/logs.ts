import type { LogEvent, Task, TaskEvent } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { TaskView } from "../task-view.ts";
import { UsageError } from "../usage-error.ts";

const FIRST_TAIL_BYTES = 64 * 1024;
const NEWLINE = 10;

interface LogsFlags {
  readonly follow?: boolean;
  readonly tail?: string;
}

export function addLogs(program: Command, context: Context): void {
  program
    .command("logs")
    .summary("show a task's output")
    .description(
      "Shows what a task has written so far: its standard output on ours, its standard error on ours.",
    )
    .argument("<id>", "the task")
    .option("-f, --follow", "go on until the task ends")
    .option("-n, --tail <lines>", "only the last so many lines")
    .action(async (id: string, flags: LogsFlags) => {
      context.exitCode = await showLogs(context, context.client.task(id), flags);
    });
}

async function showLogs(context: Context, task: Task, flags: LogsFlags): Promise<number> {
  const lines = readTail(flags.tail);
  const follow = flags.follow === true;
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  context.process.once("SIGINT", interrupt);
  const view = new TaskView(context.terminal, { json: context.json, quiet: true });
  try {
    let cursor: string | undefined;
    if (lines !== undefined) {
      const tail = await readLastLines(task, lines, stop.signal);
      for (const event of tail.events) await view.show(event);
      if (!follow) return EXIT.ok;
      cursor = tail.cursor;
    }
    const signal = stop.signal;
    for await (const event of task.watch({ signal, follow, cursor })) {
      if (event.kind === "log" || event.kind === "gap") await view.show(event);
    }
    return EXIT.ok;
  } catch (error) {
    if (stop.signal.aborted) return EXIT.interrupted;
    throw error;
  } finally {
    context.process.off("SIGINT", interrupt);
  }
}

function readTail(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--tail "${text}" is not a number of lines`);
  return Number(text);
}

/** The server counts bytes, people count lines: asks for more until there are enough. */
async function readLastLines(
  task: Task,
  lines: number,
  signal: AbortSignal,
): Promise<{ events: TaskEvent[]; cursor: string | undefined }> {
  for (let tailBytes = FIRST_TAIL_BYTES; ; tailBytes *= 8) {
    const events: LogEvent[] = [];
    const begun = new Set<string>();
    let cursor: string | undefined;
    let whole = true;
    for await (const event of task.watch({ signal, follow: false, tailBytes })) {
      if (event.cursor !== "") cursor = event.cursor;
      if (event.kind !== "log") continue;
      const stream = `${event.attempt}/${event.stream}`;
      if (!begun.has(stream) && event.offset > 0) whole = false;
      begun.add(stream);
      events.push(event);
    }
    const cut = cutToLines(events, lines);
    if (cut !== undefined || whole) return { events: cut ?? events, cursor };
  }
}

/** The events from the last so many lines on; undefined when there are fewer. An unfinished last line counts as one. */
function cutToLines(events: readonly LogEvent[], lines: number): LogEvent[] | undefined {
  if (lines === 0) return [];
  let left = lines;
  let last = true;
  for (let index = events.length - 1; index >= 0; index -= 1) {
    const event = events[index];
    if (event === undefined) continue;
    for (let at = event.data.length - 1; at >= 0; at -= 1) {
      const ends = event.data[at] === NEWLINE;
      if (last && !ends) left -= 1;
      last = false;
      if (!ends) continue;
      if (left <= 0) return [{ ...event, data: event.data.subarray(at + 1) }, ...events.slice(index + 1)];
      left -= 1;
    }
  }
  return undefined;
}
