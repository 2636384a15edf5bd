/** Alerts and dashboard: read by Prometheus' own tool, about figures that the server tells, each alert with a page of the runbook. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { z } from "zod";
import { prometheusName } from "#server/adapters/telemetry/prometheus-name.ts";
import { METRICS, type MetricDefinition } from "#server/domain/metrics.ts";
import { promtool, whyNoPromtool } from "../support/promtool.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string) => readFile(join(ROOT, path), "utf8");
const ALERTS = "deploy/prometheus/alerts.yaml";

const target = z.object({ expr: z.string().min(1), legendFormat: z.string() });
const panel = z.object({
  id: z.number(),
  type: z.enum(["row", "stat", "timeseries"]),
  title: z.string().min(1),
  gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
  targets: z.array(target).min(1).optional(),
});
const dashboard = z.object({
  uid: z.string(),
  title: z.string(),
  schemaVersion: z.number(),
  templating: z.object({ list: z.array(z.object({ name: z.string() })) }),
  panels: z.array(panel),
});

const catalogue: Readonly<Record<string, MetricDefinition>> = METRICS;
/** What the server tells, as Prometheus keeps it, with the labels of each. */
const series: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries(catalogue).flatMap(([name, { kind, unit, labels }]): [string, string[]][] => {
    const told = prometheusName(name, unit, kind === "counter" || kind === "total");
    const own = labels.map((label) => label.replaceAll(".", "_"));
    if (kind !== "histogram") return [[told, own]];
    return [
      [`${told}_bucket`, [...own, "le"]],
      [`${told}_sum`, own],
      [`${told}_count`, own],
    ];
  }),
);
/** Given by Prometheus itself. */
const OF_EVERY_SERIES = ["instance", "job", "alertname"];

/** Names and labels of an expression that no server tells. */
function unknownIn(expression: string): string[] {
  const unknown: string[] = [];
  for (const [, name = "", matchers = ""] of expression.matchAll(
    /\b((?:longshore|nodejs|process|rpc)_[a-z0-9_]+)(?:\{([^}]*)\})?/g,
  )) {
    const labels = series.get(name);
    // Also a label that begins like a name: it stands in braces or in a by-clause.
    if (labels === undefined) {
      if (![...series.values()].some((own) => own.some((label) => label === name))) unknown.push(name);
      continue;
    }
    for (const [, label = ""] of matchers.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)/g))
      if (![...labels, ...OF_EVERY_SERIES].includes(label)) unknown.push(`${name}{${label}}`);
  }
  const all = new Set([...series.values()].flat());
  for (const [, list = ""] of expression.matchAll(/\bby \(([^)]*)\)/g))
    for (const label of list.split(",").map((part) => part.trim()))
      if (!all.has(label) && !OF_EVERY_SERIES.includes(label)) unknown.push(`by (${label})`);
  return unknown;
}

/** Told by other figures, too: running and queued tasks. */
const NOT_SHOWN = ["longshore_tasks_active"];

const noPromtool = (await whyNoPromtool()) ?? false;

describe("the alerts", () => {
  test("are rules that Prometheus takes, and fire on what they are about and on nothing else", {
    skip: noPromtool,
  }, async () => {
    assert.deepEqual(await promtool(["check", "rules", "--lint-fatal", join(ROOT, ALERTS)]), {
      code: 0,
      problems: "",
    });
    const config = await promtool(["check", "config", join(ROOT, "deploy/prometheus/prometheus.yaml")]);
    assert.equal(config.code, 0, config.problems);
    const fired = await promtool(["test", "rules", join(ROOT, "test/fixtures/prometheus/alerts-fire.yaml")]);
    assert.equal(fired.code, 0, fired.problems);
  });

  test("are about figures and labels that the server tells", async () => {
    assert.deepEqual(unknownIn(await read(ALERTS)), []);
    assert.deepEqual(unknownIn(await read("test/fixtures/prometheus/alerts-fire.yaml")), []);
  });

  test("have each a page of the runbook and a firing test, and neither tells of others", async () => {
    const rules = await read(ALERTS);
    const names = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name = ""]) => name);
    const links = [...rules.matchAll(/runbook: docs\/runbook\.md#(\w+)/g)].map(([, anchor]) => anchor);
    assert.deepEqual(
      links,
      names.map((name) => name.toLowerCase()),
    );
    const pages = [...(await read("docs/runbook.md")).matchAll(/^## (\w+)$/gm)].map(([, name]) => name);
    assert.deepEqual(pages.sort(), [...names].sort());
    const fired = [
      ...(await read("test/fixtures/prometheus/alerts-fire.yaml")).matchAll(/alertname="(\w+)"/g),
    ];
    assert.deepEqual(fired.map(([, name]) => name).sort(), [...names].sort());
  });
});

describe("the dashboard", async () => {
  const board = dashboard.parse(JSON.parse(await read("deploy/grafana/longshore.json")));
  const rules = await read(ALERTS);
  const expressions = board.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));

  test("is about figures and labels that the server tells, and leaves out no group of them", () => {
    for (const expression of expressions) assert.deepEqual(unknownIn(expression), [], expression);
    const shown = `${expressions.join("\n")}\n${rules}`;
    const forgotten = Object.entries(catalogue)
      .map(([name, { kind, unit }]) => prometheusName(name, unit, kind === "counter" || kind === "total"))
      .filter((name) => name.startsWith("longshore_") && !shown.includes(name) && !NOT_SHOWN.includes(name));
    assert.deepEqual(forgotten, [], "give each a place on deploy/grafana/longshore.json, or an alert");
  });

  test("has expressions that Prometheus takes", { skip: noPromtool }, async () => {
    await using folder = await TemporaryFolder.create();
    const rules = expressions.map((expression, index) => {
      const expr = expression.replaceAll("$__rate_interval", "5m").replaceAll("$instance", ".*");
      return { record: `panel:${index}`, expr };
    });
    // JSON is YAML.
    await writeFile(folder.at("rules.yaml"), JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
    const checked = await promtool(["check", "rules", folder.at("rules.yaml")]);
    assert.equal(checked.code, 0, checked.problems);
  });

  test("has panels of their own ids and places", () => {
    const ids = board.panels.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    const taken = new Map<string, string>();
    for (const { title, gridPos } of board.panels) {
      assert.ok(gridPos.x + gridPos.w <= 24, `${title} is wider than the page`);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.equal(taken.get(`${x} ${y}`), undefined, `${title} lies on another panel`);
          taken.set(`${x} ${y}`, title);
        }
    }
  });
});

test("a name or label that no server tells is noticed", () => {
  assert.deepEqual(unknownIn('sum by (engine, colour) (rate(longshore_jobs_total{part="x"}[5m]))'), [
    "longshore_jobs_total",
    "by (colour)",
  ]);
  assert.deepEqual(unknownIn('longshore_queue_depth{user="x", wait="engine"}'), [
    "longshore_queue_depth{user}",
  ]);
});
