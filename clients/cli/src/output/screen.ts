const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const CLEAR_LINE = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";
/** q, Ctrl-C, Ctrl-D. */
const ENDING_KEYS = ["q", "Q", "\u0003", "\u0004"];

/** The whole terminal for one picture after another, given back as it was; q or Ctrl-C ends the showing. */
export class Screen implements Disposable {
  readonly #process: NodeJS.Process;
  readonly #leave = new AbortController();

  constructor(process: NodeJS.Process) {
    this.#process = process;
    const { stdin, stdout } = process;
    stdin.setRawMode?.(true);
    stdin.on("data", this.#onKey);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, this.#onSignal);
    stdout.write(ENTER);
  }

  /** Aborts when the person at the terminal has seen enough. */
  get left(): AbortSignal {
    return this.#leave.signal;
  }

  /** Some terminals, such as those of recorders, say 0 where they do not know. */
  get rows(): number {
    return this.#process.stdout.rows || 24;
  }

  draw(lines: readonly string[]): void {
    const columns = this.#process.stdout.columns || 80;
    const shown = lines.slice(0, this.rows).map((line) => `${line.slice(0, columns)}${CLEAR_LINE}`);
    this.#process.stdout.write(`${HOME}${shown.join("\r\n")}${CLEAR_BELOW}`);
  }

  [Symbol.dispose](): void {
    const { stdin, stdout } = this.#process;
    stdout.write(LEAVE);
    stdin.off("data", this.#onKey);
    for (const signal of ["SIGINT", "SIGTERM"] as const) this.#process.off(signal, this.#onSignal);
    stdin.setRawMode?.(false);
    stdin.pause();
  }

  readonly #onKey = (bytes: Buffer): void => {
    // In raw mode Ctrl-C is a key like any other.
    if (ENDING_KEYS.some((key) => bytes.includes(key))) this.#leave.abort();
  };

  readonly #onSignal = (): void => this.#leave.abort();
}
