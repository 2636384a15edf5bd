import { Longshore } from "@longshore/client";
import { OtlpCollector } from "../../support/fakes/otlp-collector.ts";
import type { BenchCase, BenchContext } from "../bench-case.ts";
import { atMost, type Row, ratioRow } from "../row.ts";
import { median, timed } from "../statistics.ts";
import { untilQuiet } from "../until-quiet.ts";

const CODE = "print('hi')";
const SAMPLES = 30;

/** What tracing costs a warm start: the same task on a server that sends its spans, and on one that sends none. */
async function measure(context: BenchContext): Promise<Row[]> {
  await using collector = await OtlpCollector.listen({ keeps: false });
  await using traced = await context.startServer({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint });
  await using silent = await context.startServer();
  await using stack = new AsyncDisposableStack();
  const sides = [traced, silent].map((server) => {
    const client = stack.use(new Longshore(server.address));
    const rounds: number[][] = [];
    const once = async () => {
      const millis = await timed(async () => {
        await client.run({ code: CODE });
      });
      await untilQuiet(client, server);
      return millis;
    };
    return { once, rounds };
  });
  for (const { once } of sides) for (let n = 0; n < 2; n++) await once();
  for (let round = 0; round < context.rounds; round++) {
    context.say(`    round ${round + 1} of ${context.rounds}`);
    for (const { rounds } of sides) rounds.push([]);
    for (let sample = 0; sample < (context.quick ? 1 : SAMPLES); sample++) {
      // Turned round each time: whoever comes second finds caches warmed by the first.
      for (const { once, rounds } of sample % 2 === 0 ? sides : sides.toReversed())
        rounds.at(-1)?.push(await once());
    }
  }
  const [ours = [], theirs = []] = sides.map(({ rounds }) => rounds);
  return [
    ratioRow(
      { group: "i", name: "warm, p50 with / without tracing", goal: atMost(1.1) },
      { ours, theirs },
      median,
    ),
  ];
}

export const tracing: BenchCase = {
  letter: "i",
  title: "warm start with tracing, against the same without",
  run: measure,
};
