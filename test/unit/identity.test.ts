import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createIds } from "#server/application/identity.ts";

describe("ids", () => {
  test("sort in the order they were made in, and use every character that a ULID may have", () => {
    const newId = createIds();
    const ids = Array.from({ length: 1000 }, newId);
    assert.deepEqual(ids.toSorted(), ids);
    assert.equal(new Set(ids).size, ids.length);
    for (const id of ids) assert.match(id, /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
  });

  test("of servers that begin at the same moment differ, in all of their random part", () => {
    const randomParts = Array.from({ length: 200 }, () => createIds()().slice(10));
    assert.equal(new Set(randomParts).size, randomParts.length);
    for (let place = 0; place < 16; place++) {
      const seen = new Set(randomParts.map((part) => part[place]));
      assert.ok(seen.size > 16, `place ${place} holds ${[...seen].join("")} alone`);
    }
  });
});
