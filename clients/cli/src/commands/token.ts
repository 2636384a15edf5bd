import { type TokenRecord, tokenToJson } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatTable, printable } from "../output/format.ts";
import { UsageError } from "../usage-error.ts";

interface CreateFlags {
  readonly scope: readonly string[];
  readonly subject?: string;
  readonly tenant?: string;
  readonly description?: string;
  readonly lifetime?: string;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  ...value.split(","),
];

const SCOPES_HELP = `
Scopes, none of which implies another:
  tasks:read   read, list and watch tasks, fetch what they left
  tasks:write  create, run, rerun, cancel and delete tasks
  blobs        upload and download
  usage        what was used and what it costs
  admin        tokens, webhooks and the audit log of the own tenant
  operator     those of every tenant, and what the server as a whole did`;

export function addToken(program: Command, context: Context): void {
  const token = program.command("token").summary("make, list and revoke tokens");
  token
    .command("create")
    .summary("make a token and print it, the only time that it is shown")
    .option("-s, --scope <scope>", "what it may do (repeatable, or with commas)", collect, [])
    .option("--subject <name>", "who uses it (default: you)")
    .option("--tenant <name>", "whose tasks it reaches (default: yours)")
    .option("--description <text>", "what it is for")
    .option(
      "--lifetime <duration>",
      "until it ends by itself, such as 12h or 365d (default of the server: 90d)",
    )
    .addHelpText("after", SCOPES_HELP)
    .action((flags: CreateFlags) => createToken(context, flags));
  token
    .command("list")
    .summary("list tokens")
    .description("Lists tokens, newest first, without their secrets.")
    .option("-a, --all", "revoked and expired ones too")
    .option("--tenant <name>", "only of this tenant")
    .action((flags: { all?: boolean; tenant?: string }) => listTokens(context, flags));
  token
    .command("revoke")
    .summary("take tokens back")
    .description("Refuses calls with these tokens from now on and ends the streams they opened. Tasks go on.")
    .argument("<ids...>", "ids, as token list shows them; never the tokens themselves")
    .action((ids: string[]) => revokeTokens(context, ids));
}

async function createToken(context: Context, flags: CreateFlags): Promise<void> {
  const { terminal, client } = context;
  const { scope: scopes, ...rest } = flags;
  const { token, secret } = await client.access.createToken({ ...rest, scopes });
  if (context.json) return terminal.print(JSON.stringify({ token: tokenToJson(token), secret }));
  if (!context.quiet) {
    terminal.note(`token ${token.id}  ${describe(token)}`);
    terminal.note("this is the only time that it is shown; give it to clients as LONGSHORE_TOKEN:");
  }
  await terminal.print(secret);
}

async function listTokens(context: Context, flags: { all?: boolean; tenant?: string }): Promise<void> {
  const { terminal, client } = context;
  const rows = [["ID", "TENANT", "SUBJECT", "SCOPES", "STATE", "DESCRIPTION"]];
  for await (const token of client.access.tokens({ tenant: flags.tenant, pageSize: 1000 })) {
    if (flags.all !== true && stateOf(token) !== "good") continue;
    if (context.json) await terminal.print(JSON.stringify(tokenToJson(token)));
    else if (context.quiet) await terminal.print(token.id);
    else rows.push(rowOf(token));
  }
  if (context.json || context.quiet) return;
  if (rows.length === 1) return terminal.note("no tokens");
  for (const line of formatTable(rows)) await terminal.print(line);
}

async function revokeTokens(context: Context, ids: readonly string[]): Promise<void> {
  const { terminal, client } = context;
  if (ids.some((id) => id.startsWith("lsh_")))
    throw new UsageError("tokens are revoked by their id, the part between lsh_ and the next _");
  for (const id of new Set(ids)) {
    const token = await client.access.revokeToken(id);
    const line = context.json ? JSON.stringify(tokenToJson(token)) : context.quiet ? id : `revoked ${id}`;
    await terminal.print(line);
  }
}

function rowOf(token: TokenRecord): string[] {
  const until = token.expireTime === undefined ? "" : ` until ${token.expireTime.toISOString().slice(0, 10)}`;
  const state = stateOf(token);
  return [
    token.id,
    printable(token.tenant),
    printable(token.subject),
    token.scopes.join(","),
    state === "good" ? `good${until}` : state,
    printable(token.description),
  ];
}

function stateOf({ revokeTime, expireTime }: TokenRecord): "good" | "revoked" | "expired" {
  if (revokeTime !== undefined) return "revoked";
  return expireTime !== undefined && expireTime.getTime() <= Date.now() ? "expired" : "good";
}

function describe({ tenant, subject, scopes, expireTime }: TokenRecord): string {
  const until = expireTime === undefined ? "" : ` until ${expireTime.toISOString()}`;
  return `${printable(subject)} of ${printable(tenant)}: ${scopes.join(", ")}${until}`;
}
