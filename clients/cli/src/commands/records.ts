import {
  durationToMillis,
  isTerminal,
  recordToJson,
  type StateName,
  stateName,
  type TaskRecord,
} from "@longshore/client";
import { type Command, Option } from "commander";
import type { Context } from "../context.ts";
import { formatMillis, formatTable, printable } from "../output/format.ts";
import { describeWait, describeWhat } from "../output/summary.ts";
import { UsageError } from "../usage-error.ts";
import { readLabels } from "./labels.ts";

const UNDER_WAY: readonly StateName[] = ["queued", "preparing", "running", "collecting", "cancelling"];
const WIDEST_CELL = 60;
const MOST_NAMED = 5;

interface PsFlags {
  readonly all?: boolean;
  readonly state: readonly string[];
  readonly label: readonly string[];
  readonly limit: string;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  ...value.split(","),
];

export function addPs(program: Command, context: Context): void {
  program
    .command("ps")
    .summary("list tasks")
    .description("Lists tasks, newest first: those under way, or with --all those that have ended too.")
    .option("-a, --all", "those that have ended too")
    .option("-s, --state <state>", "only in this state, such as failed (repeatable)", collect, [])
    .option("-l, --label <KEY=VALUE>", "only with this label (repeatable)", collect, [])
    .option("--limit <number>", "at most so many", "50")
    // The same as before the command; here it makes -aq two flags.
    .addOption(new Option("-q, --quiet").hideHelp())
    .action((flags: PsFlags) => listTasks(context, flags));
}

async function listTasks(context: Context, flags: PsFlags): Promise<void> {
  const { terminal } = context;
  const limit = Number(flags.limit);
  if (!Number.isInteger(limit) || limit < 1)
    throw new UsageError(`--limit "${flags.limit}" is not a number above 0`);
  const states = flags.state.length > 0 ? flags.state : flags.all === true ? [] : UNDER_WAY;
  const labels = readLabels(flags.label);
  const rows: string[][] = [["ID", "STATE", "AGE", "TIME", "WHAT", "WHY"]];
  let count = 0;
  const damaged: string[] = [];
  for await (const record of context.client.list({ states, labels, pageSize: Math.min(limit, 1000) })) {
    count += 1;
    if (record.damage !== "") damaged.push(record.id);
    if (context.json) await terminal.print(JSON.stringify(recordToJson(record)));
    else if (context.quiet) await terminal.print(record.id);
    else rows.push(rowOf(record));
    if (count === limit) break;
  }
  if (context.json || context.quiet) return;
  if (count === 0) {
    terminal.note(
      flags.all === true ? "no tasks" : "no tasks under way; longshore ps --all shows those that have ended",
    );
    return;
  }
  for (const line of formatTable(rows)) await terminal.print(line);
  if (damaged.length > 0) {
    const them = damaged.slice(0, MOST_NAMED).join(" ");
    terminal.note(
      `what cannot be read has to come back from a backup of the database, or be removed: longshore rm ${them}`,
    );
  }
}

function rowOf(record: TaskRecord): string[] {
  const age =
    record.createTime === undefined
      ? ""
      : formatMillis(Math.max(0, Date.now() - record.createTime.getTime()));
  const elapsed = durationToMillis(record.elapsed);
  return [
    record.id,
    record.damage === "" ? stateName(record.state) : "damaged",
    age,
    elapsed === 0 ? "" : formatMillis(elapsed),
    shorten(describeWhat(record)),
    shorten(whyOf(record)),
  ];
}

function whyOf(record: TaskRecord): string {
  if (record.damage !== "") return `cannot be read: ${record.damage}`;
  if (record.cachedFrom !== "") return `cached from ${record.cachedFrom}`;
  if (isTerminal(record)) return record.result?.message ?? "";
  return record.wait === undefined ? "" : describeWait(record.wait);
}

function shorten(text: string): string {
  const safe = printable(text);
  return safe.length <= WIDEST_CELL ? safe : `${safe.slice(0, WIDEST_CELL - 1)}…`;
}

export function addGet(program: Command, context: Context): void {
  program
    .command("get")
    .summary("print a task's record as JSON")
    .description("Prints the whole record of a task as JSON; with --json on one line.")
    .argument("<id>", "the task")
    .action(async (id: string) => {
      const record = recordToJson(await context.client.task(id).get());
      await context.terminal.print(JSON.stringify(record, undefined, context.json ? undefined : 2));
    });
}
