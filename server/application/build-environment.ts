import { type BuildFailure, explainBuildFailure } from "../domain/build-failure.ts";
import type { BuildKit } from "../domain/build-kit.ts";
import { BadArchive } from "../domain/errors.ts";
import { DamagedJournal, type RunnerEnd } from "../domain/journal.ts";
import type { TaskLimits } from "../domain/limits.ts";
import type { SandboxExit, SandboxShape } from "../domain/ports/engine.ts";
import type { EnvironmentStore } from "../domain/ports/environment-store.ts";
import type { Log } from "../domain/ports/telemetry.ts";
import type { Requirement } from "../domain/requirements.ts";
import { formatSize } from "../domain/resources.ts";
import type { BuildOutput } from "./build-output.ts";
import { Latch } from "./changes.ts";
import type { EngineHost } from "./engine-host.ts";
import type { NewId } from "./identity.ts";
import type { JournalHub } from "./journal-hub.ts";
import { stopSandbox } from "./stop-sandbox.ts";
import { untilAvailable } from "./until-available.ts";

/** What a build installs is packed at the speed of the disk. */
const PACKING_MILLIS = 60_000;
/** Beyond the runner's own deadline, before the server loses patience. */
const BACKSTOP_MILLIS = 150_000;
const GRACE_MILLIS = 5_000;

/** One environment to be built. */
export interface BuildOrder {
  readonly id: string;
  readonly sandboxId: string;
  readonly host: EngineHost;
  readonly imageDigest: string;
  /** Normalised lines. */
  readonly lines: readonly string[];
  /** Clamped to what the host has. */
  readonly limits: TaskLimits;
}

/** How a build ended that made nothing. Each waiting task tells it in its own words: its lines have numbers of their own. */
export interface FailedBuild {
  /** Undefined where only the output says why. */
  readonly why: BuildFailure | undefined;
  readonly output: string;
}

export interface BuildDeps {
  readonly kit: BuildKit;
  readonly store: EnvironmentStore;
  readonly journals: ReadonlyMap<string, JournalHub>;
  readonly log: Log;
  readonly newId: NewId;
}

/** Builds one environment in a sandbox of its own and stores what comes out, by way of the server's own strict reader. */
export class BuildEnvironment {
  readonly #deps: BuildDeps;

  constructor(deps: BuildDeps) {
    this.#deps = deps;
  }

  /** Resolves with a failure when nothing was built. Throws Unavailable when the engine or the disk is away. */
  async build(
    order: BuildOrder,
    output: BuildOutput,
    onOutput: () => void,
    signal: AbortSignal,
  ): Promise<FailedBuild | undefined> {
    const { host, sandboxId } = order;
    const { engine } = host;
    const { store, log } = this.#deps;
    await using release = new AsyncDisposableStack();
    release.defer(async () => {
      // Also when the server closes: nobody adopts a build.
      await untilAvailable(
        async () => {
          await engine.release(sandboxId);
          await engine.files.remove(sandboxId);
        },
        AbortSignal.timeout(60_000),
        (error) =>
          log.warn("a build's sandbox could not be removed yet", { sandboxId, error: error.message }),
      ).catch((error: unknown) =>
        log.warn("a build's sandbox is left to the reconciliation", { sandboxId, error: String(error) }),
      );
    });
    const { sandbox } = await this.#create(order, signal);
    await engine.begin(sandbox, this.#spec(order));
    const { end, exit } = await this.#follow(order, output, onOutput, signal);
    const failure = failureOf(end, exit, order, output);
    if (failure !== undefined) return failure;
    try {
      await store.keep(order.id, engine.files.artifacts(sandboxId, signal), signal);
      return undefined;
    } catch (error) {
      if (!(error instanceof BadArchive)) throw error;
      const message = `what the packages installed cannot be kept: ${error.message}`;
      return {
        why: { message, advice: "ask for other versions of them", passing: false },
        output: output.text(),
      };
    }
  }

  async #create({ host, sandboxId, imageDigest, limits, id }: BuildOrder, signal: AbortSignal) {
    const { kit } = this.#deps;
    const shape: SandboxShape = {
      imageDigest,
      isolation: kit.isolation,
      network: kit.network === "GUARDED" ? "EGRESS" : "NONE",
      limits,
      gpuIds: [],
    };
    const build = {
      uv: kit.uv,
      caBundle: kit.caBundle,
      wheels: kit.wheels,
      openNetwork: kit.network === "OPEN",
    };
    const order = { sandboxId, taskId: `environment-${id.slice(0, 16)}`, attempt: 0, shape, build };
    return { sandbox: await host.engine.create(order, signal) };
  }

  #spec({ id, lines, limits }: BuildOrder) {
    const { kit } = this.#deps;
    const options = [
      ...(kit.sources ? [] : ["--only-binary", ":all:"]),
      // Without it each package would be looked for until a time-out.
      ...(kit.network === "NONE" ? ["--no-index"] : []),
    ];
    const hide = Object.values(kit.env).flatMap(passwordsIn);
    const stdin = Buffer.from(JSON.stringify({ requirements: lines, options, hide })).toString("base64");
    return {
      attemptId: `environment.${id.slice(0, 32)}`,
      program: { kind: "script", script: "main.py" } as const,
      code: kit.program,
      args: [],
      env: kit.env,
      stdin,
      workingDirectory: "",
      outputs: ["environment/**"],
      stageInMillis: PACKING_MILLIS,
      collectMillis: PACKING_MILLIS,
      stopGraceMillis: GRACE_MILLIS,
      deadline: null,
      limits,
      projectTar: null,
      inputTar: null,
      spans: null,
    };
  }

  async #follow(
    { host, sandboxId, limits }: BuildOrder,
    output: BuildOutput,
    onOutput: () => void,
    signal: AbortSignal,
  ): Promise<{ end: RunnerEnd | null; exit: SandboxExit | null }> {
    const { engine } = host;
    const hub = this.#deps.journals.get(engine.name);
    if (hub === undefined) throw new Error(`engine ${engine.name} has no journals`);
    const latch = new Latch();
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    let exit: SandboxExit | null = null;
    const ended = engine.ended(sandboxId, both).then((seen) => {
      exit = seen;
      latch.set();
    });
    // An abort is how this watch normally ends.
    const settled = ended.catch((error: unknown) => (both.aborted ? undefined : Promise.reject(error)));
    const stop = () => void stopSandbox(engine, sandboxId, "kill", { signal: both, log: this.#deps.log });
    const backstop = setTimeout(stop, limits.runMillis + BACKSTOP_MILLIS);
    try {
      using reading = hub.open(sandboxId, 0, latch, { passing: true });
      for (;;) {
        const final = exit !== null;
        const frames = await reading.poll();
        if (frames === undefined && final) return { end: null, exit };
        if (frames === undefined) await latch.wait(signal);
        signal.throwIfAborted();
        for (const frame of frames ?? []) {
          if (frame.kind === "log") output.push(frame.data);
          if (frame.kind === "end") return { end: frame.ending, exit };
        }
        if (frames !== undefined) onOutput();
      }
    } catch (error) {
      if (!(error instanceof DamagedJournal)) throw error;
      return { end: null, exit: { exitCode: null, oomKilled: false, lost: true, message: error.message } };
    } finally {
      clearTimeout(backstop);
      onOutput();
      over.abort();
      await settled;
    }
  }
}

/** The same for one task: with the numbers of its own lines. */
export function explain(
  { why, output }: FailedBuild,
  requirements: readonly Requirement[],
  source: string,
): BuildFailure {
  return why ?? explainBuildFailure(output, requirements, source);
}

function failureOf(
  end: RunnerEnd | null,
  exit: SandboxExit | null,
  { limits }: BuildOrder,
  output: BuildOutput,
): FailedBuild | undefined {
  const failed = (message: string, advice: string, passing = false): FailedBuild => ({
    why: { message: `the environment could not be built: ${message}`, advice, passing },
    output: output.text(),
  });
  const fewer = (setting: string) => `ask for fewer packages, or ask the operator to raise ${setting}`;
  if (end === null)
    return failed(`its sandbox vanished${exit?.message ? ` (${exit.message})` : ""}`, "rerun the task", true);
  switch (end.reason) {
    case "EXITED":
      if (end.exitCode !== 0) return { why: undefined, output: output.text() };
      if (end.artifactsError !== "") return failed(end.artifactsError, fewer("LONGSHORE_BUILD_STORAGE"));
      return undefined;
    case "TIMED_OUT":
      return failed(`it took longer than ${limits.runMillis / 1000} s`, fewer("LONGSHORE_BUILD_TIMEOUT"));
    case "OUT_OF_MEMORY":
      return failed(
        `it needed more than ${formatSize(limits.ramBytes)} memory`,
        fewer("LONGSHORE_BUILD_RAM"),
      );
    case "STORAGE_FULL":
      return failed(
        `it needed more than ${formatSize(limits.storageBytes)} disk`,
        fewer("LONGSHORE_BUILD_STORAGE"),
      );
    default:
      return failed(
        end.message === "" ? end.reason.toLowerCase().replaceAll("_", " ") : end.message,
        "rerun the task",
        true,
      );
  }
}

/** Of an address like https://user:password@host/, as it stands there and as it reads. */
function passwordsIn(value: string): string[] {
  return value.split(" ").flatMap((address) => {
    if (!URL.canParse(address)) return [];
    const { username, password } = new URL(address);
    return password === "" ? [username, decoded(username)].filter(isSecret) : [password, decoded(password)];
  });
}

/** A token may stand where a user's name does; a short name would be hidden in every other word. */
function isSecret(text: string): boolean {
  return text.length >= 8;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not encoded at all.
    return text;
  }
}
