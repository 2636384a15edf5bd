import {
  type Capabilities,
  type Engine,
  isolationName,
  type LimitSupport,
  levelName,
  limitName,
} from "@longshore/client";
import type { Command } from "commander";
import type { Context } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { formatCount, formatTable, printable } from "../output/format.ts";
import { judgeRuntime } from "../runtime-floor.ts";
import { showReconcileReport } from "./doctor-reconcile.ts";

/** What nobody asked for is no promise: a host without GPUs, and tiers beside the default one. */
type Verdict = "holds" | "weak" | "broken" | "absent";

interface Finding {
  readonly engine: string;
  readonly tier: string;
  readonly subject: string;
  readonly verdict: Verdict;
  readonly level: string;
  readonly mechanism: string;
  readonly advice: string;
}

export function addDoctor(program: Command, context: Context): void {
  program
    .command("doctor")
    .summary("check that what the server promises holds on its host")
    .description(
      "Judges each limit of each isolation tier, and the version of runc, and says what to do about each weak one. Ends with 1 when\n" +
        "something that every task is promised does not hold: a limit of the default tier, or a runtime with a known way out.",
    )
    .option("--reconcile", "show instead what the server took up when it started and has tidied up since")
    .action(async (flags: { readonly reconcile?: boolean }) => {
      if (flags.reconcile === true) return showReconcileReport(context);
      const capabilities = await context.client.capabilities();
      const findings = capabilities.engines.flatMap(examine);
      const broken = findings.filter(({ verdict }) => verdict === "broken").length;
      if (broken > 0 || capabilities.engines.length === 0) context.exitCode = EXIT.refused;
      const { terminal } = context;
      if (context.json)
        return terminal.print(JSON.stringify({ version: capabilities.version, broken, findings }));
      for (const line of describe(capabilities, findings, context)) await terminal.print(line);
    });
}

/** The default tier comes first: it is what a task gets that asks for none. */
function examine(engine: Engine): Finding[] {
  const { unavailable } = engine;
  return [...(unavailable === "" ? [] : [away(engine)]), ...examineTiers(engine)];
}

/** Its tasks wait: nothing that was promised holds for them. */
function away({ name, unavailable }: Engine): Finding {
  return {
    engine: name,
    tier: "",
    subject: "engine",
    verdict: "broken",
    level: "away",
    mechanism: unavailable,
    advice: "look at what runs it, at the way there and at the server's rights; it is taken up by itself",
  };
}

function examineTiers(engine: Engine): Finding[] {
  return engine.tiers.flatMap((tier, index) => {
    const place = { engine: engine.name, tier: isolationName(tier.isolation) };
    const worst: Verdict = index === 0 ? "broken" : "weak";
    const findings = tier.limits.map((support): Finding => {
      const level = levelName(support.level);
      return {
        ...place,
        subject: limitName(support.limit),
        verdict: judge(support, engine, worst),
        level,
        mechanism: support.mechanism,
        advice: support.advice,
      };
    });
    const runtime = judgeRuntime(tier.runtime);
    if (runtime === undefined) return findings;
    const verdict = !runtime.holds ? worst : runtime.advice === "" ? "holds" : "weak";
    const { sentence: mechanism, advice } = runtime;
    return [...findings, { ...place, subject: "runc", verdict, level: "checked", mechanism, advice }];
  });
}

function judge({ limit, level }: LimitSupport, engine: Engine, worst: Verdict): Verdict {
  if (levelName(level) === "enforced") return "holds";
  if (limitName(limit) === "gpu" && engine.gpuModels.length === 0) return "absent";
  return worst;
}

function describe(
  { version, engines }: Capabilities,
  findings: readonly Finding[],
  context: Context,
): string[] {
  const lines = [`server ${printable(context.server)}  version ${printable(version)}`];
  if (engines.length === 0) return [...lines, "", "it has no engine: no task can run"];
  for (const engine of engines) {
    lines.push("", `engine ${printable(engine.name)}  ${printable(engine.version)}`.trimEnd());
    lines.push(...table(findings.filter((one) => one.engine === engine.name && one.tier === "")));
    for (const [index, tier] of engine.tiers.entries()) {
      const name = isolationName(tier.isolation);
      lines.push("", `  ${name}${index === 0 ? " (default)" : ""}  ${printable(tier.runtime)}`);
      lines.push(
        ...table(findings.filter((finding) => finding.engine === engine.name && finding.tier === name)),
      );
    }
  }
  return [...lines, "", ...conclusion(findings)];
}

/** What to do stands below what it is about, or the columns would grow beyond any screen. */
function table(findings: readonly Finding[]): string[] {
  const rows = formatTable(
    findings.map(({ verdict, subject, level, mechanism }) => [
      `    ${verdict}`,
      subject,
      level,
      printable(mechanism),
    ]),
  );
  return rows.flatMap((row, index) => {
    const advice = findings[index]?.advice ?? "";
    return advice === "" ? [row] : [row, `            to do: ${printable(advice)}`];
  });
}

function conclusion(findings: readonly Finding[]): string[] {
  const of = (verdict: Verdict) => findings.filter((finding) => finding.verdict === verdict);
  const lines = of("broken").map(
    ({ engine, tier, subject, mechanism, advice }) =>
      `broken: ${tier === "" ? `${subject} ${printable(engine)}` : `${subject} in ${tier}`}: ${[
        mechanism,
        advice,
      ]
        .filter((text) => text !== "")
        .map(printable)
        .join("; ")}`,
  );
  const weak = of("weak").length;
  if (lines.length === 0) lines.push("everything that every task is promised holds");
  if (weak > 0) lines.push(`${formatCount(weak, "thing")} could be better, as told above`);
  return lines;
}
