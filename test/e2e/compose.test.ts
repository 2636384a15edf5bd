/** deploy/compose for real: the server in a container whose tasks run in containers beside it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore } from "@longshore/client";
import { LINES, NumberedTask, numberedCode } from "../faults/numbered-task.ts";
import { untilAnswered } from "../faults/until-answered.ts";
import { Composition, compositionMissing } from "../support/composition.ts";
import { SERVER_IMAGE, serverImageMissing } from "../support/server-image.ts";

const run = promisify(execFile);

test("the server's image without what the Docker engine needs says so in words", {
  skip: await serverImageMissing(),
}, async () => {
  const started = run("docker", ["run", "--rm", "--network", "none", SERVER_IMAGE], { timeout: 60_000 });
  await assert.rejects(started, ({ code, stderr }: { code: number; stderr: string }) => {
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^error: the Docker engine needs a server that runs as root .*LONGSHORE_ENGINES.*\n$/,
    );
    return true;
  });
});

/** A client whose server never comes back asks for ever. */
const timeout = 120_000;

describe("a server that Docker Compose has started", {
  skip: await compositionMissing(),
}, () => {
  const stack = new AsyncDisposableStack();
  let composition: Composition;
  let client: Longshore;
  before(async () => {
    composition = stack.use(await Composition.up());
    client = stack.adopt(new Longshore(composition.address), (opened) => opened.close());
  });
  after(async () => {
    await stack.disposeAsync();
  });

  test("enforces storage, so that Docker sees what it mounts in its container", {
    timeout,
  }, async () => {
    const { engines } = await untilAnswered(() => client.capabilities());
    const storage = engines[0]?.tiers[0]?.limits.find(({ mechanism }) => /ext4/.test(mechanism));
    assert.ok(storage !== undefined, JSON.stringify(engines[0]?.tiers[0]?.limits));
  });

  test("is started again when it is killed in the middle of a task, and no line is lost or told twice", {
    timeout,
  }, async () => {
    let killed: Promise<void> | undefined;
    const task = await NumberedTask.submit(
      client,
      { code: numberedCode(50) },
      { outputs: ["left.txt"] },
      (_, { lines }) => {
        if (lines >= LINES / 3) killed ??= composition.kill();
      },
    );
    await task.ended;
    await killed;
    assert.deepEqual(await task.problems(), []);
    assert.equal(await composition.restarts(), 1);
  });

  test("leaves nothing of its tasks on the host when it is taken down", async () => {
    await composition.down();
    assert.deepEqual(await composition.leftovers(), []);
  });
});
