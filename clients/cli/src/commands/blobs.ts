import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { BadSource, type Progress } from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { formatBytes, printable } from "../output/format.ts";
import { ProgressView } from "../output/progress.ts";
import { statusLine } from "../output/status-line.ts";
import { UsageError } from "../usage-error.ts";

interface TransferFlags {
  readonly out?: string;
  readonly direct?: boolean;
}

const DIGEST = /^(?:sha256:)?([0-9a-f]{64})$/;
const DIRECT = "past the server, to and from its store of blobs, where it has addresses for that";

/** Adds `upload` and `download`: data by digest, for inputs of many tasks. */
export function addBlobs(program: Command, context: Context): void {
  program
    .command("upload")
    .summary("upload data once, for --input of any number of tasks")
    .description(
      "Uploads a file unless the server has it, and prints its digest: longshore run train.py --input data.csv=sha256:DIGEST",
    )
    .argument("<file>")
    .option("--direct", DIRECT)
    .action((file: string, flags: TransferFlags) => upload(context, file, flags));
  program
    .command("download")
    .summary("fetch data by its digest")
    .argument("<digest>", "64 hex digits, with or without sha256: before them")
    .option("-o, --out <file>", "where to write it (its digest, in this folder)")
    .option("--direct", DIRECT)
    .action((digest: string, flags: TransferFlags) => download(context, digest, flags));
}

async function upload(context: Context, file: string, { direct }: TransferFlags): Promise<void> {
  const { terminal, client } = context;
  await requireFile(file);
  const view = new ProgressView(terminal, basename(file));
  const show = (progress: Progress) => view.show(progress);
  const quiet = context.quiet || context.json;
  const blob = await client.blobs.upload(file, { direct, ...(quiet ? {} : { onProgress: show }) });
  const { sha256 } = blob;
  const sizeBytes = Number(blob.sizeBytes);
  await terminal.print(context.json ? JSON.stringify({ sha256, sizeBytes }) : sha256);
}

async function requireFile(path: string): Promise<void> {
  const refuse = (problem: string) => new BadSource(path, [{ path, problem }]);
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw refuse(error.code === "ENOENT" ? "there is no such file" : `cannot be read: ${error.message}`);
  });
  if (found.isDirectory()) throw refuse("is a folder; longshore run takes folders, upload takes one file");
}

async function download(context: Context, text: string, { out, direct }: TransferFlags): Promise<void> {
  const { terminal, client } = context;
  const sha256 = DIGEST.exec(text)?.[1];
  if (sha256 === undefined)
    throw new UsageError(
      `"${text}" is no digest of 64 lower-case hex digits; artifacts of a task: longshore artifacts ID`,
    );
  const file = out ?? sha256;
  const quiet = context.quiet || context.json;
  const onProgress = (bytes: number, total: number) => {
    if (!quiet) terminal.status(statusLine("fetching", `${formatBytes(bytes)} of ${formatBytes(total)}`));
  };
  await client.blobs.download(sha256, file, { direct, onProgress });
  await terminal.print(context.json ? JSON.stringify({ file, sha256 }) : printable(file));
}
