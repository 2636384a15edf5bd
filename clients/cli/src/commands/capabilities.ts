import {
  type Capabilities,
  capabilitiesToJson,
  durationToMillis,
  type Engine,
  isolationName,
  levelName,
  limitName,
  networkName,
} from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatBytes, formatMillis, formatTable, printable } from "../output/format.ts";
import { describeResources } from "../output/summary.ts";

export function addCapabilities(program: Command, context: Context): void {
  program
    .command("capabilities")
    .summary("what the server can do, and how well each limit holds")
    .description("Shows engines, isolation tiers, every limit with what holds it, defaults and sizes.")
    .action(async () => {
      const { terminal, client } = context;
      const capabilities = await client.capabilities();
      if (context.json) return terminal.print(JSON.stringify(capabilitiesToJson(capabilities)));
      for (const line of describe(capabilities)) await terminal.print(line);
    });
}

function describe(capabilities: Capabilities): string[] {
  const { defaultResources, defaultTimeout, maxTimeout } = capabilities;
  const rows: string[][] = [["version", printable(capabilities.version)]];
  if (defaultResources !== undefined) rows.push(["default", describeResources(defaultResources)]);
  if (defaultTimeout !== undefined) {
    const most = maxTimeout === undefined ? "" : `, at most ${formatMillis(durationToMillis(maxTimeout))}`;
    rows.push(["timeout", `${formatMillis(durationToMillis(defaultTimeout))}${most}`]);
  }
  if (capabilities.maxCodeBytes > 0n)
    rows.push(["snippet", `at most ${formatBytes(capabilities.maxCodeBytes)}`]);
  if (capabilities.maxUploadBytes > 0n)
    rows.push(["upload", `at most ${formatBytes(capabilities.maxUploadBytes)}`]);
  if (capabilities.archiveFormats.length > 0)
    rows.push([
      "archives",
      printable(capabilities.archiveFormats.join(", ").toLowerCase().replaceAll("_", ".")),
    ]);
  if (capabilities.allowedImages.length > 0)
    rows.push(["images", printable(capabilities.allowedImages.join(", "))]);
  if (capabilities.imageAliases.length > 0)
    rows.push(["image names", printable(capabilities.imageAliases.join(", "))]);
  for (const [name, resources] of Object.entries(capabilities.instanceTypes))
    rows.push(["instance type", `${printable(name)}  ${printable(describeInstanceType(resources))}`]);
  const { environments } = capabilities;
  if (environments !== undefined) rows.push(["packages", printable(describePackages(environments))]);
  return [...formatTable(rows), ...capabilities.engines.flatMap(describeEngine)];
}

function describeInstanceType({ cpu, ram, storage, gpu }: Capabilities["instanceTypes"][string]): string {
  const parts = [
    [cpu, "CPU"],
    [ram, "RAM"],
    [storage, "disk"],
    [gpu, "GPU"],
  ];
  return parts.flatMap(([amount, unit]) => (amount === "" ? [] : [`${amount} ${unit}`])).join(" · ");
}

function describePackages(support: NonNullable<Capabilities["environments"]>): string {
  const { unsupported, installer, sources, addresses, resources } = support;
  if (unsupported !== "") return `not offered: ${unsupported}`;
  const kinds = sources ? "wheels and source" : "wheels";
  const most = resources === undefined ? "" : `, at most ${formatBytes(resources.storageBytes)}`;
  return `${kinds}${addresses ? ", also from addresses" : ""}, by ${installer}${most}`;
}

function describeEngine(engine: Engine): string[] {
  const lines = [
    "",
    `engine ${printable(engine.name)}  ${printable([engine.kind, engine.version].join(" ").trim())}`,
  ];
  if (engine.unavailable !== "") lines.push(`  away          ${printable(engine.unavailable)}`);
  // One that has told nothing of itself yet.
  if (engine.tiers.length === 0) return lines;
  if (engine.largestTask !== undefined)
    lines.push(`  largest task  ${describeResources(engine.largestTask)}`);
  if (engine.gpuModels.length > 0) lines.push(`  GPUs          ${printable(engine.gpuModels.join(", "))}`);
  if (engine.aliases.length > 0) lines.push(`  other names   ${printable(engine.aliases.join(", "))}`);
  for (const { name, whyNot } of engine.trackingServers)
    lines.push(`  tracking      ${printable(whyNot === "" ? name : `${name}: not reached, ${whyNot}`)}`);
  for (const tier of engine.tiers) {
    const networks = tier.networks.map(networkName).join(", ");
    lines.push("", `  ${isolationName(tier.isolation)}  ${printable(tier.runtime)}  network: ${networks}`);
    const rows = tier.limits.map(({ limit, level, mechanism, advice }) => [
      `    ${limitName(limit)}`,
      levelName(level),
      [mechanism, advice]
        .filter((text) => text !== "")
        .map(printable)
        .join("; "),
    ]);
    lines.push(...formatTable(rows));
  }
  return lines;
}
