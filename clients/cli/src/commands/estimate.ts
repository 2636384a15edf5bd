import { durationToMillis, estimateToJson, type Source, type TaskOptions } from "@longshore/client";
import type { Context } from "../context.ts";
import { formatMillis } from "../output/format.ts";
import { formatMoney } from "../output/money.ts";
import { statusLine } from "../output/status-line.ts";
import { describeResources } from "../output/summary.ts";

/** What `run --estimate` shows in place of running: what the task would hold, and the most it can cost. */
export async function showEstimate(context: Context, source: Source, options: TaskOptions): Promise<void> {
  const { terminal, client } = context;
  const given = typeof source === "object" ? source : {};
  const estimate = await client.estimate({ ...options, ...given });
  if (context.json) return terminal.print(JSON.stringify(estimateToJson(estimate)));
  const { resources, longestTime, most, expectedTime, expected } = estimate;
  if (resources !== undefined) await terminal.print(statusLine("holds", describeResources(resources)));
  const longest = formatMillis(durationToMillis(longestTime));
  const atMost = most === undefined ? "nothing has a price on this server" : formatMoney(most);
  await terminal.print(statusLine("at most", `${atMost}  for ${longest}`));
  if (expectedTime === undefined) return;
  const likely = expected === undefined ? "" : `${formatMoney(expected)}  `;
  await terminal.print(
    statusLine("expected", `${likely}for ${formatMillis(durationToMillis(expectedTime))}`),
  );
}
