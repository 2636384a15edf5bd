import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { glob, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";
import { MAX_FRAME_BYTES } from "#server/domain/journal.ts";
import type { RunnerSpec } from "#server/domain/ports/engine.ts";
import type { Program } from "#server/domain/task.ts";
import { endPayload, journalFrame, journalHeader } from "./journal-writer.ts";
import type { MemoryJournal } from "./memory-journal.ts";

type StopReason = "timed_out" | "output_limit" | "cancelled";

/**
 * Plays the runner of executor-image/ with a local child process in a temporary folder and no isolation at all:
 * for programs that tests bring themselves. Its journal is format v1, byte for byte.
 */
export class FakeRunner {
  readonly #folder: string;
  readonly #journal: MemoryJournal;
  readonly #setArtifacts: (tar: Buffer) => void;
  #child: ChildProcess | undefined;
  #stopReason: StopReason | undefined;
  #graceMillis = 0;
  #dead = false;
  readonly #logged = { stdout: 0, stderr: 0 };
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(folder: string, journal: MemoryJournal, setArtifacts: (tar: Buffer) => void) {
    this.#folder = folder;
    this.#journal = journal;
    this.#setArtifacts = setArtifacts;
  }

  /** Resolves when the end frame is written, or nothing more will be. */
  async run(spec: RunnerSpec, inputTar: Buffer): Promise<void> {
    this.#graceMillis = spec.stopGraceMillis;
    this.#journal.append(journalHeader(spec.attemptId));
    this.#frame("accepted", { attempt_id: spec.attemptId, pid: process.pid });
    const problem = await this.#stageIn(spec, inputTar);
    if (this.#dead) return;
    if (problem !== undefined)
      return this.#end({ reason: "input_failed", exit_code: null, message: problem });
    this.#frame("stage", { stage: "run", event: "start", note: "" });
    const ending = this.#stopReason === undefined ? await this.#runProgram(spec) : this.#killedBy(null);
    if (this.#dead) return;
    this.#frame("stage", { stage: "run", event: "end", note: "" });
    const artifacts = await this.#collect(spec);
    if (!this.#dead) this.#end({ ...ending, artifacts });
  }

  /** SIGTERM of the contract: the program gets its grace. */
  terminate(): void {
    this.#stop("cancelled", "SIGTERM");
    this.#after(this.#graceMillis, () => this.#signal("SIGKILL"));
  }

  /** SIGUSR1 of the contract. */
  kill(): void {
    this.#stop("cancelled", "SIGKILL");
  }

  /** The sandbox is torn away: not another byte of the journal. */
  die(): void {
    this.#dead = true;
    this.#signal("SIGKILL");
    this.#clearTimers();
  }

  async #stageIn(spec: RunnerSpec, inputTar: Buffer): Promise<string | undefined> {
    await mkdir(this.#workspace, { recursive: true });
    this.#frame("stage", { stage: "stage_in", event: "start", note: "" });
    if (spec.projectTar !== null) {
      const tar = spawn("tar", ["-xf", spec.projectTar, "-C", this.#workspace], { stdio: "ignore" });
      const [code] = await once(tar, "close");
      if (code !== 0) return "the project does not unpack";
    }
    if (inputTar.length > 0) {
      const tar = spawn("tar", ["-xf", "-", "-C", this.#workspace], { stdio: ["pipe", "ignore", "ignore"] });
      tar.stdin.end(inputTar);
      const [code] = await once(tar, "close");
      if (code !== 0) return "the inputs do not unpack";
    }
    if (spec.code !== null) await writeFile(join(this.#workspace, "main.py"), spec.code);
    this.#frame("stage", { stage: "stage_in", event: "end", note: "" });
    return undefined;
  }

  async #runProgram(spec: RunnerSpec): Promise<Record<string, unknown>> {
    const [command = "", ...args] = commandLine(spec.program, spec.args);
    const child = spawn(command, args, {
      cwd: join(this.#workspace, spec.workingDirectory),
      env: {
        PATH: process.env.PATH,
        HOME: this.#folder,
        LANG: "C.UTF-8",
        PYTHONUNBUFFERED: "1",
        ...spec.env,
      },
      detached: true,
      stdio: "pipe",
    });
    this.#child = child;
    child.stdout.on("data", (bytes: Buffer) => this.#log("stdout", bytes, spec.limits.logBytes));
    child.stderr.on("data", (bytes: Buffer) => this.#log("stderr", bytes, spec.limits.logBytes));
    // A program that does not read its input closes the pipe; that is its own affair.
    child.stdin.on("error", () => undefined);
    child.stdin.end(Buffer.from(spec.stdin, "base64"));
    this.#after(spec.limits.runMillis, () => this.#stop("timed_out", "SIGKILL"));
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      child.once("error", () => resolve([127, null]));
      // Processes that the program left behind must not keep its pipes, and with them the attempt, open.
      child.once("exit", () => this.#signal("SIGKILL"));
      child.once("close", (exitCode, exitSignal) => resolve([exitCode, exitSignal]));
    });
    this.#clearTimers();
    this.#child = undefined;
    if (this.#stopReason !== undefined) return this.#killedBy(signal);
    if (signal !== null) return { reason: "signaled", exit_code: null, signal: constants.signals[signal] };
    return { reason: "exited", exit_code: code };
  }

  #killedBy(signal: NodeJS.Signals | null): Record<string, unknown> {
    const killer = this.#stopReason === "cancelled" ? "client" : "runner";
    const limit = { timed_out: "run_time", output_limit: "log", cancelled: null }[
      this.#stopReason ?? "cancelled"
    ];
    return {
      reason: this.#stopReason,
      exit_code: null,
      signal: signal === null ? null : constants.signals[signal],
      killer,
      limit,
    };
  }

  async #collect(spec: RunnerSpec): Promise<Record<string, unknown>> {
    if (spec.outputs.length === 0) return { count: 0, bytes: 0, error: null };
    this.#frame("stage", { stage: "collect", event: "start", note: "" });
    const tar = pack();
    let [count, bytes] = [0, 0];
    for await (const name of glob([...spec.outputs], { cwd: this.#workspace })) {
      if (!(await stat(join(this.#workspace, name))).isFile()) continue;
      const content = await readFile(join(this.#workspace, name));
      tar.entry({ name, mode: 0o644, mtime: new Date(0) }, content);
      count++;
      bytes += content.length;
    }
    tar.finalize();
    this.#setArtifacts(await buffer(tar));
    this.#frame("stage", { stage: "collect", event: "end", note: `${count} files` });
    return { count, bytes, error: null };
  }

  #log(stream: "stdout" | "stderr", bytes: Buffer, budget: number): void {
    const room = Math.max(0, budget - this.#logged.stdout - this.#logged.stderr);
    this.#logged[stream] += bytes.length;
    for (let at = 0; at < Math.min(room, bytes.length); at += MAX_FRAME_BYTES) {
      this.#frame(stream, bytes.subarray(at, Math.min(at + MAX_FRAME_BYTES, room)));
    }
    if (bytes.length <= room) return;
    this.#frame("gap", { stream, bytes: bytes.length - room });
    this.#stop("output_limit", "SIGKILL");
  }

  #end(changes: Record<string, unknown>): void {
    const usage = { stdout_bytes: this.#logged.stdout, stderr_bytes: this.#logged.stderr };
    this.#frame("end", endPayload({ usage, ...changes }));
  }

  #frame(kind: Parameters<typeof journalFrame>[0], payload: Uint8Array | object): void {
    if (!this.#dead) this.#journal.append(journalFrame(kind, payload));
  }

  #stop(reason: StopReason, signal: "SIGTERM" | "SIGKILL"): void {
    this.#stopReason ??= reason;
    this.#signal(signal);
  }

  #signal(signal: "SIGTERM" | "SIGKILL"): void {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    try {
      // Its whole group: the program was started as the leader of one.
      process.kill(-pid, signal);
    } catch {
      // ESRCH: it has ended on its own in this moment.
    }
  }

  #after(millis: number, act: () => void): void {
    this.#timers.add(setTimeout(act, millis));
  }

  #clearTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  get #workspace(): string {
    return join(this.#folder, "workspace");
  }
}

function commandLine(program: Program, args: readonly string[]): string[] {
  switch (program.kind) {
    case "script":
      return ["python3", program.script, ...args];
    case "module": {
      if (program.function === null) return ["python3", "-m", program.module, ...args];
      return ["python3", "-c", `import ${program.module}; ${program.module}.${program.function}()`, ...args];
    }
    case "command":
      return [...program.command, ...args];
  }
}
