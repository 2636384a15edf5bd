import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { InvalidRequest, LongshoreError, ServerFault } from "@longshore/client";
import { describeError } from "../../clients/cli/src/output/errors.ts";
import { runCli } from "../support/run-cli.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const told = (error: unknown) => describeError(error, "server:1").join("\n");

describe("what people are told of an error", () => {
  test("names the options that they typed, also within a sentence", () => {
    const violations = [
      { field: "env[A]", description: "is given in secret_env, too" },
      { field: "command[0]", description: "is empty" },
      { field: "url", description: "is required" },
    ];
    assert.match(
      told(new InvalidRequest(violations)),
      /--env A +is given in --secret-env, too\n {2}--command #1 +is empty\n {2}URL +is required/,
    );
    const error = new LongshoreError("request_id x was used; take another request_id, or max_attempts.");
    assert.equal(
      told(error),
      "error: --request-id x was used; take another --request-id, or --max-attempts.",
    );
    const words = "the image of my_request_id and resources.txt";
    assert.equal(told(new LongshoreError(words)), `error: ${words}`);
  });

  test("holds the id of a fault once", () => {
    const fault = new ServerFault("the server failed; its log tells why under f-1", { requestId: "f-1" });
    assert.equal(told(fault), "error: the server failed; its log tells why under f-1");
    assert.match(told(new ServerFault("failed", { requestId: "f-1" })), /failed\n.*under f-1/);
  });

  test("blames a bad file on the option or the variable that named it", async () => {
    await using folder = await TemporaryFolder.create({ "ca.pem": "no certificate" });
    const [ca, missing] = [folder.at("ca.pem"), folder.at("missing")];
    for (const [args, env, expected] of [
      [["--tls-ca", missing], {}, `--tls-ca ${missing} cannot be read`],
      [["--tls-ca", ca], {}, `--tls-ca ${ca} holds no certificate as PEM`],
      [[], { LONGSHORE_TLS_CA: ca }, `LONGSHORE_TLS_CA ${ca} holds no certificate as PEM`],
      [["--tls-cert", ca, "--tls-key", ca], {}, `--tls-cert ${ca} holds no certificate as PEM`],
    ] as const) {
      const { code, stderr } = await runCli([...args, "ps"], { env });
      assert.equal(code, 2);
      assert.ok(stderr.startsWith(`error: ${expected}`), stderr);
    }
  });
});
