import { styleText } from "node:util";

/** Nobody reads the output any more. */
export class OutputClosed extends Error {
  constructor() {
    super("the output was closed");
    this.name = "OutputClosed";
  }
}

type Style = Parameters<typeof styleText>[0];

/** Standard output and standard error: bytes at the pace of whoever reads them, colour where it is wanted. */
export class Terminal {
  readonly #process: NodeJS.Process;
  readonly #colour: boolean;
  /** The last byte that the task wrote to a stream which shares the screen with ours. */
  #lineOpen = false;
  #closed = false;
  #statusShown = false;

  constructor(process: NodeJS.Process) {
    this.#process = process;
    const { NO_COLOR = "", TERM } = process.env;
    this.#colour = process.stderr.isTTY === true && NO_COLOR === "" && TERM !== "dumb";
    const { stdout, stderr } = process;
    // Both also reach the callback of the write that failed.
    stdout.on("error", () => {
      this.#closed = true;
    });
    stderr.on("error", () => undefined);
  }

  /** A person sits there: questions can be asked and lines rewritten. */
  get interactive(): boolean {
    return this.#process.stdin.isTTY === true && this.#process.stderr.isTTY === true;
  }

  get rewritable(): boolean {
    return this.#process.stderr.isTTY === true && this.#process.env.TERM !== "dumb";
  }

  style(style: Style, text: string): string {
    return this.#colour ? styleText(style, text, { validateStream: false }) : text;
  }

  /** Bytes of the task, untouched. Settles when they are out of our hands. */
  async passOn(stream: "stdout" | "stderr", bytes: Uint8Array): Promise<void> {
    this.#clearStatus();
    if (this.#process[stream].isTTY === true && bytes.length > 0) this.#lineOpen = bytes.at(-1) !== 10;
    await this.#write(stream, bytes);
  }

  /** A line of ours to standard output: what was asked for. */
  async print(line: string): Promise<void> {
    this.#clearStatus();
    await this.#write("stdout", `${line}\n`);
  }

  /** A line of ours to standard error: how things go. */
  note(line: string): void {
    this.#clearStatus();
    const lead = this.#lineOpen && this.#process.stderr.isTTY === true ? "\n" : "";
    this.#lineOpen = false;
    this.#process.stderr.write(`${lead}${line}\n`);
  }

  /** A line that the next one replaces; only on a terminal. */
  status(line: string): void {
    if (!this.rewritable) return;
    this.#process.stderr.write(`\r\u001b[K${line}`);
    this.#statusShown = true;
  }

  /** Asks for one key. Ctrl-C, the end of the input and a question that is withdrawn answer "". */
  async ask(question: string, withdrawn: AbortSignal): Promise<string> {
    const { stdin, stderr } = this.#process;
    this.#clearStatus();
    // Before the question is seen: what is typed at once must count as the answer.
    stdin.setRawMode?.(true);
    stderr.write(`${this.#lineOpen ? "\n" : ""}${question} `);
    this.#lineOpen = false;
    try {
      const key = await readKey(stdin, withdrawn);
      const answer = key === "\u0003" || key === "\u0004" ? "" : key;
      stderr.write(`${/^[a-z]$/i.test(answer) ? answer : ""}\n`);
      return answer;
    } finally {
      stdin.setRawMode?.(false);
      stdin.pause();
    }
  }

  #clearStatus(): void {
    if (!this.#statusShown) return;
    this.#statusShown = false;
    this.#process.stderr.write("\r\u001b[K");
  }

  #write(stream: "stdout" | "stderr", data: Uint8Array | string): Promise<void> {
    if (stream === "stdout" && this.#closed) return Promise.reject(new OutputClosed());
    return new Promise((resolve, reject) => {
      this.#process[stream].write(data, (error) => {
        if (error === null || error === undefined || stream === "stderr") resolve();
        else reject("code" in error && error.code === "EPIPE" ? new OutputClosed() : error);
      });
    });
  }
}

/** The next thing typed; "" when there will be none. */
function readKey(stdin: NodeJS.ReadStream, withdrawn: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    const done = (text: string) => {
      stdin.off("data", onData);
      stdin.off("end", onNothing);
      withdrawn.removeEventListener("abort", onNothing);
      resolve(text);
    };
    const onData = (bytes: Buffer) => done(bytes.toString());
    const onNothing = () => done("");
    stdin.on("data", onData);
    stdin.on("end", onNothing);
    withdrawn.addEventListener("abort", onNothing, { once: true });
    stdin.resume();
    if (withdrawn.aborted) onNothing();
  });
}
