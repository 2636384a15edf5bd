import { join } from "node:path";
import { type Artifact, artifactToJson, NotFound } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatBytes, formatTable, printable } from "../output/format.ts";
import { statusLine } from "../output/status-line.ts";

interface ArtifactFlags {
  readonly get: readonly string[];
  readonly all?: boolean;
  readonly out: string;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export function addArtifacts(program: Command, context: Context): void {
  program
    .command("artifacts")
    .summary("list or fetch the files that a task left behind")
    .description(
      "Lists the files that a task left behind (those that --out named), or fetches them with --get or --all.",
    )
    .argument("<id>", "the task")
    .option("-g, --get <path>", "fetch this one (repeatable)", collect, [])
    .option("-a, --all", "fetch all of them")
    .option("-o, --out <folder>", "folder to put them in", ".")
    .action(async (id: string, flags: ArtifactFlags) => {
      if (flags.all === true || flags.get.length > 0) await fetchArtifacts(context, id, flags);
      else await listArtifacts(context, id);
    });
}

async function listArtifacts(context: Context, id: string): Promise<void> {
  const { terminal } = context;
  const rows: string[][] = [["PATH", "SIZE", "SHA256"]];
  for await (const artifact of context.client.task(id).artifacts.list()) {
    if (context.json) await terminal.print(JSON.stringify(artifactToJson(artifact)));
    else if (context.quiet) await terminal.print(printable(artifact.path));
    else rows.push([printable(artifact.path), formatBytes(artifact.sizeBytes), artifact.sha256]);
  }
  if (context.json || context.quiet) return;
  if (rows.length === 1) terminal.note("no artifacts; run with --out GLOB keeps what matches");
  else for (const line of formatTable(rows)) await terminal.print(line);
}

async function fetchArtifacts(context: Context, id: string, flags: ArtifactFlags): Promise<void> {
  const { terminal } = context;
  const { artifacts } = context.client.task(id);
  const wanted = new Set(flags.get);
  if (flags.all !== true) await checkNames(context, id, wanted);
  const quiet = context.quiet || context.json;
  const onProgress = (artifact: Artifact, bytes: number) => {
    const figures = `${formatBytes(bytes)} of ${formatBytes(artifact.sizeBytes)}`;
    if (!quiet) terminal.status(statusLine("fetching", `${printable(artifact.path)}  ${figures}`));
  };
  const filter = (artifact: Artifact) => flags.all === true || wanted.has(artifact.path);
  for (const artifact of await artifacts.downloadAll(flags.out, { filter, onProgress })) {
    const file = join(flags.out, artifact.path);
    if (context.json) await terminal.print(JSON.stringify({ file, ...Object(artifactToJson(artifact)) }));
    else
      await terminal.print(
        context.quiet ? printable(file) : `${printable(file)}  ${formatBytes(artifact.sizeBytes)}`,
      );
  }
}

/** Names everything that is not there before anything is fetched. */
async function checkNames(context: Context, id: string, wanted: ReadonlySet<string>): Promise<void> {
  const missing = new Set(wanted);
  for await (const { path } of context.client.task(id).artifacts.list()) missing.delete(path);
  if (missing.size === 0) return;
  const names = [...missing].join(", ");
  throw new NotFound(`task ${id} has no artifact ${names}; list them with: longshore artifacts ${id}`, {
    code: "NOT_FOUND",
    reason: "NOT_FOUND",
    resourceType: "artifact",
    resourceName: names,
  });
}
