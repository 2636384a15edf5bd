import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { afterTry, DEFAULT_PAUSES_MILLIS } from "#server/application/delivery-schedule.ts";
import type { Answer } from "#server/domain/ports/delivery-channel.ts";
import type { Delivery, WebhookEndpoint } from "#server/domain/webhook.ts";

const NOW = new Date("2026-01-02T03:04:05Z");
const ago = (millis: number) => new Date(NOW.getTime() - millis);
const HOUR = 3_600_000;
const SCHEDULE = { pausesMillis: DEFAULT_PAUSES_MILLIS, disableAfterMillis: 72 * HOUR };
const OK: Answer = { statusCode: 200, error: "", response: "", gone: false, retryAfterMillis: null };
const BAD: Answer = { ...OK, statusCode: 500, error: "answered with status 500" };

const DELIVERY: Delivery = {
  ...{ id: "msg_1", tenant: "t", endpointId: "e", url: "https://example.com/", taskId: "1" },
  ...{ taskState: "FAILED", state: "PENDING", createTime: NOW, tries: 0, triesOfRound: 0, nextTryTime: NOW },
  ...{ lastTryTime: null, lastStatusCode: 0, lastError: "", lastResponse: "", body: "{}" },
};
const ENDPOINT: WebhookEndpoint = {
  ...{ id: "e", tenant: "t", url: "https://example.com/", states: [], description: "", createdBy: "ana" },
  ...{ createTime: NOW, failingSince: null, disableTime: null, disableReason: "" },
};

/** The pauses of a delivery that never arrives, in milliseconds. */
function pauses(random: number): number[] {
  const found: number[] = [];
  let delivery = DELIVERY;
  for (;;) {
    delivery = afterTry(delivery, null, BAD, SCHEDULE, NOW, random).delivery;
    if (delivery.nextTryTime === null) return found;
    found.push(delivery.nextTryTime.getTime() - NOW.getTime());
  }
}

describe("a delivery that fails", () => {
  test("is tried eight times within nine hours, a fifth sooner or later", () => {
    assert.deepEqual(pauses(0.5), DEFAULT_PAUSES_MILLIS);
    assert.equal(pauses(0.5).length, 7);
    const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0);
    assert.ok(sum(pauses(0.5)) < 9 * HOUR);
    for (const [index, pause] of DEFAULT_PAUSES_MILLIS.entries()) {
      assert.equal(Math.round(pauses(0)[index] ?? 0), Math.round(pause * 0.8));
      assert.equal(Math.round(pauses(1)[index] ?? 0), Math.round(pause * 1.2));
    }
  });

  test("waits for as long as it is asked to, and no shorter than it would anyway", () => {
    const pauseOf = (retryAfterMillis: number, triesOfRound = 0) => {
      const tried = { ...DELIVERY, triesOfRound };
      const { delivery } = afterTry(tried, null, { ...BAD, retryAfterMillis }, SCHEDULE, NOW, 0.5);
      return (delivery.nextTryTime?.getTime() ?? 0) - NOW.getTime();
    };
    assert.equal(pauseOf(60_000), 60_000);
    assert.equal(pauseOf(1), 5000);
    assert.equal(pauseOf(60_000, 6), 6 * HOUR);
  });
});

describe("an endpoint", () => {
  const last = { ...DELIVERY, triesOfRound: DEFAULT_PAUSES_MILLIS.length };

  test("is noted when it begins to fail, and once", () => {
    const first = afterTry(DELIVERY, ENDPOINT, BAD, SCHEDULE, NOW, 0.5).endpoint;
    assert.deepEqual(first, { ...ENDPOINT, failingSince: NOW });
    assert.equal(
      afterTry(DELIVERY, { ...ENDPOINT, failingSince: NOW }, BAD, SCHEDULE, NOW, 0.5).endpoint,
      null,
    );
    assert.equal(afterTry(DELIVERY, ENDPOINT, OK, SCHEDULE, NOW, 0.5).endpoint, null);
  });

  test("is turned off when a delivery is given up after nothing arrived for long, not before", () => {
    const off = (failingSince: Date, delivery: Delivery) =>
      afterTry(delivery, { ...ENDPOINT, failingSince }, BAD, SCHEDULE, NOW, 0.5).endpoint?.disableTime ??
      null;
    assert.equal(off(ago(71 * HOUR), last), null);
    assert.equal(off(ago(73 * HOUR), DELIVERY), null);
    assert.deepEqual(off(ago(73 * HOUR), last), NOW);
  });

  test("is turned on by a success, and stays off after another failure", () => {
    const disabled = { ...ENDPOINT, failingSince: ago(HOUR), disableTime: ago(1), disableReason: "long" };
    assert.deepEqual(afterTry(DELIVERY, disabled, OK, SCHEDULE, NOW, 0.5).endpoint, ENDPOINT);
    assert.equal(afterTry(last, disabled, BAD, SCHEDULE, NOW, 0.5).endpoint, null);
  });
});
