import { once } from "node:events";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Longshore, type Source, type TaskEvent, type UsageEntry } from "@longshore/client";
import { type RunningServer, startServer } from "../support/running-server.ts";
import { DockerTrap } from "./docker-trap.ts";
import { KILL_POINTS, type KillPoint } from "./kill-points.ts";
import { billingProblems, NumberedTask, numberedCode, type Problem } from "./numbered-task.ts";
import { untilAnswered } from "./until-answered.ts";

export interface FaultOptions {
  readonly rounds: number;
  /** Tasks that are kept unfinished while rounds go on. */
  readonly tasks: number;
  readonly seed: number;
  readonly millisPerLine: number;
  /** Told after each round. */
  readonly onRound?: (round: Round) => void;
}

export interface Round {
  readonly number: number;
  readonly point: string;
  /** False when the point was not reached in time and the server was killed anyway. */
  readonly reached: boolean;
  readonly unfinished: number;
  readonly restartMillis: number;
  readonly adopted: number;
  readonly queued: number;
  readonly released: number;
  readonly removed: number;
}

export interface FaultReport {
  readonly rounds: readonly Round[];
  readonly tasks: number;
  /** Attempts beyond the first, whose predecessor never got its spec. */
  readonly freeAttempts: number;
  readonly problems: readonly (Problem & { readonly task: string })[];
  /** Tasks in the server's list that no client asked for. */
  readonly strangers: number;
  readonly leftovers: readonly string[];
}

const REACH_MILLIS = 20_000;
const MOST_RANDOM_EVENTS = 60;

/** Kills a server again and again while tasks run on it, and finds out whether anything was lost, doubled or left. */
export async function runFaultRounds(options: FaultOptions): Promise<FaultReport> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "longshore-faults-"));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const trap = stack.use(await DockerTrap.open(join(folder, "docker.sock"), dockerSocket()));
  const server = stack.use(
    await startServer({
      LONGSHORE_DOCKER: `unix://${trap.path}`,
      LONGSHORE_RESERVE_RAM: "0MB",
      LONGSHORE_LOG_LEVEL: "info",
    }),
  );
  const project = await writeProject(folder, options.millisPerLine);
  const client = new Longshore(server.address);
  stack.defer(() => client.close());
  const harness = new FaultHarness(options, server, client, trap, project);
  return await harness.run();
}

function dockerSocket(): string {
  const host = process.env.DOCKER_HOST ?? "unix:///var/run/docker.sock";
  if (!host.startsWith("unix://")) throw new Error(`${host} is not a local socket`);
  return host.slice("unix://".length);
}

async function writeProject(folder: string, millisPerLine: number): Promise<string> {
  const project = join(folder, "project");
  await mkdir(project);
  await writeFile(join(project, "main.py"), numberedCode(millisPerLine));
  return project;
}

class FaultHarness {
  readonly #options: FaultOptions;
  readonly #server: RunningServer;
  readonly #client: Longshore;
  readonly #trap: DockerTrap;
  readonly #project: string;
  readonly #tasks: NumberedTask[] = [];
  readonly #unfinished = new Set<NumberedTask>();
  readonly #random: () => number;
  /** What the present round waits for. */
  #onEvent: (event: TaskEvent, task: NumberedTask) => void = () => undefined;
  #onCreated: () => void = () => undefined;

  constructor(
    options: FaultOptions,
    server: RunningServer,
    client: Longshore,
    trap: DockerTrap,
    project: string,
  ) {
    this.#options = options;
    this.#server = server;
    this.#client = client;
    this.#trap = trap;
    this.#project = project;
    this.#random = randomFrom(options.seed);
  }

  async run(): Promise<FaultReport> {
    const rounds: Round[] = [];
    for (let number = 1; number <= this.#options.rounds; number++) {
      const point = this.#pointOf(number);
      const round = await this.#round(number, point);
      rounds.push(round);
      this.#options.onRound?.(round);
    }
    await Promise.all(this.#tasks.map((task) => task.ended));
    return { rounds, tasks: this.#tasks.length, ...(await this.#verify()) };
  }

  /** Every point in turn; every other round of later turns at random. */
  #pointOf(number: number): KillPoint {
    const random = KILL_POINTS.at(-1);
    const index = (number - 1) % KILL_POINTS.length;
    const point = KILL_POINTS[index];
    if (point === undefined || random === undefined) throw new Error("there are no points");
    return number > KILL_POINTS.length && number % 3 === 0 ? random : point;
  }

  async #round(number: number, point: KillPoint): Promise<Round> {
    const armed = new AbortController();
    const killed = Promise.withResolvers<void>();
    let reached = false;
    const kill = () => {
      if (armed.signal.aborted) return;
      reached = true;
      armed.abort();
      // Synchronous up to the signal itself, so that not one more byte is handled.
      this.#server.kill().then(killed.resolve, killed.reject);
    };
    this.#arm(point, kill, armed.signal);
    const submitting = this.#topUp();
    const late = AbortSignal.timeout(REACH_MILLIS);
    await Promise.race([killed.promise, once(late, "abort")]);
    const wasReached = reached;
    if (!armed.signal.aborted) kill();
    await killed.promise;
    this.#onEvent = () => undefined;
    this.#onCreated = () => undefined;
    const unfinished = this.#unfinished.size;
    const began = performance.now();
    await this.#server.start();
    const restartMillis = performance.now() - began;
    await submitting;
    const report = await untilAnswered(() => this.#client.reconcileReport());
    return {
      number,
      point: point.name,
      reached: wasReached,
      unfinished,
      restartMillis,
      adopted: report.adoptedAttempts,
      queued: report.queuedTasks,
      released: report.releasedAttempts,
      removed: Number(report.removalCount),
    };
  }

  #arm(point: KillPoint, kill: () => void, signal: AbortSignal): void {
    const { docker, seen } = point;
    if (docker !== undefined) this.#trap.arm(docker, kill, signal);
    if (point.onCreated) this.#onCreated = kill;
    if (seen !== undefined) {
      this.#onEvent = (event, task) => {
        if (seen(event, task)) kill();
      };
    }
    if (point.random) {
      let left = 1 + Math.floor(this.#random() * MOST_RANDOM_EVENTS);
      this.#onEvent = () => {
        if (--left === 0) kill();
      };
    }
  }

  /** As many new tasks as ended, and at least one, so that every point can be reached. */
  async #topUp(): Promise<void> {
    const missing = Math.max(1, this.#options.tasks - this.#unfinished.size);
    await Promise.all(Array.from({ length: missing }, () => this.#submit()));
  }

  async #submit(): Promise<void> {
    const isProject = this.#tasks.length % 4 === 3;
    const source: Source = isProject ? this.#project : { code: numberedCode(this.#options.millisPerLine) };
    const options = { outputs: isProject ? ["left.txt"] : [] };
    const task = await NumberedTask.submit(this.#client, source, options, (event, from) =>
      this.#onEvent(event, from),
    );
    this.#tasks.push(task);
    this.#unfinished.add(task);
    void task.ended.then(() => this.#unfinished.delete(task));
    this.#onCreated();
  }

  async #verify(): Promise<Omit<FaultReport, "rounds" | "tasks">> {
    const problems: (Problem & { task: string })[] = [];
    let freeAttempts = 0;
    const rows = await this.#ledgerRows();
    for (const task of this.#tasks) {
      const { id } = task.task;
      await this.#released(task);
      for (const problem of await task.problems()) problems.push({ ...problem, task: id });
      const { attempts } = await untilAnswered(() => task.task.get());
      for (const problem of billingProblems(attempts, rows.get(id) ?? []))
        problems.push({ ...problem, task: id });
      freeAttempts += attempts.length - 1;
    }
    const asked = new Set(this.#tasks.map(({ task }) => task.id));
    let strangers = 0;
    for await (const record of this.#client.list()) if (!asked.has(record.id)) strangers++;
    for (const { task } of this.#tasks) await task.delete();
    await this.#server.stop();
    const leftovers = await this.#server.leftovers();
    for (const name of ["sandboxes", "uploads", "archives/tmp"]) {
      const left = await readdir(join(this.#server.dataDirectory, name));
      leftovers.push(...left.map((file) => `${name}/${file}`));
    }
    return { freeAttempts, problems, strangers, leftovers };
  }

  async #ledgerRows(): Promise<Map<string, UsageEntry[]>> {
    const rows = await untilAnswered(() => Array.fromAsync(this.#client.usageEntries()));
    return Map.groupBy(rows, ({ taskId }) => taskId);
  }

  /** The cleanup is recorded after the end. */
  async #released(task: NumberedTask): Promise<void> {
    for (;;) {
      const { attempts, stages } = await untilAnswered(() => task.task.get());
      const cleanups = stages.filter((stage) => stage.name === CLEANUP && stage.endTime !== undefined);
      if (cleanups.length >= attempts.length) return;
      await delay(100);
    }
  }
}

const CLEANUP = 9;

/** mulberry32: small, and the same numbers for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
