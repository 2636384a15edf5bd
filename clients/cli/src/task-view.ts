import { isTerminal, recordToJson, stateName, type TaskEvent, type TaskRecord } from "@longshore/client";
import { formatBytes, printable } from "./output/format.ts";
import { describeExperiment } from "./output/placement.ts";
import { statusLine } from "./output/status-line.ts";
import { describeEnvironment, describeSandbox, describeWait, environmentStage } from "./output/summary.ts";
import type { Terminal } from "./output/terminal.ts";

export interface TaskViewOptions {
  /** Everything as one JSON object per line on standard output. */
  readonly json: boolean;
  /** The task's own output only. */
  readonly quiet: boolean;
}

/** Shows what happens to a task: its output as it is, everything else as status lines. */
export class TaskView {
  readonly #terminal: Terminal;
  readonly #options: TaskViewOptions;
  #wait = "";
  #environment = "";
  #running = "";
  #experiment = "";
  #cancelling = false;

  constructor(terminal: Terminal, options: TaskViewOptions) {
    this.#terminal = terminal;
    this.#options = options;
  }

  async show(event: TaskEvent): Promise<void> {
    if (this.#options.json) {
      if (event.kind !== "heartbeat") await this.#terminal.print(JSON.stringify(eventToJson(event)));
      return;
    }
    if (event.kind === "log") {
      // What installing packages says is not what the task says.
      await this.#terminal.passOn(event.stream === "stdout" ? "stdout" : "stderr", event.data);
    } else if (event.kind === "gap") {
      this.note("gap", `${formatBytes(event.droppedBytes)} of ${event.stream} were not kept`);
    } else if (event.kind === "task" && !isTerminal(event.task)) {
      this.#changed(event.task);
    }
  }

  note(label: string, text: string): void {
    if (!this.#options.quiet && !this.#options.json) this.#terminal.note(statusLine(label, text));
  }

  #changed(record: TaskRecord): void {
    const state = stateName(record.state);
    if (state === "queued" && record.wait !== undefined) {
      const wait = describeWait(record.wait);
      if (wait !== this.#wait) this.note("queued", wait);
      this.#wait = wait;
    }
    const environment = environmentStage(record);
    if (
      environment?.endTime !== undefined &&
      environment.note !== "" &&
      environment.note !== this.#environment
    ) {
      this.#environment = environment.note;
      this.note("environment", printable(describeEnvironment(environment.note)));
    }
    const experiment = describeExperiment(record);
    if (experiment !== undefined && experiment !== this.#experiment && record.attempts.length > 0) {
      this.#experiment = experiment;
      this.note("experiment", experiment);
    }
    if (state === "running") {
      const sandbox = describeSandbox(record);
      if (sandbox !== this.#running) this.note("running", sandbox);
      this.#running = sandbox;
    }
    if (state === "cancelling" && !this.#cancelling) {
      this.#cancelling = true;
      this.note("cancelling", "asked to end");
    }
  }
}

/** One event as JSON: output as text where it is valid UTF-8, as base64 where it is not. */
function eventToJson(event: TaskEvent): unknown {
  if (event.kind === "task")
    return { kind: "task", time: event.time, cursor: event.cursor, task: recordToJson(event.task) };
  if (event.kind !== "log") return event;
  const { kind, data, ...rest } = event;
  try {
    return { kind, ...rest, text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data) };
  } catch {
    // Not text, or cut within a character.
    return { kind, ...rest, data: Buffer.from(data).toString("base64") };
  }
}
