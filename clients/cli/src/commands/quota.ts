import { type Quota, quotaToJson } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatBytes, formatTable, printable } from "../output/format.ts";
import { formatMoney } from "../output/money.ts";

export function addQuota(program: Command, context: Context): void {
  program
    .command("quota")
    .summary("what you may have, and how much of it is used")
    .description(
      "Shows the limits of your tenant: what its tasks may hold at once, tasks in the queue, stored bytes, money of this month.",
    )
    .action(async () => {
      const { terminal, client } = context;
      const quotas = await client.quota();
      if (context.json) {
        for (const quota of quotas) await terminal.print(JSON.stringify(quotaToJson(quota)));
        return;
      }
      if (quotas.length === 0) return terminal.note("nothing is limited for you but by what the host has");
      const rows = [["QUOTA", "USED", "OF", "ANEW"], ...quotas.map(rowOf)];
      for (const line of formatTable(rows)) await terminal.print(line);
    });
}

function rowOf({ name, used, allowed, spent, budget, resetTime }: Quota): string[] {
  const label = printable(name).replaceAll("_", " ");
  if (budget !== undefined) {
    const spentSoFar = spent === undefined ? "" : formatMoney(spent);
    return [label, spentSoFar, formatMoney(budget), resetTime?.toISOString().slice(0, 10) ?? ""];
  }
  const show = (value: bigint) => {
    if (name === "cpu") return `${Number(value) / 1000} CPU`;
    return name === "ram" || name === "storage" || name === "stored_bytes"
      ? formatBytes(value)
      : String(value);
  };
  return [label, show(used), show(allowed), ""];
}
