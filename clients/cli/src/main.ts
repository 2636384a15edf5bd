import { Command, CommanderError, Help, type Option } from "commander";
import { addArtifacts } from "./commands/artifacts.ts";
import { addAudit } from "./commands/audit.ts";
import { addBlobs } from "./commands/blobs.ts";
import { addCapabilities } from "./commands/capabilities.ts";
import { addCancel, addRerun, addRm } from "./commands/change.ts";
import { addDescribe } from "./commands/describe.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addLogs } from "./commands/logs.ts";
import { addQuota } from "./commands/quota.ts";
import { addGet, addPs } from "./commands/records.ts";
import { addRun } from "./commands/run.ts";
import { addToken } from "./commands/token.ts";
import { addTop } from "./commands/top.ts";
import { addUsage } from "./commands/usage.ts";
import { addWebhook } from "./commands/webhook.ts";
import { addWhoami } from "./commands/whoami.ts";
import { Context, DEFAULT_SERVER, type GlobalOptions } from "./context.ts";
import { EXIT, exitCodeOfError } from "./exit-codes.ts";
import { describeError, errorToJson } from "./output/errors.ts";
import { OutputClosed } from "./output/terminal.ts";

/** Runs one command line and answers the exit code; nothing is thrown. */
export async function main(process: NodeJS.Process, version: string): Promise<number> {
  const context = new Context(process);
  try {
    const argv = process.argv.slice(2);
    await createProgram(context, version, argv).parseAsync(argv, { from: "user" });
    return context.exitCode;
  } catch (error) {
    return await report(context, error);
  } finally {
    await context[Symbol.asyncDispose]();
  }
}

function createProgram(context: Context, version: string, argv: readonly string[]): Command {
  const separator = argv.indexOf("--");
  const rest = separator < 0 ? [] : argv.slice(separator + 1);
  const program = new Command("longshore")
    .description("Runs code in a sandbox of its own and shows live what it does.")
    .version(version, "-V, --version")
    .option("--server <address>", `server to talk to (LONGSHORE_SERVER, else ${DEFAULT_SERVER})`)
    .option(
      "--token-file <path>",
      "file with the token to show (LONGSHORE_TOKEN_FILE; the token: LONGSHORE_TOKEN)",
    )
    .option("--tls", "encrypt, and trust the usual authorities (LONGSHORE_TLS=true)")
    .option("--tls-ca <path>", "encrypt, and trust the authorities in this PEM file (LONGSHORE_TLS_CA)")
    .option("--tls-cert <path>", "own certificate, where the server asks for one (LONGSHORE_TLS_CLIENT_CERT)")
    .option("--tls-key <path>", "its key (LONGSHORE_TLS_CLIENT_KEY)")
    .option("--json", "one JSON object per line instead of text")
    .option("-q, --quiet", "ids only; of run the task's own output only")
    .showHelpAfterError("(longshore --help, or longshore COMMAND --help)")
    .configureHelp({ showGlobalOptions: true, optionDescription })
    .exitOverride();
  program.hook("preAction", (_, command) => context.configure(command.optsWithGlobals<GlobalOptions>()));
  addRun(program, context, rest);
  addLogs(program, context);
  addPs(program, context);
  addGet(program, context);
  addDescribe(program, context);
  addTop(program, context);
  addCancel(program, context);
  addRerun(program, context);
  addRm(program, context);
  addArtifacts(program, context);
  addBlobs(program, context);
  addUsage(program, context);
  addQuota(program, context);
  addCapabilities(program, context);
  addDoctor(program, context);
  addToken(program, context);
  addAudit(program, context);
  addWebhook(program, context);
  addWhoami(program, context);
  return program;
}

/** Options that may be repeated begin as an empty list, which says nothing to anybody. */
function optionDescription(option: Option): string {
  const { defaultValue, description } = option;
  const empty = Array.isArray(defaultValue) && defaultValue.length === 0;
  return empty ? description : new Help().optionDescription(option);
}

async function report(context: Context, error: unknown): Promise<number> {
  // Commander has said what there is to say.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof OutputClosed) return EXIT.outputClosed;
  const { terminal, server } = context;
  if (context.json) terminal.note(JSON.stringify(errorToJson(error)));
  else for (const line of describeError(error, server)) terminal.note(line);
  if (context.process.env.LONGSHORE_DEBUG !== undefined && error instanceof Error)
    terminal.note(error.stack ?? "");
  return exitCodeOfError(error);
}
