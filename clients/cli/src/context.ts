import { Longshore, type LongshoreOptions, optionsFromEnvironment } from "@longshore/client";
import { Terminal } from "./output/terminal.ts";

export interface GlobalOptions {
  readonly server?: string;
  readonly tokenFile?: string;
  readonly tls?: boolean;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
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
  #options: () => LongshoreOptions = () => ({});

  constructor(process: NodeJS.Process) {
    this.process = process;
    this.terminal = new Terminal(process);
  }

  configure(options: GlobalOptions): void {
    const { LONGSHORE_SERVER = "" } = this.process.env;
    this.server = options.server ?? (LONGSHORE_SERVER === "" ? DEFAULT_SERVER : LONGSHORE_SERVER);
    const { env } = this.process;
    this.#options = () => optionsFromEnvironment(connectionVariables(env, options), flagNames(options));
    this.json = options.json === true;
    this.quiet = options.quiet === true;
  }

  get client(): Longshore {
    this.#client ??= new Longshore(this.server, this.#options());
    return this.#client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]();
  }
}

/** What people typed is what they are told of. */
function flagNames({ tlsCa, tlsCert, tlsKey }: GlobalOptions): Parameters<typeof optionsFromEnvironment>[1] {
  return {
    ...(tlsCa !== undefined && { LONGSHORE_TLS_CA: "--tls-ca" }),
    ...(tlsCert !== undefined && { LONGSHORE_TLS_CLIENT_CERT: "--tls-cert" }),
    ...(tlsKey !== undefined && { LONGSHORE_TLS_CLIENT_KEY: "--tls-key" }),
  };
}

/** What is given on the command line wins over the environment; a token file over a token, too. */
function connectionVariables(env: NodeJS.ProcessEnv, options: GlobalOptions): NodeJS.ProcessEnv {
  const { tokenFile, tls, tlsCa, tlsCert, tlsKey } = options;
  return {
    ...env,
    ...(tokenFile !== undefined && { LONGSHORE_TOKEN: "", LONGSHORE_TOKEN_FILE: tokenFile }),
    ...(tls === true && { LONGSHORE_TLS: "true" }),
    ...(tlsCa !== undefined && { LONGSHORE_TLS_CA: tlsCa }),
    ...(tlsCert !== undefined && { LONGSHORE_TLS_CLIENT_CERT: tlsCert }),
    ...(tlsKey !== undefined && { LONGSHORE_TLS_CLIENT_KEY: tlsKey }),
  };
}
