import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AuditEvent } from "#server/domain/audit.ts";
import type { AuditLog } from "#server/domain/ports/access-store.ts";
import type { TaskStore } from "#server/domain/ports/task-store.ts";
import type { DeliveryQuery, Outbox, WebhookStore } from "#server/domain/ports/webhook-store.ts";
import type { TaskSpec } from "#server/domain/task.ts";
import type { Delivery, SigningSecrets, WebhookEndpoint } from "#server/domain/webhook.ts";
import { targetOf } from "#server/domain/webhook.ts";
import { next, SAMPLE_SPEC, sampleTask } from "../support/sample-task.ts";

interface Stores extends AsyncDisposable {
  readonly tasks: TaskStore;
  readonly webhooks: WebhookStore;
  readonly outbox: Outbox;
  readonly audit: AuditLog;
}

const TIME = new Date("2026-01-02T03:04:05.678Z");
const LATER = new Date("2999-01-01T00:00:00Z");
const NOBODY = { ids: [], targets: [], tenants: [] };
const TENANT = sampleTask(1).tenant;
const ALL: DeliveryQuery = {
  ...{ tenant: TENANT, endpointId: "", taskId: "", states: [], limit: 100, after: null },
};

function endpoint(number: number, changes: Partial<WebhookEndpoint> = {}): WebhookEndpoint {
  return {
    id: String(number).padStart(26, "0"),
    tenant: TENANT,
    url: `https://receiver.example/${number}`,
    states: [],
    description: "für Zoë",
    createTime: TIME,
    createdBy: "ana",
    failingSince: null,
    disableTime: null,
    disableReason: "",
    ...changes,
  };
}

function event(number: number): AuditEvent {
  const texts = { tenant: TENANT, subject: "ana", credential: "local", detail: "", peer: "" };
  const id = String(number).padStart(26, "0");
  return { id, time: TIME, action: "webhook.create", resource: "w", count: 1, ...texts };
}

const secrets = (current: string): SigningSecrets => ({
  tenant: TENANT,
  current,
  createTime: TIME,
  previous: "",
  previousExpireTime: null,
});

/** Without webhooks of its own. */
const task = (number: number, changes: Partial<TaskSpec> = {}) =>
  sampleTask(number, { spec: { ...SAMPLE_SPEC, requestId: "", webhooks: [], ...changes } });
const own = [{ url: "https://own.example/hook", states: ["QUEUED" as const, "PREPARING" as const] }];

/** What every WebhookStore and Outbox must do, and what the TaskStore beside them adds; `open` answers empty ones. */
export function webhookStoreContract(name: string, open: () => Promise<Stores>): void {
  const dueOf = async (stores: Stores) => (await stores.outbox.due(LATER, NOBODY, 100)) as Delivery[];

  describe(`WebhookStore: ${name}`, () => {
    test("an address is found as it was stored, and its event beside it", async () => {
      await using stores = await open();
      const stored = endpoint(1, { states: ["QUEUED", "FAILED"], failingSince: TIME, disableReason: "x" });
      assert.equal(await stores.webhooks.insert(stored, event(1), null), false);
      assert.deepEqual(await stores.webhooks.find(stored.id), stored);
      assert.equal(await stores.webhooks.find("unknown"), undefined);
      const query = { tenant: null, since: null, until: null, afterId: "", limit: 9 };
      assert.deepEqual(await stores.audit.list(query), [event(1)]);
    });

    test("the first address brings the secret, later ones do not change it", async () => {
      await using stores = await open();
      assert.equal(await stores.webhooks.secrets(TENANT), undefined);
      assert.equal(await stores.webhooks.insert(endpoint(1), event(1), secrets("one")), true);
      assert.equal(await stores.webhooks.insert(endpoint(2), event(2), secrets("two")), false);
      assert.deepEqual(await stores.webhooks.secrets(TENANT), secrets("one"));
      const rotated = { ...secrets("three"), previous: "one", previousExpireTime: LATER };
      await stores.webhooks.putSecrets(rotated, event(3));
      assert.deepEqual(await stores.webhooks.secrets(TENANT), rotated);
    });

    test("addresses are listed newest first, of one tenant, page by page", async () => {
      await using stores = await open();
      for (const number of [1, 3, 2])
        await stores.webhooks.insert(
          endpoint(number, number === 2 ? { tenant: "other" } : {}),
          event(number),
          null,
        );
      const ids = async (afterId = "", limit = 9) =>
        (await stores.webhooks.list({ tenant: TENANT, afterId, limit })).map(({ id }) => Number(id));
      assert.deepEqual([await ids(), await ids("", 1), await ids(endpoint(3).id)], [[3, 1], [3], [1]]);
    });

    test("an address is removed once, and what waits for it is given up", async () => {
      await using stores = await open();
      await stores.webhooks.insert(endpoint(1, { states: ["QUEUED"] }), event(1), null);
      await stores.tasks.insert(task(1));
      assert.equal(await stores.webhooks.remove(endpoint(1).id, event(2)), true);
      assert.equal(await stores.webhooks.remove(endpoint(1).id, event(3)), false);
      assert.deepEqual(await dueOf(stores), []);
      const [given] = await stores.outbox.list(ALL);
      assert.deepEqual(
        [given?.state, given?.nextTryTime, given?.lastError],
        ["FAILED", null, "its webhook was deleted"],
      );
      await stores.tasks.insert(task(2));
      assert.equal((await stores.outbox.list(ALL)).length, 1);
    });
  });

  describe(`Outbox: ${name}`, () => {
    test("a change of state is stored for the addresses that ask for it, once each", async () => {
      await using stores = await open();
      await stores.webhooks.insert(endpoint(1, { states: ["PREPARING"] }), event(1), null);
      await stores.webhooks.insert(endpoint(2), event(2), null);
      await stores.webhooks.insert(endpoint(3, { tenant: "other", states: ["QUEUED"] }), event(3), null);
      const first = task(1, { webhooks: own });
      const second = next(first, { state: "PREPARING" });
      const third = next(second, { priority: 1 } as object);
      await stores.tasks.insert(first);
      await stores.tasks.save(second, first);
      await stores.tasks.save(third, second);
      const found = (await dueOf(stores)).map(({ taskState, endpointId, url }) => [
        taskState,
        endpointId,
        url,
      ]);
      assert.deepEqual(found.toSorted(), [
        ["PREPARING", "", "https://own.example/hook"],
        ["PREPARING", endpoint(1).id, endpoint(1).url],
        ["QUEUED", "", "https://own.example/hook"],
      ]);
    });

    test("a change that is not committed leaves nothing to send", async () => {
      await using stores = await open();
      const first = task(1, { webhooks: own });
      await stores.tasks.insert(first);
      const [queued] = await dueOf(stores);
      const unsaved = next(first, {});
      await assert.rejects(stores.tasks.save(next(unsaved, { state: "PREPARING" }), unsaved));
      assert.deepEqual(await dueOf(stores), [queued]);
    });

    test("listeners hear of what was added, after the commit, until they stop", async () => {
      await using stores = await open();
      let heard = 0;
      const deaf = stores.outbox.onAdded(() => {
        heard += 1;
      });
      await stores.tasks.insert(task(1));
      assert.equal(heard, 0);
      await stores.tasks.insert(task(2, { webhooks: own }));
      assert.equal(heard, 1);
      deaf();
      await stores.tasks.insert(task(3, { webhooks: own }));
      assert.equal(heard, 1);
    });

    test("what is due comes longest due first, without what is busy", async () => {
      await using stores = await open();
      for (const number of [1, 2, 3]) await stores.tasks.insert(task(number, { webhooks: own }));
      const all = await dueOf(stores);
      assert.equal(all.length, 3);
      const [one, two, three] = all as [Delivery, Delivery, Delivery];
      await stores.outbox.save({ ...one, nextTryTime: LATER }, null);
      await stores.outbox.save({ ...two, nextTryTime: new Date(2) }, null);
      await stores.outbox.save({ ...three, nextTryTime: new Date(1) }, null);
      const ids = async (busy: Partial<typeof NOBODY>, limit = 9) =>
        (await stores.outbox.due(new Date(), { ...NOBODY, ...busy }, limit)).map(({ id }) => id);
      assert.deepEqual(await ids({}), [three.id, two.id]);
      assert.deepEqual(await ids({}, 1), [three.id]);
      assert.deepEqual(await ids({ ids: [three.id] } as object), [two.id]);
      assert.deepEqual(await ids({ targets: [targetOf(one)] } as object), []);
      assert.deepEqual(await ids({ tenants: [TENANT] } as object), []);
      assert.deepEqual(await stores.outbox.nextDueTime(new Date()), LATER);
      assert.equal(await stores.outbox.nextDueTime(LATER), null);
    });

    test("what became of a delivery is kept, with what became of its endpoint", async () => {
      await using stores = await open();
      await stores.webhooks.insert(endpoint(1, { states: ["QUEUED"] }), event(1), null);
      await stores.tasks.insert(task(1));
      await stores.tasks.insert(task(2));
      const [one, two] = (await dueOf(stores)) as [Delivery, Delivery];
      const tried: Delivery = {
        ...one,
        ...{ state: "FAILED", tries: 8, triesOfRound: 3, nextTryTime: null, lastTryTime: TIME },
        ...{ lastStatusCode: 503, lastError: "answered 503", lastResponse: "nö" },
      };
      const off = { ...endpoint(1, { states: ["QUEUED"] }), disableTime: TIME, disableReason: "long" };
      await stores.outbox.save(tried, off);
      assert.deepEqual(await stores.outbox.find(one.id), tried);
      assert.deepEqual(await stores.webhooks.find(off.id), off);
      assert.equal((await stores.outbox.find(two.id))?.lastError, "its webhook was turned off");
      await stores.tasks.insert(task(3));
      assert.deepEqual(await dueOf(stores), []);
      await stores.outbox.save(tried, { ...off, disableTime: null });
      await stores.tasks.insert(task(4));
      assert.equal((await dueOf(stores)).length, 1);
    });

    test("deliveries are listed newest first, of one tenant, page by page, also of one moment", async () => {
      await using stores = await open();
      const twice = [...own, ...own];
      for (const number of [1, 2]) await stores.tasks.insert(task(number, { webhooks: twice }));
      const all = await stores.outbox.list(ALL);
      assert.equal(all.length, 4);
      const pages: Delivery[] = [];
      for (let after: Delivery | null = null; ; ) {
        const page: Delivery[] = await stores.outbox.list({ ...ALL, limit: 1, after });
        if (page.length === 0) break;
        pages.push(...page);
        after = page.at(-1) ?? null;
      }
      assert.deepEqual(pages, all);
      const count = async (changes: Partial<DeliveryQuery>) =>
        (await stores.outbox.list({ ...ALL, ...changes })).length;
      assert.equal(await count({ taskId: task(1).id }), 2);
      assert.equal(await count({ tenant: "other" }), 0);
      assert.equal(await count({ states: ["FAILED", "DELIVERED"] }), 0);
      assert.equal(await count({ states: ["PENDING"] }), 4);
      assert.equal(await count({ endpointId: endpoint(1).id }), 0);
    });

    test("what is done with goes when it is old, what waits stays", async () => {
      await using stores = await open();
      for (const number of [1, 2]) await stores.tasks.insert(task(number, { webhooks: own }));
      const [one] = (await dueOf(stores)) as [Delivery, Delivery];
      await stores.outbox.save({ ...one, state: "DELIVERED", nextTryTime: null }, null);
      assert.equal(await stores.outbox.removeBefore(new Date(0), 9), 0);
      assert.equal(await stores.outbox.removeBefore(LATER, 9), 1);
      assert.equal((await stores.outbox.list(ALL)).length, 1);
    });

    test("the record of a task may go before its last state was told", async () => {
      await using stores = await open();
      await stores.tasks.insert(task(1, { webhooks: own }));
      await stores.tasks.remove(task(1).id);
      assert.equal((await dueOf(stores)).length, 1);
    });
  });
}
