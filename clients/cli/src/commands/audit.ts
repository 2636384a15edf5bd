import { auditEventToJson } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { UsageError } from "../usage-error.ts";

interface ExportFlags {
  readonly since?: string;
  readonly until?: string;
  readonly tenant?: string;
}

export function addAudit(program: Command, context: Context): void {
  program
    .command("audit")
    .summary("who did what")
    .command("export")
    .summary("print the audit log, one JSON object per line, oldest first")
    .option("--since <time>", "at or after this time, such as 2026-01-31 or 2026-01-31T12:00:00Z")
    .option("--until <time>", "before this time")
    .option("--tenant <name>", "only of this tenant")
    .action((flags: ExportFlags) => exportAudit(context, flags));
}

async function exportAudit(context: Context, flags: ExportFlags): Promise<void> {
  const since = readTime("--since", flags.since);
  const until = readTime("--until", flags.until);
  const { tenant } = flags;
  for await (const event of context.client.access.auditEvents({ since, until, tenant, pageSize: 1000 })) {
    await context.terminal.print(JSON.stringify(auditEventToJson(event)));
  }
}

function readTime(flag: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const time = new Date(text);
  if (!Number.isNaN(time.getTime())) return time;
  throw new UsageError(`${flag} "${text}" is not a time such as 2026-01-31 or 2026-01-31T12:00:00Z`);
}
