import type { Terminal } from "./output/terminal.ts";

/** What a person who pressed Ctrl-C wants. */
export type Choice = "detach" | "cancel" | "keep";

/** Turns SIGINT and SIGTERM into a choice: asked for on a terminal, detach elsewhere and when pressed twice. */
export class Interrupts implements Disposable {
  readonly #process: NodeJS.Process;
  readonly #terminal: Terminal;
  readonly #onChoice: (choice: Choice, signal: NodeJS.Signals) => void;
  #asking: Promise<void> | undefined;
  #question: AbortController | undefined;

  constructor(
    process: NodeJS.Process,
    terminal: Terminal,
    onChoice: (choice: Choice, signal: NodeJS.Signals) => void,
  ) {
    this.#process = process;
    this.#terminal = terminal;
    this.#onChoice = onChoice;
    process.on("SIGINT", this.#onSignal);
    process.on("SIGTERM", this.#onSignal);
  }

  /** Settles when no question is open: output would bury it. */
  async quiet(): Promise<void> {
    await this.#asking;
  }

  [Symbol.dispose](): void {
    this.#question?.abort();
    this.#process.off("SIGINT", this.#onSignal);
    this.#process.off("SIGTERM", this.#onSignal);
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (signal === "SIGTERM" || !this.#terminal.interactive || this.#question !== undefined) {
      this.#question?.abort();
      this.#onChoice("detach", signal);
      return;
    }
    const question = new AbortController();
    this.#question = question;
    this.#asking = this.#ask(question.signal).finally(() => {
      this.#question = undefined;
    });
  };

  async #ask(withdrawn: AbortSignal): Promise<void> {
    while (!withdrawn.aborted) {
      const question = "detach (task goes on), cancel, or keep watching? [d/c/k]";
      const answer = (await this.#terminal.ask(question, withdrawn)).toLowerCase();
      if (withdrawn.aborted || answer === "k") return;
      if (answer === "" || answer === "d") return this.#onChoice("detach", "SIGINT");
      if (answer === "c") return this.#onChoice("cancel", "SIGINT");
    }
  }
}
