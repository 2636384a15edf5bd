import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { amountOf, formatMoney, parseNanos, sumMoney, type UnitPrices } from "#server/domain/charge.ts";
import { GIBIBYTE } from "#server/domain/resources.ts";

const HOUR = 3_600_000;
const prices = (changes: Partial<UnitPrices> = {}): UnitPrices => ({
  cpuHourNanos: 0n,
  ramGbHourNanos: 0n,
  storageGbHourNanos: 0n,
  gpus: [],
  ...changes,
});
const NOTHING = { cpuMillis: 0, ramBytes: 0, storageBytes: 0, gpuCount: 0 };

describe("a charge", () => {
  test("is requested amounts times held time times price", () => {
    const held = { cpuMillis: 2000, ramBytes: GIBIBYTE, storageBytes: 2 * GIBIBYTE, gpuCount: 1 };
    const unit = prices({
      cpuHourNanos: 40_000_000n,
      ramGbHourNanos: 5_000_000n,
      storageGbHourNanos: 200_000n,
      gpus: [{ model: "T4", count: 1, hourNanos: 500_000_000n }],
    });
    assert.equal(amountOf(unit, held, HOUR), 80_000_000n + 5_000_000n + 400_000n + 500_000_000n);
    assert.equal(amountOf(unit, held, HOUR / 2) * 2n, amountOf(unit, held, HOUR));
    assert.equal(amountOf(unit, held, 0), 0n);
  });

  test("is rounded once, to the nearest billionth, half up", () => {
    const cpu = (cpuMillis: number) => ({ ...NOTHING, cpuMillis });
    assert.equal(amountOf(prices({ cpuHourNanos: 1n }), cpu(499), HOUR), 0n);
    assert.equal(amountOf(prices({ cpuHourNanos: 1n }), cpu(500), HOUR), 1n);
    // Half a billionth each: one and not two, since only their sum is rounded.
    const both = prices({ cpuHourNanos: 1n, ramGbHourNanos: 1n });
    assert.equal(amountOf(both, { ...cpu(500), ramBytes: GIBIBYTE / 2 }, HOUR), 1n);
  });

  test("never lies further than half a billionth from the exact amount", () => {
    const nanos = fc.bigInt({ min: 0n, max: 10n ** 15n });
    fc.assert(
      fc.property(
        fc.nat(10 ** 6),
        fc.nat(2 ** 31),
        fc.nat(10 ** 9),
        nanos,
        nanos,
        (cpuMillis, ramBytes, millis, cpuHourNanos, ramGbHourNanos) => {
          const got = amountOf(
            prices({ cpuHourNanos, ramGbHourNanos }),
            { ...NOTHING, cpuMillis, ramBytes },
            millis,
          );
          const scale = 1000n * BigInt(GIBIBYTE) * BigInt(HOUR);
          const exact =
            BigInt(cpuMillis) * cpuHourNanos * BigInt(GIBIBYTE) * BigInt(millis) +
            BigInt(ramBytes) * ramGbHourNanos * 1000n * BigInt(millis);
          const off = got * scale - exact;
          assert.ok(2n * off <= scale && -2n * off <= scale);
        },
      ),
    );
  });
});

describe("money", () => {
  test("is read and shown with all its places", () => {
    assert.equal(parseNanos("0.04"), 40_000_000n);
    assert.equal(parseNanos("12"), 12_000_000_000n);
    assert.equal(parseNanos("0.000000001"), 1n);
    for (const wrong of ["", "-1", "1.", ".5", "1e3", "0.0000000001", "1,5", " 1", "0x1"])
      assert.equal(parseNanos(wrong), undefined, wrong);
    assert.equal(formatMoney({ currency: "USD", nanos: 1_250_000_000n }), "USD 1.25");
    assert.equal(formatMoney({ currency: "EUR", nanos: 3_100_000n }), "EUR 0.0031");
    assert.equal(formatMoney({ currency: "EUR", nanos: 0n }), "EUR 0.00");
    assert.equal(formatMoney({ currency: "EUR", nanos: 1n }), "EUR 0.000000001");
  });

  test("adds up by currency; what has no price is no money", () => {
    const sums = sumMoney([
      { currency: "USD", nanos: 2n },
      { currency: "", nanos: 5n },
      { currency: "EUR", nanos: 1n },
      { currency: "USD", nanos: 2n ** 70n },
    ]);
    assert.deepEqual(sums, [
      { currency: "EUR", nanos: 1n },
      { currency: "USD", nanos: 2n ** 70n + 2n },
    ]);
  });
});
