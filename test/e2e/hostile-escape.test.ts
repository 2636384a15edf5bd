/** Ways out of a sandbox, beside a neighbour who has a secret: none leads anywhere. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { after, before, describe, test } from "node:test";
import { HostileBench, SECRET, type Tier, tierMissing } from "../support/hostile-bench.ts";

interface Told {
  readonly attempt: string;
  readonly refused: boolean;
  readonly detail: string;
}

/**
 * What gVisor's kernel lets through because it means nothing there: all of it is its own, in the memory of one sandbox. What can be
 * read of PID 1 is the same in every sandbox; that its memory and its descriptors cannot be used is tested in both tiers.
 */
const HARMLESS_IN_GVISOR: ReadonlySet<string> = new Set([
  "PID 1: read environ",
  "PID 1: read maps",
  "PID 1: read auxv",
  "PID 1: its descriptors",
  "PID 1: priority",
  "own: oom_score_adj below that of the sandbox",
  "own: nice below that of the runner",
  "namespace: new user",
  "namespace: new mount",
  "devices: beyond the harmless",
  "devices: open /dev/fuse",
]);

/** The host's own addresses, where the server and others may listen. */
function hostAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return all.filter(({ family }) => family === "IPv4").map(({ address }) => address);
}

for (const isolation of ["container", "gvisor"] as const satisfies readonly Tier[]) {
  describe(`escape from ${isolation}`, { skip: await tierMissing(isolation) }, () => {
    let bench: HostileBench;
    before(async () => {
      bench = await HostileBench.start();
    });
    after(async () => await bench?.finish());

    test("nothing that was tried got through, and the record of the task is whole", async () => {
      const port = Number(bench.server.address.split(":").at(-1));
      const about = {
        data: bench.server.dataDirectory,
        addresses: hostAddresses().map((address) => [address, port]),
        secret: SECRET.name,
      };
      const hostname = await readFile("/proc/sys/kernel/hostname", "utf8");
      const pattern = await readFile("/proc/sys/kernel/core_pattern", "utf8");
      const task = await bench.submit("escape", { isolation, args: [JSON.stringify(about)], ram: "128MB" });
      const outcome = await task.result({ reject: false });
      assert.deepEqual([outcome.reason, outcome.exitCode], ["EXITED", 0], outcome.stderrTail);
      let text = "";
      for await (const { data } of task.logs()) text += Buffer.from(data).toString();
      const told: Told[] = text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      assert.equal(told.at(-1)?.attempt, "all tried");
      assert.ok(told.length > 120, `${told.length} attempts`);
      const through = told.filter(
        ({ attempt, refused }) => !refused && !(isolation === "gvisor" && HARMLESS_IN_GVISOR.has(attempt)),
      );
      // The inner container of gVisor has no filter of the engine's, only the runner's: the sandbox itself is the wall.
      assert.deepEqual(through, []);
      assert.ok(!text.includes(SECRET.text));
      assert.equal(await readFile("/proc/sys/kernel/hostname", "utf8"), hostname);
      assert.equal(await readFile("/proc/sys/kernel/core_pattern", "utf8"), pattern);
    });
  });
}
