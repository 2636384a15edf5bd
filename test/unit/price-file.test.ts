import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ConfigError, readConfig } from "#server/config.ts";
import { gpuPrice } from "#server/domain/price-book.ts";
import { FileProblems } from "#server/json-file.ts";
import { readPriceFile } from "#server/price-file.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

async function withFile<T>(content: unknown, use: (path: string) => T): Promise<T> {
  await using folder = await TemporaryFolder.create();
  const path = join(folder.path, "prices.json");
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  return use(path);
}

function problemsOf(path: string): readonly string[] {
  try {
    readPriceFile(path);
  } catch (error) {
    assert.ok(error instanceof FileProblems, String(error));
    return error.problems;
  }
  assert.fail("the file was accepted");
}

describe("the price file", () => {
  test("says what an hour costs, and a period goes on until the next begins", async () => {
    const content = {
      currency: "EUR",
      prices: [
        { from: "2027-01-01", cpu_hour: "0.05", gpu_hour: { "*": "1", T4: "0.35" } },
        { cpu_hour: "0.04", ram_gb_hour: "0.005" },
        { from: "2028-01-01T00:00:00Z", until: "2029-01-01", cpu_hour: "0.06" },
      ],
    };
    const book = await withFile(content, readPriceFile);
    assert.equal(book.currency, "EUR");
    const cpuAt = (time: string) => book.at(new Date(time))?.cpuHourNanos;
    assert.equal(cpuAt("2020-01-01"), 40_000_000n);
    assert.equal(cpuAt("2026-12-31T23:59:59.999Z"), 40_000_000n);
    assert.equal(cpuAt("2027-01-01"), 50_000_000n);
    assert.equal(cpuAt("2028-06-01"), 60_000_000n);
    assert.equal(cpuAt("2029-01-01"), undefined);
    const prices = book.at(new Date("2027-06-01"));
    assert.ok(prices);
    assert.equal(gpuPrice(prices, "T4"), 350_000_000n);
    assert.equal(gpuPrice(prices, "H100"), 1_000_000_000n);
    assert.equal(prices.ramGbHourNanos, 0n);
  });

  test("names everything that is wrong with it, and where", async () => {
    const content = {
      currency: "euro",
      prices: [
        { cpu_hour: 0.04, ram_gb: "1" },
        { from: "2027-02-30", cpu_hour: "-1", gpu_hour: { T4: "1" } },
      ],
    };
    const problems = await withFile(content, problemsOf);
    for (const place of [
      "currency",
      "prices.0.cpu_hour",
      "ram_gb",
      "prices.1.from",
      "prices.1.cpu_hour",
      "prices.1.gpu_hour",
    ])
      assert.ok(
        problems.some((problem) => problem.includes(place)),
        `${place} in ${problems.join("\n")}`,
      );
  });

  test("is told of in plain words", async () => {
    const content = { currency: "EUR", price: 1, prices: [5, { gpu_hour: { "": "1", "*": "1" } }] };
    assert.deepEqual(await withFile(content, problemsOf), [
      "prices.0 is not an object in braces",
      "prices.1.gpu_hour. has a name that is empty or too long",
      'the file has "price", which it does not know',
    ]);
    assert.deepEqual(problemsOf("/nonexistent/prices.json"), ["there is no such file"]);
    assert.match((await withFile("{", problemsOf)).join(), /^is not JSON: /);
  });

  test("has one price at a time", async () => {
    const overlap = [{ from: "2026-01-01", until: "2026-06-01" }, { from: "2026-03-01" }];
    assert.match((await withFile({ currency: "EUR", prices: overlap }, problemsOf)).join(), /overlaps/);
    const twice = [{ cpu_hour: "1" }, { cpu_hour: "2" }];
    assert.match((await withFile({ currency: "EUR", prices: twice }, problemsOf)).join(), /begins when/);
    const reversed = [{ from: "2026-06-01", until: "2026-01-01" }];
    assert.match((await withFile({ currency: "EUR", prices: reversed }, problemsOf)).join(), /not after/);
  });

  test("that is missing or no JSON is named with its setting, beside other wrong settings", async () => {
    const wrong = (path: string) => () =>
      readConfig({ LONGSHORE_PRICES: path, LONGSHORE_LISTEN: "0.0.0.0:1" });
    const named = (error: unknown) =>
      error instanceof ConfigError &&
      /LONGSHORE_PRICES \//.test(error.message) &&
      /LONGSHORE_LISTEN/.test(error.message);
    assert.throws(wrong("/nowhere/prices.json"), named);
    await withFile("{", (path) => assert.throws(wrong(path), named));
  });

  test("is not needed", () => assert.equal(readConfig({}).prices, null));
});
