import { setTimeout as sleep } from "node:timers/promises";
import { ulid } from "ulid";
import {
  acquire,
  follow,
  patience,
  sampleRunnerSpec,
  sampleShape,
  shell,
} from "../contract/engine-under-test.ts";
import { DockerBench, EXECUTOR_IMAGE } from "./docker-engine.ts";

/**
 * A server's engine in a process of its own, to be killed or put into another mount namespace:
 * node docker-engine-child.ts FOLDER INSTALLATION_ID SCRIPT. Tells in one line of JSON what it started, and once its stdin is closed
 * in another how that ended.
 */
const [folder, installationId, script] = process.argv.slice(2);
if (folder === undefined || installationId === undefined || script === undefined)
  throw new Error("FOLDER, INSTALLATION_ID and SCRIPT are needed");
const bench = DockerBench.at(folder, installationId);
try {
  const engine = await bench.open();
  const { digest } = await engine.resolveImage(EXECUTOR_IMAGE);
  const shape = sampleShape(digest);
  engine.takeWarm(shape);
  const signal = patience();
  while (engine.warmCount() === 0) await sleep(20, undefined, { signal });
  const waiting = await acquire(engine, shape);
  const running = await acquire(engine, shape);
  const attemptId = ulid();
  await engine.begin(running, sampleRunnerSpec(shape, { attemptId, ...shell(script) }));
  const warm = (await engine.list()).filter((sandbox) => sandbox.warm).map(({ id }) => id);
  const { tiers } = await engine.capabilities();
  const storage = tiers[0]?.limits.find(({ limit }) => limit === "STORAGE");
  console.log(JSON.stringify({ attemptId, running: running.id, waiting: waiting.id, warm, storage }));
  // Until somebody ends this process or closes its stdin.
  for await (const _ of process.stdin);
  const { stdout, ending } = await follow(engine, running.id, attemptId);
  console.log(JSON.stringify({ stdout, reason: ending?.reason }));
  for (const { id } of await engine.list()) await engine.release(id);
  await engine.close();
} catch (error) {
  console.log(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }));
  process.exitCode = 1;
}
