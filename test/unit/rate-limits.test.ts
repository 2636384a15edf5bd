import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { RateLimited } from "#server/domain/errors.ts";
import { TokenBucket } from "#server/domain/token-bucket.ts";
import { type RateLimitOptions, RateLimits } from "#server/transport/rate-limits.ts";

describe("a token bucket", () => {
  test("never lets more through than a burst and its rate, whatever is asked when", () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 1, max: 30 })));
    fc.assert(
      fc.property(steps, (asked) => {
        const bucket = new TokenBucket(100, 50, 0);
        let now = 0;
        let through = 0;
        for (const [pause, amount] of asked) {
          now += pause;
          if (bucket.waitMillis(amount, now) > 0) continue;
          bucket.take(amount, now);
          through += amount;
          assert.ok(through <= 50 + now / 10 + 1e-6);
        }
      }),
    );
  });

  test("says how long to wait, and keeps its word", () => {
    const bucket = new TokenBucket(10, 20, 0);
    bucket.take(50, 0);
    assert.equal(bucket.waitMillis(0, 0), 3000);
    assert.equal(bucket.waitMillis(1, 0), 3100);
    assert.equal(bucket.waitMillis(1, 3100), 0);
    assert.equal(bucket.isFull(4000), false);
    assert.equal(bucket.isFull(5000), true);
  });
});

describe("limits of a credential", () => {
  const NONE: RateLimitOptions = { requestsPerSecond: null, bytesPerSecond: null, openStreams: null };
  const at = (options: Partial<RateLimitOptions>) => {
    const clock = { now: 0 };
    return { clock, limits: new RateLimits({ ...NONE, ...options }, () => clock.now) };
  };
  const refused = (millis: number) => (error: unknown) => {
    assert.ok(error instanceof RateLimited);
    assert.equal(error.retryAfterMillis, millis);
    return true;
  };

  test("count calls, each credential's for itself", () => {
    const { clock, limits } = at({ requestsPerSecond: 2 });
    for (let call = 0; call < 4; call += 1) limits.enter("a", false).release();
    assert.throws(() => limits.enter("a", false), refused(500));
    limits.enter("b", false);
    clock.now = 500;
    limits.enter("a", false);
    assert.throws(() => limits.enter("a", false), RateLimited);
  });

  test("count open streams, and what is refused counts for nothing", () => {
    const { limits } = at({ openStreams: 2 });
    const first = limits.enter("a", true);
    limits.enter("a", true);
    for (let call = 0; call < 3; call += 1) assert.throws(() => limits.enter("a", true), refused(1000));
    limits.enter("a", false);
    first.release();
    limits.enter("a", true);
  });

  test("slow streams down, and refuse new calls while too much is owed", async () => {
    const { clock, limits } = at({ bytesPerSecond: 1000 });
    const meter = limits.enter("a", true);
    const { signal } = new AbortController();
    meter.add(2000);
    assert.equal(meter.ready(signal), undefined);
    meter.add(500);
    const wait = meter.ready(signal);
    assert.ok(wait !== undefined);
    limits.enter("a", false);
    meter.add(2500);
    assert.throws(() => limits.enter("a", false), refused(2000));
    clock.now = 3000;
    limits.enter("a", false);
    assert.equal(meter.ready(signal), undefined);
    await wait;
  });

  test("let go of a stream that is over while it waits", async () => {
    const { limits } = at({ bytesPerSecond: 1 });
    const meter = limits.enter("a", true);
    meter.add(1_000_000);
    const controller = new AbortController();
    const wait = meter.ready(controller.signal);
    const reason = new Error("the client is gone");
    controller.abort(reason);
    await assert.rejects(async () => wait, reason);
  });

  test("hold nothing where there are none", () => {
    const { limits } = at({});
    for (let call = 0; call < 10_000; call += 1) limits.enter("a", true).add(2 ** 40);
  });
});
