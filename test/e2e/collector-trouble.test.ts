import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import { Longshore } from "@longshore/client";
import { OtlpCollector } from "../support/fakes/otlp-collector.ts";
import { startServer, whyNoServer } from "../support/running-server.ts";

/** Everything about a run and the end of its server that must not depend on who collects spans. */
async function liveWith(env: Record<string, string>): Promise<unknown> {
  await using server = await startServer(env);
  await using client = new Longshore(server.address);
  const code = "print('hello', flush=True); raise SystemExit(3)";
  const { reason, exitCode, record } = await client.run({ code }, { reject: false });
  // What a task tells of itself takes the same way.
  const told = "import sys; sys.path.append('/longshore/runner/lib')\nfrom longshore_tracing import span\n";
  const flood = `${told}for n in range(2000):\n with span("s"): pass`;
  const spoke = await client.run({ code: flood }, { reject: false });
  const ended = await server.stop();
  const left = await server.leftovers();
  const { stdoutTail } = record.result ?? {};
  return { reason, exitCode, stdoutTail, spoke: spoke.reason, ended, left };
}

describe("a collector in trouble", {
  skip: (await whyNoServer()) ?? false,
  timeout: 120_000,
  concurrency: true,
}, () => {
  const usual = { reason: "EXITED", exitCode: 3, stdoutTail: "hello\n", spoke: "EXITED", ended: 0, left: [] };

  test("that never answers changes nothing about tasks or the end of the server", async () => {
    await using collector = await OtlpCollector.listen({ answers: false });
    assert.deepEqual(await liveWith({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint }), usual);
    assert.ok(collector.spans.length > 0);
  });

  test("and one that is not there does not either", async () => {
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const address = listener.address();
    assert.ok(address !== null && typeof address === "object");
    const closed = once(listener, "close");
    listener.close();
    await closed;
    const endpoint = `http://127.0.0.1:${address.port}`;
    assert.deepEqual(await liveWith({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }), usual);
  });

  test("nor does having none", async () => {
    assert.deepEqual(await liveWith({}), usual);
  });
});
