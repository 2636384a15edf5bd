import { Longshore } from "@longshore/client";
import { Terminal } from "./output/terminal.ts";

export interface GlobalOptions {
  readonly server?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export const DEFAULT_SERVER = "127.0.0.1:50051";

/** What every command works with. */
export class Context implements AsyncDisposable {
  readonly process: NodeJS.Process;
  readonly terminal: Terminal;
  server: string = DEFAULT_SERVER;
  json = false;
  quiet = false;
  /** What the command ends with; a command that says nothing has succeeded. */
  exitCode = 0;
  #client: Longshore | undefined;

  constructor(process: NodeJS.Process) {
    this.process = process;
    this.terminal = new Terminal(process);
  }

  configure(options: GlobalOptions): void {
    const { LONGSHORE_SERVER = "" } = this.process.env;
    this.server = options.server ?? (LONGSHORE_SERVER === "" ? DEFAULT_SERVER : LONGSHORE_SERVER);
    this.json = options.json === true;
    this.quiet = options.quiet === true;
  }

  get client(): Longshore {
    this.#client ??= new Longshore(this.server);
    return this.#client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]();
  }
}
