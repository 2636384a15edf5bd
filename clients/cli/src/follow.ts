import { outcomeOf, type Task, type TaskOutcome, type TaskRecord } from "@longshore/client";
import type { Context } from "./context.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { Interrupts } from "./interrupts.ts";
import { formatBytes, printable } from "./output/format.ts";
import { continuation, statusLine } from "./output/status-line.ts";
import { describeEnd } from "./output/summary.ts";
import { OutputClosed } from "./output/terminal.ts";
import { TaskView } from "./task-view.ts";

const MOST_ARTIFACT_LINES = 10;

/** Why we stopped looking while the task goes on. */
class Detached extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super("detached");
    this.exitCode = exitCode;
  }
}

/** Watches a task to its end, or until the person who watches has seen enough; answers the exit code. */
export async function followTask(context: Context, task: Task): Promise<number> {
  const { terminal } = context;
  const view = new TaskView(terminal, context);
  const stop = new AbortController();
  using interrupts = new Interrupts(context.process, terminal, (choice, signal) => {
    if (choice === "detach")
      stop.abort(new Detached(signal === "SIGTERM" ? EXIT.terminated : EXIT.interrupted));
    if (choice === "cancel") {
      task.cancel({ reason: "Ctrl-C" }).catch((error: unknown) => stop.abort(error));
    }
  });
  try {
    let record: TaskRecord | undefined;
    const onReconnect = () => view.note("connection", "lost; the task goes on, trying again");
    for await (const event of task.watch({ signal: stop.signal, onReconnect })) {
      await interrupts.quiet();
      stop.signal.throwIfAborted();
      if (event.kind === "task") record = event.task;
      await view.show(event);
    }
    if (record === undefined) throw new Error("the watch ended without the task's record");
    return await finish(context, task, outcomeOf(record));
  } catch (error) {
    if (error instanceof Detached) {
      terminal.note(statusLine("detached", `task ${task.id} goes on (longshore logs ${task.id} -f)`));
      return error.exitCode;
    }
    if (error instanceof OutputClosed) {
      terminal.note(statusLine("detached", `nobody reads the output; task ${task.id} goes on`));
      return EXIT.outputClosed;
    }
    throw error;
  }
}

async function finish(context: Context, task: Task, outcome: TaskOutcome): Promise<number> {
  if (!context.json && !context.quiet) {
    for (const line of describeEnd(outcome.record, context.terminal)) context.terminal.note(line);
    await noteArtifacts(context, task, outcome);
  }
  return exitCodeOf(outcome);
}

async function noteArtifacts(context: Context, task: Task, { record }: TaskOutcome): Promise<void> {
  const { terminal } = context;
  const problem = record.result?.artifactsError ?? "";
  if (problem !== "") terminal.note(statusLine("artifacts", printable(problem)));
  const outputs = record.spec?.outputs ?? [];
  if (outputs.length === 0) return;
  const artifacts = await Array.fromAsync(task.artifacts.list());
  if (artifacts.length === 0) {
    if (problem === "")
      terminal.note(statusLine("artifacts", `nothing matches ${printable(outputs.join(", "))}`));
    return;
  }
  artifacts.slice(0, MOST_ARTIFACT_LINES).forEach((artifact, index) => {
    const text = `${printable(artifact.path)}  ${formatBytes(artifact.sizeBytes)}`;
    terminal.note(index === 0 ? statusLine("artifacts", text) : continuation(text));
  });
  const more = artifacts.length - MOST_ARTIFACT_LINES;
  if (more > 0) terminal.note(continuation(`and ${more} more`));
  terminal.note(continuation(`longshore artifacts ${task.id} --all`));
}
