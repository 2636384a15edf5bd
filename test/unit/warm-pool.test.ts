import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import {
  IDLE_SANDBOX_BYTES,
  PRELOADED_SANDBOX_BYTES,
  shapeKey,
  WarmPool,
} from "#server/adapters/docker/warm-pool.ts";
import type { SandboxShape } from "#server/domain/ports/engine.ts";
import { sampleShape } from "../contract/engine-under-test.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const SHAPE = sampleShape(DIGEST);
const PRELOADED: SandboxShape = {
  ...SHAPE,
  environment: {
    id: "e".repeat(64),
    folder: `/data/environments/${"e".repeat(64)}/content`,
    preload: ["sklearn"],
  },
};
const OTHER = sampleShape(DIGEST, { cpuMillis: 2000 });

class Idle {
  readonly id: string;
  waiting = true;
  #tell: (() => void) | undefined;

  constructor(id: string) {
    this.id = id;
  }

  onLost(tell: () => void): void {
    this.#tell = tell;
  }

  die(): void {
    this.waiting = false;
    this.#tell?.();
  }
}

describe("WarmPool", () => {
  let made: Idle[];
  let discarded: string[];
  let failure: Error | undefined;
  let pool: WarmPool<Idle>;

  const open = (maxIdle: number, keepMillis = 60_000) =>
    new WarmPool<Idle>({
      settings: { maxIdle, idleRamBytes: 2 ** 30, keepMillis },
      make: async (id) => {
        if (failure !== undefined) throw failure;
        const sandbox = new Idle(id);
        made.push(sandbox);
        return sandbox;
      },
      discard: async (id) => void discarded.push(id),
      log: new CollectingLog(),
      now: () => Date.now(),
    });
  /** Lets timers of this long fire and the work they start be done. */
  const pass = async (millis: number) => {
    mock.timers.tick(millis);
    for (let i = 0; i < 50; i++) await Promise.resolve();
  };
  const asks = (shape: SandboxShape, times: number) => Array.from({ length: times }, () => pool.take(shape));

  beforeEach(() => {
    mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
    made = [];
    discarded = [];
    failure = undefined;
    pool = open(4);
  });
  afterEach(async () => {
    await pool.close();
    mock.timers.reset();
  });

  test("counts those with modules preloaded for what they hold", async () => {
    pool.limit(PRELOADED_SANDBOX_BYTES + IDLE_SANDBOX_BYTES);
    asks(PRELOADED, 3);
    asks(SHAPE, 1);
    await pass(1000);
    await pass(1000);
    assert.equal(pool.idleCount, 2, "one of each");
    assert.notEqual(pool.take(PRELOADED), undefined);
    pool.limit(IDLE_SANDBOX_BYTES);
    assert.equal(pool.idleCount, 1);
  });

  test("tells environments and what they preload apart", () => {
    const { environment } = PRELOADED;
    assert.ok(environment);
    const keys = [
      shapeKey(SHAPE),
      shapeKey(PRELOADED),
      shapeKey({ ...SHAPE, environment: { ...environment, preload: [] } }),
      shapeKey({ ...SHAPE, environment: { ...environment, id: "f".repeat(64) } }),
    ];
    assert.equal(new Set(keys).size, keys.length);
  });

  test("forgets an environment: those that idle, and those that are being made", async () => {
    asks(PRELOADED, 1);
    await pass(1000);
    assert.equal(pool.idleCount, 1);
    await pool.forgetShapes(({ environment }) => environment?.id === "e".repeat(64));
    assert.equal(pool.idleCount, 0);
    assert.equal(discarded.length, made.length);
    await pass(100_000);
    assert.equal(pool.idleCount, 0, "and makes no more of them");
  });

  test("is empty until somebody asked, then keeps one", async () => {
    await pass(1000);
    assert.equal(made.length, 0);
    assert.equal(pool.take(SHAPE), undefined);
    await pass(100);
    assert.equal(pool.idleCount, 1);
    const taken = pool.take(SHAPE);
    assert.equal(taken, made[0]);
    assert.equal(pool.take(SHAPE), undefined);
  });

  test("expects a wave as high as the last, within its bounds", async () => {
    asks(SHAPE, 3);
    await pass(100);
    assert.equal(pool.idleCount, 3);
    asks(SHAPE, 30);
    await pass(100);
    assert.equal(pool.idleCount, 4);
  });

  test("never hands one out twice, whatever comes between", async () => {
    const seen = new Set<string>();
    for (let round = 0; round < 20; round++) {
      for (const sandbox of asks(SHAPE, round % 5)) {
        if (sandbox === undefined) continue;
        assert.ok(!seen.has(sandbox.id));
        seen.add(sandbox.id);
      }
      await pass(50);
    }
    assert.ok(seen.size > 20);
  });

  test("shapes share the room; the one asked for last has precedence", async () => {
    asks(OTHER, 4);
    await pass(100);
    assert.equal(pool.idleCount, 4);
    await pass(6000);
    pool.take(SHAPE);
    await pass(100);
    assert.equal(pool.idleCount, 4);
    assert.equal(discarded.length, 1);
    assert.ok(pool.take(SHAPE) !== undefined);
  });

  test("drops what died, and makes another", async () => {
    pool.take(SHAPE);
    await pass(100);
    made[0]?.die();
    assert.equal(pool.idleCount, 0);
    assert.deepEqual(discarded, [made[0]?.id]);
    await pass(20_000);
    assert.equal(pool.idleCount, 1);
  });

  test("never hands out one that is dead but was not told so yet", async () => {
    pool.take(SHAPE);
    await pass(100);
    if (made[0] !== undefined) made[0].waiting = false;
    assert.equal(pool.take(SHAPE), undefined);
    assert.deepEqual(discarded, [made[0]?.id]);
  });

  test("pauses after a failure instead of failing in a loop", async () => {
    failure = new Error("no room");
    pool.take(SHAPE);
    await pass(1000);
    failure = undefined;
    await pass(1000);
    assert.equal(made.length, 0);
    await pass(20_000);
    assert.equal(pool.idleCount, 1);
  });

  test("lets go of shapes that nobody asks for any more", async () => {
    pool.take(SHAPE);
    await pass(100);
    assert.equal(pool.idleCount, 1);
    await pass(120_000);
    assert.equal(pool.idleCount, 0);
    assert.equal(discarded.length, 1);
  });

  test("holds no GPU, and nothing at all when it is off", async () => {
    pool.take({ ...SHAPE, gpuIds: ["GPU-1"] });
    await pass(100);
    assert.equal(pool.idleCount, 0);
    await pool.close();
    pool = open(0);
    pool.take(SHAPE);
    await pass(100);
    assert.equal(made.length, 0);
  });

  test("gives way when attempts need the memory, least wanted first, and comes back with it", async () => {
    asks(OTHER, 2);
    await pass(100);
    await pass(6000);
    asks(SHAPE, 2);
    await pass(100);
    assert.equal(pool.idleCount, 4);
    pool.limit(2 * IDLE_SANDBOX_BYTES);
    assert.equal(pool.idleCount, 2);
    assert.equal(asks(SHAPE, 2).filter((sandbox) => sandbox !== undefined).length, 2);
    pool.limit(0);
    await pass(1000);
    assert.equal(pool.idleCount, 0);
    pool.limit(2 ** 30);
    await pass(100);
    assert.ok(pool.idleCount > 0);
  });

  test("makes none in the middle of a wave, unless it goes on and on", async () => {
    for (let ask = 0; ask < 5; ask++) {
      pool.take(SHAPE);
      await pass(20);
    }
    assert.equal(made.length, 0);
    for (let ask = 0; ask < 30; ask++) {
      pool.take(SHAPE);
      await pass(20);
    }
    assert.ok(made.length > 0);
  });

  test("close leaves nothing and starts nothing", async () => {
    asks(SHAPE, 3);
    await pass(100);
    await pool.close();
    assert.equal(discarded.length, 3);
    assert.equal(pool.take(SHAPE), undefined);
    await pass(1000);
    assert.equal(made.length, 3);
  });

  test("times of a spec do not part shapes, anything of the container does", () => {
    assert.equal(shapeKey(sampleShape(DIGEST, { runMillis: 1, totalMillis: 5 })), shapeKey(SHAPE));
    assert.notEqual(shapeKey(OTHER), shapeKey(SHAPE));
    assert.notEqual(shapeKey({ ...SHAPE, isolation: "GVISOR" }), shapeKey(SHAPE));
  });
});
