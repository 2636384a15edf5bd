import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { parseArgs, promisify } from "node:util";
import { startServer, whyNoServer } from "../support/running-server.ts";
import type { BenchCase, BenchContext } from "./bench-case.ts";
import { costs } from "./cases/costs.ts";
import { createRate } from "./cases/create-rate.ts";
import { environments } from "./cases/environments.ts";
import { idle } from "./cases/idle.ts";
import { logs } from "./cases/logs.ts";
import { records } from "./cases/records.ts";
import { scale } from "./cases/scale.ts";
import { startLatency } from "./cases/start-latency.ts";
import { sustained } from "./cases/sustained.ts";
import { tracing } from "./cases/tracing.ts";
import { upload } from "./cases/upload.ts";
import { type Row, verdictOf } from "./row.ts";
import { table } from "./table.ts";

const CASES: readonly BenchCase[] = [
  startLatency,
  logs,
  upload,
  createRate,
  sustained,
  records,
  idle,
  environments,
  tracing,
  costs,
  scale,
];

function usage(): string {
  return [
    "scripts/bench [CASE...] [--json FILE] [--quick] [--rounds N] [--profile FOLDER]",
    "  Measures Longshore beside Docker and bare loops, in turns, in one run, and prints ratios. Cases; all when none is named:",
    ...CASES.map(({ letter, title }) => `    ${letter}  ${title}`),
    "",
    "  --json FILE       everything that was measured, absolute times of this machine included",
    "  --quick           only shows that everything runs; its figures mean nothing",
    "  --rounds N        rounds of both sides in turns, 5 when left out",
    "  --profile FOLDER  a CPU profile of each server, for Chrome's or any other viewer of .cpuprofile",
  ].join("\n");
}

function contextOf(options: { quick: boolean; rounds: number; profile: string | undefined }): BenchContext {
  const { quick, rounds, profile } = options;
  const profiling: Record<string, string> =
    profile === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profile}` };
  return {
    quick,
    rounds,
    startServer: (env = {}) => startServer({ LONGSHORE_LOG_LEVEL: "info", ...profiling, ...env }),
    say: (line) => process.stderr.write(`${line}\n`),
  };
}

async function machine(): Promise<Record<string, string>> {
  const format = "{{.ServerVersion}} {{.Driver}} {{.CgroupVersion}} {{.NCPU}} {{.KernelVersion}}";
  const { stdout } = await promisify(execFile)("docker", ["info", "--format", format]);
  const [docker = "", storage = "", cgroups = "", cpus = "", kernel = ""] = stdout.trim().split(" ");
  return { docker, storage, cgroups, cpus, kernel, node: process.version };
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "string" },
      quick: { type: "boolean", default: false },
      rounds: { type: "string", default: "5" },
      profile: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${usage()}\n`);
    return 0;
  }
  const unknown = positionals.filter((letter) => !CASES.some((one) => one.letter === letter));
  const rounds = values.quick ? 1 : Number(values.rounds);
  if (unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
    process.stderr.write(
      `error: wrong: ${[...unknown, `--rounds ${values.rounds}`].join(", ")}\n\n${usage()}\n`,
    );
    return 2;
  }
  const why = await whyNoServer();
  if (why !== undefined) {
    process.stderr.write(`error: ${why}; scripts/quickstart brings what is missing\n`);
    return 1;
  }
  const context = contextOf({ quick: values.quick, rounds, profile: values.profile });
  const rows: Row[] = [];
  for (const one of CASES) {
    if (positionals.length > 0 && !positionals.includes(one.letter)) continue;
    context.say(`(${one.letter}) ${one.title}`);
    rows.push(...(await one.run(context)));
  }
  process.stdout.write(`${table(rows)}\n`);
  if (values.quick) process.stdout.write("\n--quick: too little work for the figures to mean anything\n");
  if (values.json !== undefined) {
    const measured = rows.map((row) => ({ ...row, verdict: verdictOf(row) }));
    const report = { machine: await machine(), quick: values.quick, rounds, rows: measured };
    await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
  }
  return 0;
}

process.exitCode = await main();
