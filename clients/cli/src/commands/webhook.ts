import {
  type DeliveriesOptions,
  type DeliveryRecord,
  deliveryStateName,
  deliveryToJson,
  stateName,
  type WebhookRecord,
  webhookToJson,
} from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatTable, printable } from "../output/format.ts";
import { UsageError } from "../usage-error.ts";

interface DeliveryFlags {
  readonly webhook?: string;
  readonly task?: string;
  readonly state: readonly string[];
  readonly limit: string;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [
  ...before,
  ...value.split(","),
];
const SECRET_NOTE =
  "this is the only time that the signing secret is shown; receivers check signatures with it:";

export function addWebhook(program: Command, context: Context): void {
  const webhook = program.command("webhook").summary("have others told of what becomes of tasks");
  webhook
    .command("create")
    .summary("tell an address of every task from now on")
    .argument("<url>", "https address that gets a signed POST, or mailto:NAME@DOMAIN")
    .option("-s, --state <state>", "states to tell of (repeatable; default: the last ones)", collect, [])
    .option("--description <text>", "what it is for")
    .action((url: string, flags: { state: readonly string[]; description?: string }) =>
      createWebhook(context, url, flags),
    );
  webhook
    .command("list")
    .summary("list the addresses, and since when nothing has arrived")
    .action(() => listWebhooks(context));
  webhook
    .command("delete")
    .summary("tell these addresses nothing more")
    .argument("<ids...>", "ids, as webhook list shows them")
    .action((ids: string[]) => deleteWebhooks(context, ids));
  webhook
    .command("rotate")
    .summary("make a new signing secret and print it, the only time that it is shown")
    .option("--overlap <duration>", "how long the one before signs, too (default: 24h; 0s after a leak)")
    .action((flags: { overlap?: string }) => rotateSecret(context, flags));
  webhook
    .command("deliveries")
    .summary("what was sent and what is still to be, newest first")
    .option("--webhook <id>", "only to this address")
    .option("--task <id>", "only of this task")
    .option("-s, --state <state>", "only pending, delivered or failed (repeatable)", collect, [])
    .option("--limit <number>", "at most so many", "50")
    .action((flags: DeliveryFlags) => listDeliveries(context, flags));
  webhook
    .command("redeliver")
    .summary("send again, with the same webhook-id")
    .argument("<ids...>", "ids, as webhook deliveries shows them")
    .action((ids: string[]) => redeliver(context, ids));
}

async function createWebhook(
  context: Context,
  url: string,
  { state: states, description }: { readonly state: readonly string[]; readonly description?: string },
): Promise<void> {
  const { terminal, client } = context;
  const { webhook, secret } = await client.webhooks.create({ url, states, description });
  if (context.json) return terminal.print(JSON.stringify({ webhook: webhookToJson(webhook), secret }));
  if (context.quiet) return terminal.print(webhook.id);
  terminal.note(`webhook ${webhook.id}  ${printable(webhook.url)}`);
  if (secret === "") return;
  terminal.note(SECRET_NOTE);
  await terminal.print(secret);
}

async function listWebhooks(context: Context): Promise<void> {
  const { terminal, client } = context;
  const rows = [["ID", "URL", "STATES", "STATE", "DESCRIPTION"]];
  for await (const webhook of client.webhooks.list()) {
    if (context.json) await terminal.print(JSON.stringify(webhookToJson(webhook)));
    else if (context.quiet) await terminal.print(webhook.id);
    else rows.push(rowOf(webhook));
  }
  if (context.json || context.quiet) return;
  if (rows.length === 1) return terminal.note("no webhooks; longshore webhook create makes one");
  for (const line of formatTable(rows)) await terminal.print(line);
}

async function deleteWebhooks(context: Context, ids: readonly string[]): Promise<void> {
  for (const id of new Set(ids)) {
    await context.client.webhooks.delete(id);
    await context.terminal.print(context.quiet || context.json ? id : `deleted ${id}`);
  }
}

async function rotateSecret(context: Context, { overlap }: { readonly overlap?: string }): Promise<void> {
  const { terminal, client } = context;
  const { secret, previousExpireTime } = await client.webhooks.rotateSecret({ overlap });
  if (context.json) return terminal.print(JSON.stringify({ secret, previousExpireTime }));
  if (!context.quiet) {
    if (previousExpireTime !== undefined)
      terminal.note(`the one before signs beside it until ${previousExpireTime.toISOString()}`);
    terminal.note(SECRET_NOTE);
  }
  await terminal.print(secret);
}

async function listDeliveries(context: Context, flags: DeliveryFlags): Promise<void> {
  const { terminal, client } = context;
  const most = Number(flags.limit);
  if (!Number.isInteger(most) || most < 1) throw new UsageError(`--limit "${flags.limit}" is not a count`);
  const options: DeliveriesOptions = {
    webhookId: flags.webhook,
    taskId: flags.task,
    // Other words are refused by the client, which lists the right ones.
    states: flags.state as DeliveriesOptions["states"],
    pageSize: Math.min(most, 1000),
  };
  const rows = [["ID", "TASK", "TOLD", "STATE", "TRIES", "URL", "WHY"]];
  let count = 0;
  for await (const delivery of client.webhooks.deliveries(options)) {
    if (++count > most) break;
    if (context.json) await terminal.print(JSON.stringify(deliveryToJson(delivery)));
    else if (context.quiet) await terminal.print(delivery.id);
    else rows.push(deliveryRow(delivery));
  }
  if (context.json || context.quiet) return;
  if (rows.length === 1) return terminal.note("no deliveries");
  for (const line of formatTable(rows)) await terminal.print(line);
}

async function redeliver(context: Context, ids: readonly string[]): Promise<void> {
  const { terminal, client } = context;
  for (const id of new Set(ids)) {
    const delivery = await client.webhooks.redeliver(id);
    if (context.json) await terminal.print(JSON.stringify(deliveryToJson(delivery)));
    else await terminal.print(context.quiet ? id : `sending ${id} again`);
  }
}

function rowOf(webhook: WebhookRecord): string[] {
  const { disableTime, disableReason, failingSince } = webhook;
  const failing = failingSince === undefined ? "good" : `failing since ${failingSince.toISOString()}`;
  return [
    webhook.id,
    printable(webhook.url),
    webhook.states.map(stateName).join(",") || "the last ones",
    disableTime === undefined ? failing : `off: ${printable(disableReason)}`,
    printable(webhook.description),
  ];
}

function deliveryRow(delivery: DeliveryRecord): string[] {
  const { nextTryTime, tries } = delivery;
  const next = nextTryTime === undefined || tries === 0 ? "" : `; again at ${nextTryTime.toISOString()}`;
  return [
    delivery.id,
    delivery.taskId,
    stateName(delivery.taskState),
    deliveryStateName(delivery.state),
    String(tries),
    printable(delivery.url),
    delivery.lastError === "" ? "" : `${printable(delivery.lastError)}${next}`,
  ];
}
