import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AccessToken } from "#server/domain/access-token.ts";
import type { AuditEvent } from "#server/domain/audit.ts";
import type { AuditLog, TokenStore } from "#server/domain/ports/access-store.ts";

interface Stores extends AsyncDisposable {
  readonly tokens: TokenStore;
  readonly audit: AuditLog;
}

const TIME = new Date("2026-01-02T03:04:05.678Z");

function token(number: number, changes: Partial<AccessToken> = {}): AccessToken {
  return {
    id: String(number).padStart(26, "0"),
    secretDigest: "ab".repeat(32),
    tenant: "tenant",
    subject: "Zoë <zoe@example>",
    scopes: ["tasks:read", "operator"],
    description: "",
    createTime: TIME,
    createdBy: "admin",
    expireTime: null,
    revokeTime: null,
    ...changes,
  };
}

function event(number: number, changes: Partial<AuditEvent> = {}): AuditEvent {
  return {
    id: String(number).padStart(26, "0"),
    time: new Date(TIME.getTime() + number * 1000),
    tenant: "tenant",
    subject: "admin",
    credential: "token 1",
    action: "token.create",
    resource: "thing",
    detail: "",
    peer: "::1",
    count: 1,
    ...changes,
  };
}

const ALL = { tenant: null, since: null, until: null, afterId: "", limit: 100 };

/** What every TokenStore with its AuditLog must do; `open` answers empty ones. */
export function accessStoreContract(name: string, open: () => Promise<Stores>): void {
  describe(`TokenStore and AuditLog: ${name}`, () => {
    test("a token is found as it was stored, and its event beside it", async () => {
      await using stores = await open();
      const stored = token(1, { expireTime: TIME });
      await stores.tokens.insert(stored, event(1));
      assert.deepEqual(await stores.tokens.find(stored.id), stored);
      assert.equal(await stores.tokens.find(token(2).id), undefined);
      assert.deepEqual(await stores.audit.list(ALL), [event(1)]);
    });

    test("a token that cannot be stored leaves no event", async () => {
      await using stores = await open();
      await stores.tokens.insert(token(1), event(1));
      await assert.rejects(() => stores.tokens.insert(token(1), event(2)));
      assert.deepEqual(await stores.audit.list(ALL), [event(1)]);
    });

    test("tokens are listed newest first, of one tenant or all, page by page", async () => {
      await using stores = await open();
      for (const number of [1, 3, 2])
        await stores.tokens.insert(token(number, number === 2 ? { tenant: "other" } : {}), event(number));
      const ids = async (tenant: string | null, afterId = "", limit = 10) =>
        (await stores.tokens.list({ tenant, afterId, limit })).map(({ id }) => Number(id));
      assert.deepEqual(await ids(null), [3, 2, 1]);
      assert.deepEqual(await ids("tenant"), [3, 1]);
      assert.deepEqual(await ids(null, token(3).id, 1), [2]);
      assert.deepEqual(await ids("nobody"), []);
    });

    test("a token is revoked once, with one event", async () => {
      await using stores = await open();
      await stores.tokens.insert(token(1), event(1));
      assert.equal(await stores.tokens.revoke(token(1).id, TIME, event(2)), true);
      assert.equal(await stores.tokens.revoke(token(1).id, new Date(), event(3)), false);
      assert.equal(await stores.tokens.revoke(token(9).id, TIME, event(4)), false);
      assert.deepEqual((await stores.tokens.find(token(1).id))?.revokeTime, TIME);
      assert.deepEqual(await stores.audit.list(ALL), [event(1), event(2)]);
    });

    test("events are listed oldest first, of one tenant or all, of a time, page by page", async () => {
      await using stores = await open();
      const events = [event(1), event(2, { tenant: "", count: 2 ** 40, action: "call.denied" }), event(3)];
      for (const one of events.toReversed()) await stores.audit.append(one);
      assert.deepEqual(await stores.audit.list(ALL), events);
      assert.deepEqual(await stores.audit.list({ ...ALL, tenant: "tenant" }), [events[0], events[2]]);
      assert.deepEqual(await stores.audit.list({ ...ALL, afterId: event(1).id, limit: 1 }), [events[1]]);
      const [, second] = events;
      assert.deepEqual(await stores.audit.list({ ...ALL, since: second?.time ?? TIME }), events.slice(1));
      assert.deepEqual(await stores.audit.list({ ...ALL, until: second?.time ?? TIME }), events.slice(0, 1));
    });
  });
}
