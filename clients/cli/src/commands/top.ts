import { capacityToJson, recordToJson } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { Board, type Picture } from "../output/board.ts";
import { printable } from "../output/format.ts";
import { Screen } from "../output/screen.ts";
import { UsageError } from "../usage-error.ts";
import { readLabels } from "./labels.ts";

/** Times on the screen go on while nothing changes. */
const REDRAW_MILLIS = 1_000;
const MOST_TASKS = 200;

interface TopFlags {
  readonly label: readonly string[];
  readonly limit: string;
  readonly once?: boolean;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  ...value.split(","),
];

export function addTop(program: Command, context: Context): void {
  program
    .command("top")
    .summary("watch what is held, what runs and what waits")
    .description(
      "Shows live how much of the server is held, your running tasks with what they use, and your queue with its reasons.\n" +
        "On a terminal until q or Ctrl-C; elsewhere once. With --json one object for each change, until it is stopped.",
    )
    .option("-l, --label <KEY=VALUE>", "only tasks with this label (repeatable)", collect, [])
    .option("--limit <number>", "at most so many tasks", "50")
    .option("--once", "one picture, then end")
    .action((flags: TopFlags) => top(context, flags));
}

async function top(context: Context, flags: TopFlags): Promise<void> {
  const maxTasks = Number(flags.limit);
  if (!Number.isInteger(maxTasks) || maxTasks < 1 || maxTasks > MOST_TASKS)
    throw new UsageError(`--limit "${flags.limit}" is not a number from 1 to ${MOST_TASKS}`);
  const wanted = { labels: readLabels(flags.label), maxTasks };
  const { terminal, process } = context;
  if (context.json) {
    for await (const picture of pictures(context, wanted)) {
      await terminal.print(JSON.stringify(toJson(picture)));
      if (flags.once === true) return;
    }
    return;
  }
  if (process.stdout.isTTY === true && terminal.interactive && flags.once !== true)
    return await live(context, wanted);
  for await (const picture of pictures(context, wanted)) {
    for (const line of new Board().lines(picture, new Date())) await terminal.print(line);
    return;
  }
}

interface Wanted {
  readonly labels: Readonly<Record<string, string>>;
  readonly maxTasks: number;
}

async function live(context: Context, wanted: Wanted): Promise<void> {
  const board = new Board();
  using screen = new Screen(context.process);
  let latest: Picture | undefined;
  let trouble = "";
  const draw = () => {
    const now = new Date();
    const title = `longshore top   ${printable(context.server)}   ${now.toLocaleTimeString()}   q ends${trouble}`;
    screen.draw([title, ...(latest === undefined ? ["waiting for the server"] : board.lines(latest, now))]);
  };
  const clock = setInterval(draw, REDRAW_MILLIS);
  try {
    draw();
    const onReconnect = () => {
      trouble = "   connection lost, trying again";
      draw();
    };
    for await (const picture of pictures(context, wanted, { signal: screen.left, onReconnect })) {
      trouble = "";
      latest = picture;
      draw();
    }
  } catch (error) {
    if (!screen.left.aborted) throw error;
  } finally {
    clearInterval(clock);
  }
}

/** The newest of both streams, whenever either has something new. */
async function* pictures(
  { client }: Context,
  wanted: Wanted,
  options: { readonly signal?: AbortSignal; readonly onReconnect?: () => void } = {},
): AsyncGenerator<Picture, void, undefined> {
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  const capacities = client.watchCapacity({ ...options, signal });
  const tasks = client.watchTasks({ ...wanted, ...options, signal });
  const nextCapacity = async () => ({ capacity: (await capacities.next()).value ?? undefined });
  const nextTasks = async () => ({ tasks: (await tasks.next()).value ?? undefined });
  let first = nextCapacity();
  let second = nextTasks();
  let capacity: Picture["capacity"] | undefined;
  let underWay: Omit<Picture, "capacity"> | undefined;
  try {
    for (;;) {
      const news = await Promise.race([first, second]);
      if ("capacity" in news) {
        capacity = news.capacity;
        first = nextCapacity();
      } else {
        underWay = news.tasks;
        second = nextTasks();
      }
      if (capacity !== undefined && underWay !== undefined) yield { capacity, ...underWay };
    }
  } finally {
    stop.abort();
    // Both end by the abort; unheard it would end the process.
    await Promise.allSettled([first, second]);
  }
}

function toJson({ capacity, tasks, totalCount }: Picture): unknown {
  return {
    time: new Date(),
    ...Object(capacityToJson({ capacity })),
    tasks: tasks.map(recordToJson),
    totalCount,
  };
}
