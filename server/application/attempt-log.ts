import type { JournalFrame } from "../domain/journal.ts";
import { TailBuffer } from "../domain/tail-buffer.ts";
import type { OutputFacts } from "../domain/verdict.ts";

const TAIL_BYTES = 4096;

/** The tails and totals of an attempt's streams, as the server itself read them. */
export class AttemptLog {
  readonly #stdout = new TailBuffer(TAIL_BYTES);
  readonly #stderr = new TailBuffer(TAIL_BYTES);

  take(frame: JournalFrame): void {
    if (frame.kind === "log" && frame.stream !== "BUILD") this.#buffer(frame.stream).push(frame.data);
    if (frame.kind === "gap" && frame.stream !== "BUILD") this.#buffer(frame.stream).skip(frame.bytes);
  }

  get bytes(): number {
    return this.#stdout.totalBytes + this.#stderr.totalBytes;
  }

  facts(): OutputFacts {
    return {
      stdoutTail: this.#stdout.text(),
      stderrTail: this.#stderr.text(),
      stdoutBytes: this.#stdout.totalBytes,
      stderrBytes: this.#stderr.totalBytes,
    };
  }

  #buffer(stream: "STDOUT" | "STDERR"): TailBuffer {
    return stream === "STDOUT" ? this.#stdout : this.#stderr;
  }
}
