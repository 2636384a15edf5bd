import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type JobLine, type SlurmController, SlurmRefused } from "#server/adapters/slurm/controller.ts";
import { Unavailable } from "#server/domain/errors.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import { slurm } from "../support/slurm-engine.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const PATIENCE_MILLIS = 60_000;

/** Every way to Slurm's controller. `deaf` asks one that does not answer; what it needs for that may lie in the folder. */
export function slurmController(
  name: string,
  open: { there(): Promise<SlurmController>; deaf(folder: TemporaryFolder): Promise<SlurmController> },
  options: { skip?: string | false } = {},
): void {
  describe(`SlurmController: ${name}`, { skip: options.skip ?? false }, () => {
    let controller: SlurmController;
    let folder: TemporaryFolder;
    before(async () => {
      folder = await TemporaryFolder.create();
      controller = await open.there();
    });
    after(async () => {
      await slurm("scancel", "--name=controller-suite");
      await folder?.[Symbol.asyncDispose]();
    });

    const submit = (script: string, changes: { partition?: string; comment?: string } = {}) =>
      controller.submit(
        {
          ...{ name: "controller-suite", comment: "", cpus: 2, memoryMebibytes: 150, minutes: 7 },
          ...{ output: folder.at("output"), account: "twinscie", partition: "ml", constraint: "cpu" },
          ...changes,
        },
        `#!/bin/bash\n${script}\n`,
      );

    /** Slurm tells nobody of changes. */
    const until = async (jobId: string, found: (job: JobLine) => boolean | Promise<boolean>) => {
      for (const end = Date.now() + PATIENCE_MILLIS; ; await delay(100)) {
        const job = (await controller.jobs()).find((one) => one.jobId === jobId);
        if (job !== undefined && (await found(job))) return job;
        assert.ok(Date.now() < end, `job ${jobId} is still ${JSON.stringify(job)}`);
      }
    };
    const isOver = ({ state }: JobLine) =>
      !["PENDING", "CONFIGURING", "RUNNING", "COMPLETING"].includes(state);
    const output = async () => (await readFile(folder.at("output"), "utf8").catch(() => "")).trim();
    const says = (text: string) => async () => (await output()).endsWith(text);

    test("tells its version and its nodes, each once", async () => {
      assert.match(await controller.version(), /^slurm[a-z-]* \d+\.\d+/);
      const nodes = await controller.nodes();
      assert.equal(nodes.length, 2);
      for (const { cpus, memoryBytes, features, state } of nodes) {
        assert.deepEqual([cpus, memoryBytes, features], [4, 4000 * MEBIBYTE, ["cpu"]]);
        assert.match(state, /^(idle|mix|alloc)/i);
      }
    });

    test("takes a job as it was asked for, and never starts it again", async () => {
      const comment = "longshore:01J|x:y=1,2 3";
      const jobId = await submit("echo began; sleep 60", { comment });
      const job = await until(jobId, says("began"));
      assert.deepEqual(
        [job.state, job.comment, job.cpus, job.memoryBytes],
        ["RUNNING", comment, 2, 150 * MEBIBYTE],
      );
      const told = await slurm("scontrol", "show", "job", "--oneliner", jobId);
      for (const fact of ["Account=twinscie", "Partition=ml", "Requeue=0", "Features=cpu", "WorkDir=/"])
        assert.ok(told.includes(` ${fact} `), `${fact} in ${told}`);
      assert.match(told, / TimeLimit=00:07:00 .* NumNodes=1 .* StdIn=\/dev\/null /);
      await controller.cancel(jobId);
      await until(jobId, isOver);
    });

    test("brings nothing of the server's own environment", async () => {
      await using variables = new AsyncDisposableStack();
      variables.defer(() => void delete process.env.LONGSHORE_TEST_SECRET);
      process.env.LONGSHORE_TEST_SECRET = "harbour master";
      const jobId = await submit("env");
      await until(jobId, isOver);
      const there = await output();
      assert.match(there, /^SLURM_JOB_ID=/m);
      assert.doesNotMatch(there, /harbour master/);
    });

    test("signals the job's script, and not what that has set apart", async () => {
      const jobId = await submit(
        "trap 'echo told; kill $child' USR1\nsetsid bash -c 'trap \"echo apart\" USR1; echo ready; sleep 60 & wait' & child=$!\n" +
          "while kill -0 $child 2>/dev/null; do wait $child; done; echo over",
      );
      await until(jobId, says("ready"));
      await controller.signal(jobId, "USR1");
      const job = await until(jobId, says("over"));
      assert.equal(await output(), "ready\ntold\nover");
      await until(job.jobId, ({ state }) => state === "COMPLETED");
    });

    test("ends a job that does not want to", async () => {
      const jobId = await submit("trap '' TERM USR1 USR2; echo deaf; while :; do sleep 1; done");
      await until(jobId, says("deaf"));
      await controller.cancel(jobId);
      await until(jobId, isOver);
    });

    test("a job that has ended, or never was, is as good as signalled and cancelled", async () => {
      const jobId = await submit("true");
      await until(jobId, ({ state }) => state === "COMPLETED");
      for (const id of [jobId, "987654"]) {
        await controller.signal(id, "USR2");
        await controller.cancel(id);
      }
    });

    test("what it refuses is told in its own words", async () => {
      await assert.rejects(
        submit("true", { partition: "nowhere" }),
        (error) => error instanceof SlurmRefused && /invalid partition name/i.test(error.said),
      );
    });

    test("one that does not answer is unavailable", async () => {
      const deaf = await open.deaf(folder);
      await assert.rejects(deaf.jobs(), Unavailable);
    });
  });
}
