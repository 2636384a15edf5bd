import { callerToJson } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { printable } from "../output/format.ts";

export function addWhoami(program: Command, context: Context): void {
  program
    .command("whoami")
    .summary("whom the server takes you for")
    .action(async () => {
      const caller = await context.client.access.caller();
      if (context.json) return context.terminal.print(JSON.stringify(callerToJson(caller)));
      if (context.quiet) return context.terminal.print(printable(caller.subject));
      const { tenant, subject, scopes, credential, expireTime } = caller;
      const until = expireTime === undefined ? "" : ` until ${expireTime.toISOString()}`;
      await context.terminal.print(
        `${printable(subject)} of ${printable(tenant)}, by ${printable(credential)}${until}: ${scopes.join(", ")}`,
      );
    });
}
