import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { whyNoServer } from "../support/running-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const BENCH = join(import.meta.dirname, "../../scripts/bench");

/** What it measures is not looked at: a machine that runs tests is in no state to be measured. */
test("scripts/bench --quick measures starts, logs and tracing, and prints and stores every row", {
  skip: (await whyNoServer()) ?? false,
}, async () => {
  await using folder = await TemporaryFolder.create();
  const json = folder.at("bench.json");
  const { stdout } = await promisify(execFile)(BENCH, ["a", "b", "i", "--quick", "--json", json]);
  for (const row of [
    "warm, p50 / docker run",
    "20 clients, p95 / 20 docker run",
    "changed shape, p50 / docker run",
    "cold, p50 / docker run",
    "warm, p50 with / without tracing",
    "docker run | cat, none",
    "docker run | cat, local",
    "docker run | cat, json-file",
  ]) {
    assert.ok(stdout.includes(row), `no row "${row}" in:\n${stdout}`);
  }
  assert.match(stdout, /at most 0\.06 +(met|MISSED)/);
  const report: unknown = JSON.parse(await readFile(json, "utf8"));
  assert.ok(typeof report === "object" && report !== null && "rows" in report && Array.isArray(report.rows));
  const printed = stdout.split("\n").filter((line) => /^\([a-i]\)/.test(line));
  assert.equal(report.rows.length, printed.length);
});

test("scripts/bench names a case that it does not have", {
  skip: (await whyNoServer()) ?? false,
}, async () => {
  await assert.rejects(
    promisify(execFile)(BENCH, ["z"]),
    (error: Error & { code?: number; stderr?: string }) => {
      assert.equal(error.code, 2);
      assert.match(error.stderr ?? "", /z/);
      return true;
    },
  );
});
