import { parseDatasets, recordToJson, type Task } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { EXIT, EXIT_CODE_HELP } from "../exit-codes.ts";
import { followTask } from "../follow.ts";
import { ProgressView } from "../output/progress.ts";
import { statusLine } from "../output/status-line.ts";
import { UsageError } from "../usage-error.ts";
import { showEstimate } from "./estimate.ts";
import { type RunFlags, readRunRequest } from "./run-options.ts";

const EXAMPLES = `
Examples:
  longshore run hello.py
  longshore run train/ --cpu 2 --ram 1GB --timeout 10m --out 'model/*.bin' -- --epochs 3
  longshore run project.zip --entrypoint app.py
  longshore run --code 'print(1)'
  longshore run --code 'import sklearn; print(sklearn.__version__)' --requirements scikit-learn --preload sklearn
  longshore run data/ --command -- bash -c 'wc -l *.csv'
  longshore submit --config task.json train.py
  longshore run train.py --input data/train.parquet=train.parquet --out model.bin
  longshore run predict.py --input model.bin=01JD3M8Q2E7V6K5ZJ9T4C8B0XW:model.bin
  sort names.txt | longshore run count.py --stdin -`;

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const BOTH = "give either --requirements or --no-requirements, not both";

/** Commander keeps both options under one name, the second as false. */
function collectRequirements(value: string, before: readonly string[] | false): readonly string[] {
  if (before === false) throw new UsageError(BOTH);
  return [...before, value];
}

/** To be called before the option is added: commander's own listener then takes the list away. */
function refuseBothRequirements(command: Command): void {
  command.on("option:no-requirements", () => {
    const given: unknown = command.getOptionValue("requirements");
    if (Array.isArray(given) && given.length > 0) throw new UsageError(BOTH);
  });
}

/** Adds `run`, which watches to the end, and `submit`, which prints the id at once. */
export function addRun(program: Command, context: Context, rest: readonly string[]): void {
  for (const name of ["run", "submit"] as const) {
    const command = program
      .command(name)
      .summary(
        name === "run"
          ? "run code and watch it to its end"
          : "run code in the background; prints its id (run --detach)",
      )
      .description(
        name === "run"
          ? "Runs a Python file, a folder or an archive (.zip, .tar, .tar.gz) in a sandbox of its own. Its output comes out here as it is written; what happens to it goes to standard error."
          : "Runs code in the background and prints the id of its task: the same as run --detach.",
      )
      .usage("[options] FILE.py|DIR|ARCHIVE|- [-- arguments of the task]")
      .argument("[source]", "what to run; - reads Python from standard input")
      .argument("[more...]");
    refuseBothRequirements(command);
    addResourceOptions(command);
    addTaskOptions(command);
    if (name === "run") {
      command.option("-d, --detach", "print the task's id and leave it to itself");
      command.option("--estimate", "run nothing: show what it would hold and cost at most");
    }
    command.addHelpText("after", name === "run" ? `${EXAMPLES}\n${EXIT_CODE_HELP}` : EXAMPLES);
    command.action(async (source: string | undefined, more: readonly string[]) => {
      const operands = [...(source === undefined ? [] : [source]), ...more];
      const own = operands.slice(0, operands.length - rest.length);
      const flags = command.opts<RunFlags>();
      context.exitCode = await run(context, own, rest, {
        ...flags,
        detach: name === "submit" || flags.detach,
      });
    });
  }
}

export function addResourceOptions(command: Command): void {
  command
    .option("--cpu <number>", "CPUs, such as 2 or 0.5")
    .option("--ram <size>", "memory, such as 512MB or 1GB")
    .option("--storage <size>", "disk for the workspace, /tmp and HOME together")
    .option("--gpu <number>", "whole GPUs")
    .option("--gpu-model <name>", "kind of GPU, as longshore capabilities names it")
    .option("--timeout <duration>", "longest run, such as 90s, 10m or 1h30m (default of the server: 30s)");
}

function addTaskOptions(command: Command): void {
  command
    .option("--queue-timeout <duration>", "longest wait in the queue")
    .option("--total-timeout <duration>", "longest time from now to the end")
    .option(
      "-e, --env <KEY=VALUE>",
      "variable of the task; KEY alone takes its value from here (repeatable)",
      collect,
      [],
    )
    .option(
      "--secret-env <KEY=VALUE>",
      "the same, kept encrypted and never shown again (repeatable)",
      collect,
      [],
    )
    .option(
      "--entrypoint <file>",
      "file to run, or module:function (main.py, else the only .py file at the top)",
    )
    .option(
      "--config <file>",
      "JSON that names the script's cluster, image, dataset, model_params and experiment (docs/task-config.md)",
    )
    .option("--code <python>", "run this text")
    .option("--command", "what follows -- is a program and its arguments, run instead of Python")
    .option("--stdin <file>", "standard input of the task, up to 1 MiB; - passes on what is piped in here")
    .option("-o, --out <glob>", "files to keep as artifacts, such as 'model/*.bin' (repeatable)", collect, [])
    .option(
      "-i, --input <PATH=SOURCE>",
      "data placed read-only at PATH before the run: a file, sha256:DIGEST of a blob, or TASK:ARTIFACT (repeatable)",
      collect,
      [],
    )
    .option("--workdir <folder>", "folder of the project to start in")
    .option(
      "--requirements <file|line>",
      "packages to install: a requirements.txt, or one of its lines; without it the project's own (repeatable)",
      collectRequirements,
      [],
    )
    .option("--no-requirements", "install nothing, whatever the project's requirements.txt says")
    .option("--preload <module>", "module that warm sandboxes import beforehand (repeatable)", collect, [])
    .option("--image <name>", "container image")
    .option(
      "--network <policy>",
      "none (default), egress, or tracking (the tracking server of an experiment)",
    )
    .option("--isolation <tier>", "container or gvisor")
    .option("--engine <name>", "where it runs, as longshore capabilities names it (the server's first)")
    .option("--account <name>", "who pays for it on a cluster")
    .option("--partition <name>", "queue of a cluster")
    .option("--instance-type <name>", "kind of machine, as the server or its cluster names it")
    .option(
      "--require-enforced <limit>",
      "refuse to run where this limit is not held (repeatable)",
      collect,
      [],
    )
    .option("-l, --label <KEY=VALUE>", "label to find it by (repeatable)", collect, [])
    .option("--webhook <url>", "address told how it ends (repeatable)", collect, [])
    .option("--name <text>", "name for people")
    .option("--priority <number>", "-100 to 100, higher first")
    .option(
      "--expected-duration <duration>",
      "estimate of the run; the shorter go first (learnt from earlier runs)",
    )
    .option(
      "--depends-on <id>",
      "start when this task has succeeded, end when it has not (repeatable)",
      collect,
      [],
    )
    .option("--cache", "take the result of an equal earlier task where there is one")
    .option("--max-attempts <number>", "tries after faults of the system")
    .option(
      "--request-id <uuid>",
      "the same id and content answers the first task instead of making another",
    );
}

async function run(
  context: Context,
  operands: readonly string[],
  rest: readonly string[],
  flags: RunFlags,
): Promise<number> {
  const request = await readRunRequest(operands, rest, flags, context.process);
  if (flags.estimate === true) {
    await showEstimate(context, request.source, request.options);
    return EXIT.ok;
  }
  const task = await submit(context, request);
  if (task === undefined) return EXIT.interrupted;
  await announce(context, task, flags.detach === true);
  return flags.detach === true ? EXIT.ok : followTask(context, task);
}

/** Undefined when Ctrl-C came before there was a task. */
async function submit(
  context: Context,
  { source, config, name, options }: Awaited<ReturnType<typeof readRunRequest>>,
): Promise<Task | undefined> {
  const { terminal, process } = context;
  const progress = new ProgressView(terminal, name);
  const onProgress = context.quiet || context.json ? undefined : progress.show.bind(progress);
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  try {
    const all = { ...options, onProgress, signal: stop.signal };
    if (config === undefined) return await context.client.submit(source, all);
    const datasets = parseDatasets(process.env.LONGSHORE_DATASETS ?? "");
    return await context.client.submitConfig(config, typeof source === "string" ? source : undefined, {
      ...all,
      datasets,
    });
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    terminal.note("interrupted before the task was confirmed; longshore ps shows whether there is one");
    return undefined;
  } finally {
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
  }
}

export async function announce(context: Context, task: Task, detached: boolean): Promise<void> {
  const { terminal } = context;
  const trace = task.latest?.traceId ?? "";
  if (context.json) {
    const record = task.latest === undefined ? { id: task.id } : recordToJson(task.latest);
    await terminal.print(JSON.stringify(detached ? record : { kind: "created", task: record }));
    return;
  }
  if (!context.quiet && !(detached && !terminal.interactive)) {
    terminal.note(statusLine("task", `${task.id}${trace === "" ? "" : `  trace ${trace}`}`));
  }
  if (detached) await terminal.print(task.id);
}
