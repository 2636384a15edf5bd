import type { Terminal } from "./output/terminal.ts";

/** What a person who pressed Ctrl-C wants. */
export type Choice = "detach" | "cancel" | "keep";

/** Turns SIGINT and SIGTERM into a choice: asked for on a terminal, detach elsewhere and when pressed twice. */
export class Interrupts implements Disposable {
  readonly #process: NodeJS.Process;
  readonly #terminal: Terminal;
  readonly #onChoice: (choice: Choice, signal: NodeJS.Signals) => void;
  #asking: Promise<void> | undefined;

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
    this.#process.off("SIGINT", this.#onSignal);
    this.#process.off("SIGTERM", this.#onSignal);
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (signal === "SIGTERM" || !this.#terminal.interactive || this.#asking !== undefined) {
      this.#onChoice("detach", signal);
      return;
    }
    this.#asking = this.#ask().finally(() => {
      this.#asking = undefined;
    });
  };

  async #ask(): Promise<void> {
    for (;;) {
      const question = "detach (task goes on), cancel, or keep watching? [d/c/k]";
      const answer = (await this.#terminal.ask(question)).toLowerCase();
      if (answer === "" || answer === "d") return this.#onChoice("detach", "SIGINT");
      if (answer === "c") return this.#onChoice("cancel", "SIGINT");
      if (answer === "k") return;
    }
  }
}
