import type { TaskEvent } from "@longshore/client";
import { Task_State } from "@longshore/proto/longshore/v1/task.ts";
import type { TrapPoint } from "./docker-trap.ts";
import { LINES, type NumberedTask } from "./numbered-task.ts";

/** Where in the life of a task the server is killed. */
export interface KillPoint {
  readonly name: string;
  /** Reached in the talk with the Docker daemon. */
  readonly docker?: TrapPoint;
  /** Reached when a watcher sees this. */
  readonly seen?: (event: TaskEvent, task: NumberedTask) => boolean;
  /** Reached as soon as a create is answered. */
  readonly onCreated?: true;
  /** Reached after so many events of all watchers, at random. */
  readonly random?: true;
}

const CREATE = /^POST \S*\/containers\/create\?/;
const ATTACH = /^POST \S*\/attach/;
const START = /^POST \S*\/start/;
const REMOVE = /^DELETE \S*\/containers\//;

function docker(name: string, request: RegExp, at: TrapPoint["at"], pass: boolean): KillPoint {
  return { name, docker: { request, at, pass } };
}

function inState(name: string, ...states: Task_State[]): KillPoint {
  return { name, seen: (event) => event.kind === "task" && states.includes(event.task.state) };
}

const SUCCEEDED = Task_State.SUCCEEDED;

/** In the order of a task's stages. */
export const KILL_POINTS: readonly KillPoint[] = [
  { name: "queue: create was answered", onCreated: true },
  docker("sandbox: intent stored, no container", CREATE, "request", false),
  docker("sandbox: container made, not told", CREATE, "answer", true),
  docker("sandbox: before attach", ATTACH, "request", false),
  docker("sandbox: before start", START, "request", false),
  docker("sandbox: started, not told", START, "answer", true),
  docker("stage_in: spec held back", ATTACH, "upgraded", false),
  docker("stage_in: spec sent", ATTACH, "upgraded", true),
  inState("run: seen running", Task_State.RUNNING),
  { name: "run: first line seen", seen: (event, task) => event.kind === "log" && task.lines <= 3 },
  {
    name: "run: in the middle",
    seen: (event, task) => event.kind === "log" && task.lines >= LINES / 2 && task.lines < LINES,
  },
  { name: "run: last line seen", seen: (event, task) => event.kind === "log" && task.lines > LINES },
  inState("collect: seen or over", Task_State.COLLECTING, SUCCEEDED),
  inState("end: seen", SUCCEEDED),
  docker("cleanup: before the removal", REMOVE, "request", false),
  docker("cleanup: removed, not told", REMOVE, "answer", true),
  { name: "at random", random: true },
];
