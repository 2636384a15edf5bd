/** Plays scenarios against the real scheduler and prints what came of it: scripts/simulate */
import { parseArgs } from "node:util";
import { report } from "./report.ts";
import { SCENARIOS } from "./scenarios.ts";
import { type Outcome, simulate } from "./simulate.ts";

function usage(): string {
  return [
    "scripts/simulate [SCENARIO...] [--seed N]",
    "  Plays synthetic workloads against the server's scheduler in virtual time, on clusters that exist only in memory, and prints",
    "  utilisation, waits and fairness. Nothing is started. Scenarios; all when none is named:",
    ...SCENARIOS.map(({ name, about }) => `    ${name.padEnd(11)} ${about}`),
    "",
    "  --seed N   other random numbers, 1 when left out; the same seed prints the same figures, but for the scheduler's own time",
    "",
    "  passed by   how much later than a waiting task one of its size came that started before it, beyond what its priority is worth:",
    "              the order of docs/queue.md keeps it below one ageing interval",
  ].join("\n");
}

const { values, positionals } = parseArgs({
  options: { seed: { type: "string", default: "1" }, help: { type: "boolean", short: "h", default: false } },
  allowPositionals: true,
});
const seed = Number(values.seed);
const unknown = positionals.filter((name) => !SCENARIOS.some((scenario) => scenario.name === name));
if (values.help) {
  process.stdout.write(`${usage()}\n`);
} else if (unknown.length > 0 || !Number.isInteger(seed)) {
  process.stderr.write(
    `${unknown.length > 0 ? `there is no scenario ${unknown.join(", ")}` : "--seed takes a whole number"}\n\n${usage()}\n`,
  );
  process.exitCode = 2;
} else {
  for (const { name, about, plans } of SCENARIOS) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    process.stdout.write(`${name}: ${about}\n\n`);
    const outcomes: Outcome[] = [];
    for (const plan of plans) outcomes.push(await simulate({ ...plan, seed }));
    process.stdout.write(`${report(name, outcomes)}\n\n`);
  }
}
