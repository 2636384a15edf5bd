import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { outcomeOf, outcomeOfDamaged } from "#server/domain/dependency.ts";
import { RecordDamaged } from "#server/domain/errors.ts";
import type { TaskQuery, TaskStore } from "#server/domain/ports/task-store.ts";
import { type DamagedTask, isDamaged } from "#server/domain/task-record.ts";
import {
  SAMPLE_TIME,
  sampleAttempt,
  sampleId,
  sampleStage,
  sampleTask,
  succeeded,
} from "../support/sample-task.ts";

export interface TamperedStores extends AsyncDisposable {
  readonly tasks: TaskStore;
  /** Runs a statement as a person would, beside the server. */
  readonly tamper: (statement: string) => Promise<void> | void;
  /** What the server was told of. */
  readonly told: readonly DamagedTask[];
}

const everything: TaskQuery = {
  tenant: "tenant",
  owner: "",
  states: [],
  reasons: [],
  labels: {},
  createdAfter: null,
  createdBefore: null,
  limit: 3,
  afterId: "",
};

const ID = sampleId(2);
const SECRET = "hunter2";

/** Each makes the second task of three unreadable; then what is said of it. */
const DAMAGES: readonly (readonly [string, RegExp])[] = [
  [`update task set state = 'LOST' where id = '${ID}'`, /^state: /],
  [`update task set limits = '{${SECRET}' where id = '${ID}'`, /^limits: is not JSON$/],
  [`update task_spec set spec = '{"code":7,"x":"${SECRET}"}' where task_id = '${ID}'`, /^spec\.taskType: /],
  [`update task_spec set program = '"${SECRET}"' where task_id = '${ID}'`, /^program: /],
  [`delete from task_spec where task_id = '${ID}'`, /^spec: .*; program: /],
  [`update attempt set warm = 7 where task_id = '${ID}'`, /^attempt 1, warm: /],
  [`update stage set name = '${SECRET}' where task_id = '${ID}'`, /^stage 0, name: /],
];

/** What every database must do where a row is not what was written. */
export function damagedTasksContract(name: string, open: () => Promise<TamperedStores>): void {
  describe(`damaged tasks: ${name}`, () => {
    for (const [statement, expected] of DAMAGES)
      test(`are shown with what is left, and harm no other: ${statement.slice(0, 40)}`, async () => {
        await using stores = await filled(open);
        await stores.tamper(statement);
        await checkRead(stores, expected);
        await checkRemoved(stores);
      });

    test("are not taken for something else where they are looked for", async () => {
      await using stores = await filled(open);
      await stores.tamper(`update task_spec set spec = '' where task_id = '${ID}'`);
      await assert.rejects(stores.tasks.findByRequestId("tenant", "second"), RecordDamaged);
      const outcomes = await stores.tasks.outcomes([sampleId(1), ID]);
      assert.deepEqual(outcomes.get(ID), outcomeOf(sampleTask(2)));
      await stores.tamper(`update task set state = 'LOST' where id = '${ID}'`);
      const damaged = await stores.tasks.outcomes([sampleId(1), ID]);
      assert.deepEqual(damaged.get(sampleId(1)), outcomeOf(sampleTask(1)));
      assert.deepEqual(damaged.get(ID), outcomeOfDamaged({ id: ID, tenant: "tenant" }));
    });

    test("expire like others", async () => {
      await using stores = await filled(open);
      const task = await stores.tasks.get(ID);
      assert.ok(task !== undefined && !isDamaged(task));
      await stores.tasks.save({ ...succeeded(task), expireTime: SAMPLE_TIME }, task);
      await stores.tamper(`update task_spec set spec = '' where task_id = '${ID}'`);
      const later = new Date(SAMPLE_TIME.getTime() + 1);
      const [expired, ...more] = await stores.tasks.expired(later, 10);
      assert.ok(expired !== undefined && isDamaged(expired) && more.length === 0);
      assert.deepEqual([expired.id, expired.state], [ID, "SUCCEEDED"]);
      assert.deepEqual(await stores.tasks.lastEnded(10), []);
    });
  });
}

async function filled(open: () => Promise<TamperedStores>): Promise<TamperedStores> {
  const stores = await open();
  const fields = { attempts: [sampleAttempt(1)], stages: [sampleStage("queue", 0)] };
  await stores.tasks.insert(sampleTask(1));
  await stores.tasks.insert(sampleTask(2, fields, { requestId: "second" }));
  await stores.tasks.insert(sampleTask(3));
  return stores;
}

async function checkRead({ tasks, told }: TamperedStores, expected: RegExp): Promise<void> {
  const record = await tasks.get(ID);
  assert.ok(record !== undefined && isDamaged(record));
  assert.match(record.damage, expected);
  assert.ok(!record.damage.includes(SECRET));
  const { id, tenant, owner, createTime } = sampleTask(2);
  assert.deepEqual(
    [record.id, record.tenant, record.owner, record.createTime],
    [id, tenant, owner, createTime],
  );
  const page = await tasks.list(everything);
  assert.deepEqual(page, { records: [sampleTask(3), record, sampleTask(1)], nextAfterId: "" });
  const first = await tasks.list({ ...everything, limit: 2 });
  assert.deepEqual(first, { records: [sampleTask(3), record], nextAfterId: ID });
  assert.deepEqual(await tasks.unfinished(), [sampleTask(1), sampleTask(3)]);
  assert.deepEqual(told, [record]);
}

async function checkRemoved({ tasks }: TamperedStores): Promise<void> {
  assert.equal(await tasks.remove(ID), true);
  assert.equal(await tasks.get(ID), undefined);
  assert.equal((await tasks.list(everything)).records.length, 2);
}
