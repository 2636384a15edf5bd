import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import {
  BadRequest,
  QuotaFailure,
  RequestInfo,
  ResourceInfo,
  RetryInfo,
} from "@longshore/proto/google/rpc/error_details.ts";
import {
  BadArchive,
  InvalidRequest,
  NotFound,
  QuotaExceeded,
  SystemFault,
  Unavailable,
  WrongOffset,
} from "#server/domain/errors.ts";
import { statusOf } from "#server/transport/errors.ts";
import { detailsOf, errorInfoOf } from "../support/grpc-calls.ts";

const newId = () => "fault-1";

function detailOf(error: unknown, name: string): Uint8Array {
  const found = detailsOf(statusOf(error, newId))?.details.find(({ typeUrl }) =>
    typeUrl.endsWith(`.${name}`),
  );
  assert.ok(found, `${name} is there`);
  return found.value;
}

describe("an error on the wire", () => {
  test("carries its reason, its facts and what belongs to its kind", () => {
    const archive = statusOf(new BadArchive("path", "../x leads out of the project", "../x"), newId);
    assert.equal(archive.code, status.INVALID_ARGUMENT);
    const info = { reason: "BAD_ARCHIVE", domain: "longshore", metadata: { rule: "path", entry: "../x" } };
    assert.deepEqual(errorInfoOf(archive), info);
    assert.equal(statusOf(new WrongOffset(5, 7), newId).code, status.OUT_OF_RANGE);

    const violations = [{ field: "code", description: "is empty" }];
    const { fieldViolations } = BadRequest.decode(detailOf(new InvalidRequest(violations), "BadRequest"));
    assert.deepEqual(
      fieldViolations.map(({ field, description }) => ({ field, description })),
      violations,
    );
    const resource = ResourceInfo.decode(detailOf(new NotFound("task", "t1"), "ResourceInfo"));
    assert.deepEqual([resource.resourceType, resource.resourceName], ["task", "t1"]);
    const retry = RetryInfo.decode(detailOf(new Unavailable("draining", 1500), "RetryInfo"));
    assert.deepEqual(retry.retryDelay, { seconds: 1n, nanos: 500_000_000 });
    const quota = QuotaFailure.decode(detailOf(new QuotaExceeded("tenant:a", "too many"), "QuotaFailure"));
    assert.equal(quota.violations[0]?.subject, "tenant:a");
  });

  test("tells nothing of a fault but the id under which it is logged", () => {
    for (const fault of [new Error("password=x"), new SystemFault("password=x"), "password=x", undefined]) {
      const answer = statusOf(fault, newId);
      assert.equal(answer.code, status.INTERNAL);
      assert.equal(answer.faultId, "fault-1");
      assert.match(answer.details, /fault-1/);
      assert.doesNotMatch(JSON.stringify([answer.details, detailsOf(answer)]), /password/);
      assert.equal(RequestInfo.decode(detailOf(fault, "RequestInfo")).requestId, "fault-1");
    }
  });

  test("stays within what clients accept of trailers, whatever it is made of", () => {
    const nasty = ["x".repeat(30_000), "€%\n".repeat(9_000), "\ud800".repeat(9_000), "😀".repeat(9_000)];
    for (const text of nasty) {
      const violations = Array.from({ length: 100 }, () => ({ field: text, description: text }));
      const errors = [
        new InvalidRequest(violations),
        new NotFound("task", text),
        new BadArchive("path", text, text),
      ];
      for (const error of errors) {
        const answer = statusOf(error, newId);
        const [details] = answer.metadata.get("grpc-status-details-bin");
        assert.ok(details instanceof Buffer);
        const size = encodeURI(answer.details).length + details.toString("base64").length;
        assert.ok(size < 8000, `${error.name} takes ${size} bytes`);
      }
    }
  });

  test("says how many wrong fields it had no room for", () => {
    const violations = Array.from({ length: 500 }, (_, index) => ({
      field: `args[${index}]`,
      description: "is bad",
    }));
    const { fieldViolations } = BadRequest.decode(detailOf(new InvalidRequest(violations), "BadRequest"));
    const left = 500 - (fieldViolations.length - 1);
    assert.equal(fieldViolations.at(-1)?.description, `and ${left} more problems, not listed here`);
  });
});
