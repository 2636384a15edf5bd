import { recordToJson, stateName, type TaskRecord } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { EXIT_CODE_HELP, exitCodeOfError } from "../exit-codes.ts";
import { followTask } from "../follow.ts";
import { describeError } from "../output/errors.ts";
import { UsageError } from "../usage-error.ts";
import { readLabels } from "./labels.ts";
import { addResourceOptions, announce } from "./run.ts";
import { type RunFlags, resourceFlags } from "./run-options.ts";

const UNDER_WAY = ["queued", "preparing", "running", "collecting"];

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** Does the same to each task; one that cannot be done does not keep the others from it. */
async function forEachTask(
  context: Context,
  ids: Iterable<string>,
  act: (id: string) => Promise<void>,
): Promise<void> {
  for (const id of ids) {
    try {
      await act(id);
    } catch (error) {
      for (const line of describeError(error, context.server)) context.terminal.note(line);
      context.exitCode = exitCodeOfError(error);
    }
  }
}

export function addCancel(program: Command, context: Context): void {
  program
    .command("cancel")
    .summary("end tasks")
    .description(
      "Asks tasks to end: SIGTERM, and after the grace period SIGKILL. By id, or all under way that have a label.",
    )
    .argument("[ids...]", "the tasks")
    .option(
      "-l, --label <KEY=VALUE>",
      "every task under way with this label (repeatable: with all of them)",
      collect,
      [],
    )
    .option("--reason <text>", "for the record")
    .option("--grace <duration>", "between SIGTERM and SIGKILL (default of the server: 5s)")
    .action(async (ids: string[], flags: { label: readonly string[]; reason?: string; grace?: string }) => {
      if (ids.length === 0 && flags.label.length === 0)
        throw new UsageError("name tasks by id or by --label");
      const { client } = context;
      const wanted = new Set(ids);
      if (flags.label.length > 0) {
        const labels = readLabels(flags.label);
        for await (const { id } of client.list({ states: UNDER_WAY, labels, pageSize: 1000 })) wanted.add(id);
        if (wanted.size === 0) context.terminal.note("no task under way has this label");
      }
      await forEachTask(context, wanted, async (id) => {
        const record = await client.task(id).cancel({ reason: flags.reason, grace: flags.grace });
        await printChanged(context, record, stateName(record.state));
      });
    });
}

export function addRm(program: Command, context: Context): void {
  program
    .command("rm")
    .summary("remove tasks that have ended")
    .description("Removes the record, the output and the artifacts of tasks that have ended.")
    .argument("<ids...>", "the tasks")
    .action((ids: string[]) =>
      forEachTask(context, new Set(ids), async (id) => {
        await context.client.task(id).delete();
        const line = context.json
          ? JSON.stringify({ id, removed: true })
          : context.quiet
            ? id
            : `removed ${id}`;
        await context.terminal.print(line);
      }),
    );
}

export function addRerun(program: Command, context: Context): void {
  const command = program
    .command("rerun")
    .summary("run a task again, as a new one")
    .description(
      "Runs the same code with the same settings again, as a new task; what is given here replaces what it had.",
    )
    .argument("<id>", "the task to repeat");
  addResourceOptions(command);
  command
    .option("-d, --detach", "print the new task's id and leave it to itself")
    .addHelpText("after", EXIT_CODE_HELP)
    .action(async (id: string, flags: RunFlags) => {
      const task = await context.client.task(id).rerun(resourceFlags(flags));
      await announce(context, task, flags.detach === true);
      if (flags.detach !== true) context.exitCode = await followTask(context, task);
    });
}

async function printChanged(context: Context, record: TaskRecord, what: string): Promise<void> {
  const text = context.quiet ? record.id : `${what} ${record.id}`;
  await context.terminal.print(context.json ? JSON.stringify(recordToJson(record)) : text);
}
