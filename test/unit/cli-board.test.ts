import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Capacity } from "@longshore/proto/longshore/v1/system_service.ts";
import { Task, Task_State } from "@longshore/proto/longshore/v1/task.ts";
import { Board } from "../../clients/cli/src/output/board.ts";

const NOW = new Date(1_700_000_060_000);
const ago = (seconds: number) => new Date(NOW.getTime() - seconds * 1000);
const MB = 2n ** 20n;

const capacity = Capacity.fromPartial({
  total: { cpuMillis: 4000n, ramBytes: 8192n * MB, storageBytes: 1024n * MB },
  held: { cpuMillis: 2000n, ramBytes: 1024n * MB },
  foreign: { cpuMillis: 1000n },
  reserve: { ramBytes: 1024n * MB },
  running: 1,
  queued: 2,
  warm: 3,
});

function running(cpuSeconds: number, seconds: number): Task {
  return Task.fromPartial({
    id: "01RUN",
    state: Task_State.RUNNING,
    startTime: ago(12),
    stages: [{ startTime: ago(12) }],
    effectiveResources: { cpuMillis: 2000n, ramBytes: 512n * MB, storageBytes: 1024n * MB },
    usage: {
      cpuTime: { seconds: BigInt(cpuSeconds), nanos: 0 },
      chargedTime: { seconds: BigInt(seconds), nanos: 0 },
      peakRamBytes: 82n * MB,
      peakStorageBytes: 3n * MB,
      logBytes: 10n,
    },
    spec: { displayName: "train\u001b[2J/" },
  });
}

const queued = Task.fromPartial({
  id: "01WAIT",
  state: Task_State.QUEUED,
  createTime: ago(30),
  wait: { position: 1, message: "waiting for 2 CPU (1 CPU free)", since: ago(4) },
  spec: { entrypoint: "main.py" },
});

describe("the board of top", () => {
  test("has bars, what runs with its peaks, and what waits with its reason", () => {
    const lines = new Board().lines({ capacity, tasks: [running(18, 12), queued], totalCount: 5 }, NOW);
    assert.deepEqual(lines, [
      "1 running · 2 queued · 3 warm   (5 yours)",
      `CPU  ${"█".repeat(15)}${"▓".repeat(8)}${"░".repeat(7)}  2 of 4 held · others hold 1`,
      `RAM  ${"█".repeat(4)}${"▒".repeat(4)}${"░".repeat(22)}  1 GB of 8 GB held · 1 GB kept back`,
      `disk ${"░".repeat(30)}  0 bytes of 1 GB held`,
      "",
      "ID     STATE    TIME  CPU        PEAK RAM         PEAK DISK     OUTPUT    WHAT",
      "01RUN  running  12 s  1.50 of 2  82 MB of 512 MB  3 MB of 1 GB  10 bytes  train\\x1b[2J/",
      "",
      "#  ID      WAITS  FOR                             WHAT",
      "1  01WAIT  4 s    waiting for 2 CPU (1 CPU free)  main.py",
      "and 3 more",
    ]);
  });

  test("shows a cell of what is held, however little", () => {
    const little = Capacity.fromPartial({ total: { ramBytes: 8192n * MB }, held: { ramBytes: 1n * MB } });
    const [, bar] = new Board().lines({ capacity: little, tasks: [], totalCount: 0 }, NOW);
    assert.equal(bar, `RAM  █${"░".repeat(29)}  1 MB of 8 GB held`);
  });

  test("tells the CPUs in use now, and keeps them until there is a newer sample", () => {
    const board = new Board();
    const cpus = (task: Task) =>
      / (\S+) of 2 /.exec(board.lines({ capacity, tasks: [task], totalCount: 1 }, NOW)[6] ?? "")?.[1];
    assert.equal(cpus(running(2, 10)), "0.20");
    assert.equal(cpus(running(4, 11)), "2.00");
    assert.equal(cpus(running(4, 11)), "2.00");
  });

  test("says so when there is nothing", () => {
    const lines = new Board().lines({ capacity, tasks: [], totalCount: 0 }, NOW);
    assert.deepEqual(lines.slice(4), ["", "nothing of yours runs", "", "nothing of yours waits"]);
  });
});
