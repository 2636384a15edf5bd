import {
  DamagedJournal,
  FRAME_HEADER_BYTES,
  type JournalFrame,
  type LogStream,
  MAX_FRAME_BYTES,
  type RunnerEnd,
  type UsageSample,
} from "./journal.ts";
import type { Limit } from "./limits.ts";
import { RESULT_REASONS, type ResultReason } from "./task.ts";

const MAGIC = "LSJRNL01";
const FIXED_HEADER_BYTES = MAGIC.length + 2;
/** An attempt id is a ULID today; the bound only keeps a hostile header small. */
const MAX_ATTEMPT_ID_BYTES = 256;
/** CONTRACT.md caps the end frame here; the smaller JSON frames have no reason to be larger. */
const MAX_JSON_BYTES = 64 * 1024;
const MAX_TEXT = 4096;
const MAX_DATE_MILLIS = 8.64e15;
const TWO_POW_32 = 2 ** 32;

/** A frame's fields beside its place in the journal. */
type FrameBody = JournalFrame extends infer F
  ? F extends JournalFrame
    ? Omit<F, "offset" | "end" | "time">
    : never
  : never;

interface Header {
  readonly kind: number;
  readonly timeMillis: number;
  readonly length: number;
}

/**
 * Reads journal format v1 as it grows. The writer may be hostile: lengths are bounded before anything is kept, so at most
 * one frame is held between two pushes. Log data are views of the pushed bytes (no copy), so a pushed buffer must not be reused.
 *
 * Good frames that stand before a damaged place are always handed out first; the DamagedJournal is then thrown by the next
 * call (or at once when the push held no good frame).
 */
export class JournalParser {
  readonly #expectedId: string | undefined;
  readonly #decoder = new TextDecoder("utf-8");
  #attemptId: string | undefined;
  #consumed = 0;
  #headerPending = true;
  #ended = false;
  #damage: DamagedJournal | undefined;
  /** The start of a frame (or of the journal's header) whose rest has not arrived; filled up to #held. */
  #partial: Uint8Array = new Uint8Array(0);
  #held = 0;

  constructor(options: { attemptId?: string } = {}) {
    this.#expectedId = options.attemptId;
  }

  /** Before the first push: goes on at a frame boundary that an earlier parser reached (`consumed`, or the `end` of a frame). */
  startAt(offset: number): void {
    this.#consumed = offset;
    this.#headerPending = offset === 0;
  }

  /** Bytes of the journal up to the end of the last whole frame. */
  get consumed(): number {
    return this.#consumed;
  }

  /** Bytes pushed so far, counted from the journal's start: where to read on. */
  get position(): number {
    return this.#consumed + this.#held;
  }

  /** The end frame has been handed out. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Set as soon as damage is known, which may be one call before it is thrown. */
  get damage(): DamagedJournal | undefined {
    return this.#damage;
  }

  push(bytes: Uint8Array): JournalFrame[] {
    if (this.#damage !== undefined) throw this.#damage;
    const frames: JournalFrame[] = [];
    try {
      let at = this.#held > 0 ? this.#completePartial(bytes, frames) : 0;
      while (at < bytes.length) {
        const size = this.#unitSize(bytes, at, bytes.length);
        if (size === undefined || at + size > bytes.length) {
          this.#hold(bytes.subarray(at), size);
          break;
        }
        this.#take(bytes.subarray(at, at + size), frames);
        at += size;
      }
    } catch (error) {
      if (!(error instanceof DamagedJournal)) throw error;
      this.#damage = error;
      if (frames.length === 0) throw error;
    }
    return frames;
  }

  /** Call when the writer is dead and everything was pushed. A partial last frame is normal then; returns its length. */
  finish(): number {
    if (this.#damage !== undefined) throw this.#damage;
    return this.#held;
  }

  /** Fills the frame held from earlier pushes; returns how many of `bytes` it took. */
  #completePartial(bytes: Uint8Array, frames: JournalFrame[]): number {
    let at = 0;
    for (;;) {
      const size = this.#unitSize(this.#partial, 0, this.#held);
      // Without a size yet only the fixed header may be gathered, so that a length is checked before room is made for it.
      const wanted = size ?? (this.#headerPending ? FIXED_HEADER_BYTES : FRAME_HEADER_BYTES);
      if (this.#partial.length < wanted) this.#grow(wanted);
      const taken = Math.min(wanted - this.#held, bytes.length - at);
      this.#partial.set(bytes.subarray(at, at + taken), this.#held);
      this.#held += taken;
      at += taken;
      if (this.#held < wanted) return at;
      if (size !== undefined) {
        const unit = this.#partial.subarray(0, size);
        this.#partial = new Uint8Array(0);
        this.#held = 0;
        this.#take(unit, frames);
        return at;
      }
    }
  }

  #grow(size: number): void {
    const larger = new Uint8Array(size);
    larger.set(this.#partial.subarray(0, this.#held));
    this.#partial = larger;
  }

  #hold(rest: Uint8Array, size: number | undefined): void {
    this.#partial = new Uint8Array(Math.max(size ?? 0, FRAME_HEADER_BYTES));
    this.#partial.set(rest);
    this.#held = rest.length;
  }

  /** Length of the frame or header that starts at `at`; undefined while too few bytes are there to tell. */
  #unitSize(bytes: Uint8Array, at: number, end: number): number | undefined {
    if (this.#headerPending) {
      for (let i = 0; i < MAGIC.length && at + i < end; i++) {
        if (bytes[at + i] !== MAGIC.charCodeAt(i)) this.#fail("it does not start with the mark of format v1");
      }
      if (end - at < FIXED_HEADER_BYTES) return undefined;
      const length = ((bytes[at + 8] ?? 0) << 8) | (bytes[at + 9] ?? 0);
      if (length > MAX_ATTEMPT_ID_BYTES)
        this.#fail(`the attempt id has ${length} bytes, more than ${MAX_ATTEMPT_ID_BYTES}`);
      return FIXED_HEADER_BYTES + length;
    }
    if (this.#ended) this.#fail("there are bytes after the end frame");
    if (end - at < FRAME_HEADER_BYTES) return undefined;
    const length = readU32(bytes, at);
    if (length > MAX_FRAME_BYTES) this.#fail(`a frame of ${length} bytes, more than ${MAX_FRAME_BYTES}`);
    return FRAME_HEADER_BYTES + length;
  }

  #take(unit: Uint8Array, frames: JournalFrame[]): void {
    if (this.#headerPending) {
      const id = this.#decoder.decode(unit.subarray(FIXED_HEADER_BYTES));
      if (this.#expectedId !== undefined && id !== this.#expectedId)
        this.#fail("it belongs to another attempt");
      this.#attemptId = id;
      this.#headerPending = false;
      this.#consumed += unit.length;
      return;
    }
    const header = {
      length: unit.length - FRAME_HEADER_BYTES,
      kind: unit[4] ?? 0,
      timeMillis: readMillis(unit, 5),
    };
    const body = this.#body(header, unit.subarray(FRAME_HEADER_BYTES));
    const offset = this.#consumed;
    const end = offset + unit.length;
    frames.push({ offset, end, time: new Date(header.timeMillis), ...body });
    this.#consumed = end;
  }

  #body(header: Header, payload: Uint8Array): FrameBody {
    switch (header.kind) {
      case 1:
        return { kind: "log", stream: "STDOUT", data: payload };
      case 2:
        return { kind: "log", stream: "STDERR", data: payload };
      case 7:
        return { kind: "log", stream: "BUILD", data: payload };
      case 3:
        return this.#accepted(this.#json(payload, "accepted"));
      case 4:
        return this.#stage(this.#json(payload, "stage"));
      case 5:
        return this.#gap(this.#json(payload, "gap"));
      case 6: {
        const ending = this.#ending(this.#json(payload, "end"));
        this.#ended = true;
        return { kind: "end", ending };
      }
      case 8:
        return { kind: "usage", usage: usageSample(this.#json(payload, "usage")) };
      case 9:
        return { kind: "span", data: payload };
      default:
        return { kind: "unknown" };
    }
  }

  #json(payload: Uint8Array, kind: string): Fields {
    if (payload.length > MAX_JSON_BYTES)
      this.#fail(`a frame of kind ${kind} has ${payload.length} bytes, more than ${MAX_JSON_BYTES}`);
    let value: unknown;
    try {
      value = JSON.parse(this.#decoder.decode(payload));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.#fail(`a frame of kind ${kind} holds no JSON`);
    }
    const fields = asFields(value);
    if (fields === undefined) this.#fail(`a frame of kind ${kind} holds no JSON object`);
    return fields;
  }

  #accepted(fields: Fields): FrameBody {
    const attemptId = fields.attempt_id;
    const expected = this.#expectedId ?? this.#attemptId;
    if (typeof attemptId !== "string" || attemptId.length > MAX_ATTEMPT_ID_BYTES)
      this.#fail("an accepted frame names no attempt");
    if (expected !== undefined && attemptId !== expected)
      this.#fail("an accepted frame names another attempt");
    return { kind: "accepted", attemptId };
  }

  #stage(fields: Fields): FrameBody {
    const { stage, event } = fields;
    if (stage !== "stage_in" && stage !== "run" && stage !== "collect")
      this.#fail("a stage frame names no known stage");
    if (event !== "start" && event !== "end") this.#fail("a stage frame is neither start nor end");
    return { kind: "stage", stage, event, note: text(fields.note) };
  }

  #gap(fields: Fields): FrameBody {
    const stream = GAP_STREAMS[text(fields.stream)];
    if (stream === undefined) this.#fail("a gap frame names no known stream");
    return { kind: "gap", stream, bytes: count(fields.bytes) };
  }

  #ending(fields: Fields): RunnerEnd {
    const reason = upper(fields.reason);
    if (!isRunnerReason(reason)) this.#fail("the end frame gives no known reason");
    const usage = asFields(fields.usage) ?? {};
    const artifacts = asFields(fields.artifacts) ?? {};
    const hit = Array.isArray(fields.limits_hit) ? fields.limits_hit.slice(0, 32) : [];
    return {
      reason,
      exitCode: smallNumber(fields.exit_code, 0, 255),
      signal: smallNumber(fields.signal, 1, 64),
      killer: KILLERS[text(fields.killer)] ?? null,
      limit: limitOf(fields.limit),
      limitValue: count(fields.limit_value),
      observedPeak: count(fields.observed_peak),
      process: text(fields.process),
      limitsHit: [...new Set(hit.map(limitOf).filter((limit) => limit !== null))],
      message: text(fields.message),
      cpuMicros: count(usage.cpu_micros),
      peakRamBytes: count(usage.peak_ram_bytes),
      peakStorageBytes: count(usage.peak_storage_bytes),
      peakProcesses: count(usage.peak_processes),
      stdoutBytes: count(usage.stdout_bytes),
      stderrBytes: count(usage.stderr_bytes),
      artifactCount: count(artifacts.count),
      artifactBytes: count(artifacts.bytes),
      artifactsError: text(artifacts.error),
    };
  }

  #fail(message: string): never {
    throw new DamagedJournal(message, this.#consumed);
  }
}

type Fields = Readonly<Record<string, unknown>>;

/** Null prototypes: the keys looked up are the writer's text, and "constructor" must find nothing. */
const GAP_STREAMS: Readonly<Record<string, LogStream>> = Object.assign(Object.create(null), {
  stdout: "STDOUT",
  stderr: "STDERR",
  build: "BUILD",
});

const KILLERS: Readonly<Record<string, "KERNEL" | "RUNNER" | "CLIENT">> = Object.assign(Object.create(null), {
  kernel: "KERNEL",
  runner: "RUNNER",
  client: "CLIENT",
});

const RUNNER_LIMITS: Readonly<Record<string, Limit>> = Object.assign(Object.create(null), {
  cpu: "CPU",
  ram: "RAM",
  storage: "STORAGE",
  inodes: "INODES",
  processes: "PROCESSES",
  open_files: "OPEN_FILES",
  log: "LOG",
  artifacts: "ARTIFACTS",
  run_time: "RUN_TIME",
  total_time: "TOTAL_TIME",
});

/** The server alone may say these. */
const NOT_THE_RUNNERS: readonly ResultReason[] = [
  "DEPENDENCY_FAILED",
  "QUEUE_TIMED_OUT",
  "BUDGET_EXCEEDED",
  "LOST",
];

function isRunnerReason(reason: string): reason is ResultReason {
  return RESULT_REASONS.some((known) => known === reason) && !NOT_THE_RUNNERS.some((not) => not === reason);
}

function asFields(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
}

function text(value: unknown): string {
  return typeof value === "string" ? value.slice(0, MAX_TEXT) : "";
}

function upper(value: unknown): string {
  return text(value).toUpperCase();
}

/** A whole number from 0 to 2^53-1; what is no number counts as 0. */
function count(value: unknown): number {
  if (typeof value !== "number" || !(value > 0)) return 0;
  return Math.min(Math.floor(value), Number.MAX_SAFE_INTEGER);
}

function smallNumber(value: unknown, least: number, most: number): number | null {
  if (typeof value !== "number" || Number.isNaN(value)) return null;
  return Math.min(most, Math.max(least, Math.trunc(value)));
}

function limitOf(value: unknown): Limit | null {
  return RUNNER_LIMITS[text(value)] ?? null;
}

function usageSample(fields: Fields): UsageSample {
  return {
    cpuMicros: count(fields.cpu_micros),
    ramBytes: count(fields.ram_bytes),
    processes: count(fields.processes),
    storageBytes: count(fields.storage_bytes),
  };
}

function readU32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] ?? 0) * 2 ** 24 +
    (((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0))
  );
}

/** The frame's microseconds as milliseconds that a Date can hold. */
function readMillis(bytes: Uint8Array, at: number): number {
  return Math.min((readU32(bytes, at) * TWO_POW_32 + readU32(bytes, at + 4)) / 1000, MAX_DATE_MILLIS);
}
