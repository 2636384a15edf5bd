import type { ForeignLoad } from "../domain/capacity.ts";
import type {
  Engine,
  EngineCapabilities,
  ImageInfo,
  RunnerSpec,
  Sandbox,
  SandboxExit,
  SandboxFiles,
  SandboxOrder,
  SandboxShape,
  SandboxStatus,
} from "../domain/ports/engine.ts";
import type { Metrics } from "../domain/ports/metrics.ts";

/**
 * An engine whose calls are timed: those that somebody waits for. It has all that an engine may have: what is forgotten here would
 * be lost on every engine.
 */
export class MeasuredEngine implements Required<Engine> {
  readonly #engine: Engine;
  readonly #metrics: Metrics;

  constructor(engine: Engine, metrics: Metrics) {
    this.#engine = engine;
    this.#metrics = metrics;
  }

  get name(): string {
    return this.#engine.name;
  }

  get kind(): Engine["kind"] {
    return this.#engine.kind;
  }

  get removedAtOpen(): readonly string[] {
    return this.#engine.removedAtOpen;
  }

  get files(): SandboxFiles {
    return this.#engine.files;
  }

  capabilities(): Promise<EngineCapabilities> {
    return this.#engine.capabilities();
  }

  resolveImage(name: string): Promise<ImageInfo> {
    return this.#time("resolve_image", () => this.#engine.resolveImage(name));
  }

  takeWarm(shape: SandboxShape): Sandbox | undefined {
    return this.#engine.takeWarm(shape);
  }

  warmCount(): number {
    return this.#engine.warmCount();
  }

  limitWarm(ramBytes: number): void {
    this.#engine.limitWarm(ramBytes);
  }

  async forgetEnvironment(id: string): Promise<void> {
    await this.#engine.forgetEnvironment?.(id);
  }

  create(order: SandboxOrder, signal: AbortSignal): Promise<Sandbox> {
    return this.#time("create", () => this.#engine.create(order, signal), signal);
  }

  begin(sandbox: Sandbox, spec: RunnerSpec): Promise<void> {
    return this.#time("begin", () => this.#engine.begin(sandbox, spec));
  }

  stop(sandboxId: string, how: "terminate" | "kill"): Promise<void> {
    return this.#time("stop", () => this.#engine.stop(sandboxId, how));
  }

  /** Lasts as long as the task does, which says nothing of the engine. */
  ended(sandboxId: string, signal: AbortSignal): Promise<SandboxExit> {
    return this.#engine.ended(sandboxId, signal);
  }

  release(sandboxId: string): Promise<void> {
    return this.#time("release", () => this.#engine.release(sandboxId));
  }

  list(): Promise<SandboxStatus[]> {
    return this.#time("list", () => this.#engine.list());
  }

  foreignLoad(signal: AbortSignal): AsyncIterable<ForeignLoad> {
    return this.#engine.foreignLoad(signal);
  }

  close(): Promise<void> {
    return this.#engine.close();
  }

  async #time<T>(call: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const begin = performance.now();
    let outcome = "error";
    try {
      const result = await work();
      outcome = "ok";
      return result;
    } catch (error) {
      if (signal?.aborted) outcome = "aborted";
      throw error;
    } finally {
      const labels = { engine: this.#engine.name, call, outcome };
      this.#metrics.record("longshore.engine.call.duration", labels, (performance.now() - begin) / 1000);
    }
  }
}
