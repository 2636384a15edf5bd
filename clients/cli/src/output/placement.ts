import type { TaskRecord } from "@longshore/client";
import { printable } from "./format.ts";

/** Where it runs and as what, as far as that was asked for; undefined where it was left to the server. */
export function describePlacement({ spec, attempts }: TaskRecord): string | undefined {
  const { engine = "", account = "", partition = "", instanceType = "" } = spec?.placement ?? {};
  const ranOn = attempts.at(-1)?.engine ?? "";
  const facts: readonly (readonly [label: string, value: string])[] = [
    ["engine", ranOn === "" || ranOn === engine || engine === "" ? engine : `${engine} (${ranOn})`],
    ["account", account],
    ["partition", partition],
    ["instance type", instanceType],
    ["image", spec?.image ?? ""],
  ];
  const asked = facts.filter(([, value]) => value !== "");
  if (asked.length === 0) return undefined;
  return asked.map(([label, value]) => `${label} ${printable(value)}`).join(" · ");
}

/** Its name, and the page of the latest attempt's run. */
export function describeExperiment({ spec, attempts }: TaskRecord): string | undefined {
  if (spec?.experiment === undefined) return undefined;
  const { name, trackingUri } = spec.experiment;
  const run = attempts.at(-1)?.experimentRun?.url ?? "";
  return `${printable(name)} at ${printable(trackingUri)}${run === "" ? "" : ` · run ${printable(run)}`}`;
}
