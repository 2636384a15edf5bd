/** Nothing that a user or the operator keeps to themselves shows in logs, spans or errors, however a task fails. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore, LongshoreError, type SubmitOptions, TaskFailed } from "@longshore/client";
import { OtlpCollector } from "../support/fakes/otlp-collector.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const SECRET = "sec-5f1d0c77a4";
const ENV_VALUE = "env-91ab33de02";
const TOKEN = "tok-7c2e94b1f8";
const COLLECTOR_KEY = "key-30d4a6c95b";
const TASK_COLLECTOR_KEY = "key-b8812f40de";
const INDEX_KEY = "idx-4e17a9c06d";
const PROXY_KEY = "prx-a25d0f83b7";
const CODE_MARK = "code-e6a07d1c43";
const STDIN_MARK = "stdin-2b9f81d5c6";
const KEPT = {
  SECRET,
  ENV_VALUE,
  TOKEN,
  COLLECTOR_KEY,
  TASK_COLLECTOR_KEY,
  INDEX_KEY,
  PROXY_KEY,
  CODE_MARK,
  STDIN_MARK,
};

const PRIVATE: SubmitOptions = {
  secretEnv: { API_KEY: SECRET },
  env: { SETTING: ENV_VALUE },
  stdin: `${STDIN_MARK}\n`,
  retention: "1h",
};

/** Each prints what it was given: its output is its owner's, and nobody else's. */
const SHOW = `# ${CODE_MARK}
import os, sys, time
sys.path.append("/longshore/runner/lib")
from longshore_tracing import span
secret, setting = os.environ["API_KEY"], os.environ["SETTING"]
print(secret, setting, sys.stdin.readline(), flush=True)
print(secret, file=sys.stderr, flush=True)
`;

interface Run {
  readonly code: string;
  readonly options?: SubmitOptions;
}

/** Packages can be installed only where there is uv. */
const ENVIRONMENT: Readonly<Record<string, Run>> =
  process.env.LONGSHORE_UV === undefined
    ? {}
    : { ENVIRONMENT_FAILED: { code: "", options: { requirements: ["no-such-package==1"] } } };

/** By the reason they end with. */
const FAILURES: Readonly<Record<string, Run>> = {
  EXITED: { code: `with span("login " + secret, key=secret): raise SystemExit("no: " + secret + setting)` },
  SIGNALED: { code: "os.kill(os.getpid(), 11)" },
  TIMED_OUT: { code: "time.sleep(60)", options: { timeout: "1s" } },
  OUT_OF_MEMORY: { code: "x = [secret * 1000000 for _ in range(1000)]", options: { ram: "64MB" } },
  ...ENVIRONMENT,
  OUTPUT_LIMIT: { code: "while True: print(secret * 1000)", options: { maxLogBytes: 2 ** 20 } },
  STORAGE_FULL: {
    code: "f = open('f', 'w')\nwhile True: f.write(secret * 100000)",
    options: { storage: "32MB" },
  },
};

/** What is wrong with them is said without what they hold. */
const REFUSALS: readonly [string, SubmitOptions][] = [
  ["INVALID_REQUEST", { secretEnv: { "NO=NAME": SECRET }, env: { "": ENV_VALUE } }],
  ["INVALID_REQUEST", { secretEnv: { API_KEY: `${SECRET}\0` }, env: { SETTING: `${ENV_VALUE}\0` } }],
  ["INVALID_REQUEST", { secretEnv: { API_KEY: SECRET.repeat(200_000) }, ram: "no size" }],
  ["INVALID_REQUEST", { secretEnv: { SETTING: SECRET } }],
  ["IMAGE_REFUSED", { image: "longshore/nowhere:1" }],
  ["NEVER_FITS", { ram: "900TB" }],
  ["NOT_ENFORCED", { network: "egress" }],
];

class Seen {
  readonly #texts: { readonly where: string; readonly text: string }[] = [];

  add(where: string, what: unknown): void {
    this.#texts.push({ where, text: typeof what === "string" ? what : JSON.stringify(what) });
  }

  /** Everything of an error that a program can print, its causes included. */
  addError(where: string, error: unknown): void {
    for (let cause = error; cause instanceof Error; cause = cause.cause)
      this.add(where, `${cause.stack} ${JSON.stringify(cause)}`);
  }

  assertKept(): void {
    for (const [name, value] of Object.entries(KEPT)) {
      const [leak] = this.#texts.filter(({ text }) => text.includes(value));
      assert.equal(leak, undefined, `${name} is in the ${leak?.where}: ${leak?.text.slice(0, 2000)}`);
    }
  }
}

async function failEveryWay(client: Longshore, seen: Seen): Promise<void> {
  for (const [reason, { code, options }] of Object.entries(FAILURES)) {
    const failed = client.run({ code: SHOW + code }, { ...PRIVATE, ...options });
    await assert.rejects(failed, (error) => {
      assert.ok(error instanceof TaskFailed);
      assert.equal(error.outcome.reason, reason, error.message);
      seen.add("message of a failed task", [error.message, error.outcome.record.result?.advice]);
      return true;
    });
  }
}

async function refuseEveryWay(client: Longshore, seen: Seen): Promise<void> {
  for (const [reason, options] of REFUSALS) {
    const refused = client.submit({ code: SHOW }, { ...PRIVATE, ...options });
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof LongshoreError);
      assert.equal(error.reason, reason, error.message);
      seen.addError("error", error);
      return true;
    });
  }
  const requestId = "one";
  await client.run({ code: SHOW }, { ...PRIVATE, requestId });
  const reused = client.submit(
    { code: SHOW },
    { ...PRIVATE, secretEnv: { API_KEY: `${SECRET}2` }, requestId },
  );
  await assert.rejects(reused, (error) => {
    seen.addError("error", error);
    return error instanceof LongshoreError && error.reason === "REQUEST_ID_REUSED";
  });
}

/** Removed behind the server's back, cancelled, and taken up by another server. */
async function interruptEveryWay(client: Longshore, server: RunningServer): Promise<void> {
  const endless = { code: `${SHOW}time.sleep(60)` };
  const lost = await client.submit(endless, PRIVATE);
  for await (const _ of lost.logs()) break;
  const { attempts } = await lost.get();
  await promisify(execFile)("docker", ["rm", "-f", attempts[0]?.containerId ?? ""]);
  assert.equal((await lost.result({ reject: false })).reason, "LOST");
  const cancelled = await client.submit(endless, PRIVATE);
  for await (const _ of cancelled.logs()) break;
  await server.kill();
  await server.start();
  await cancelled.cancel({ reason: "enough", grace: "0s" });
  assert.equal((await cancelled.result({ reject: false })).reason, "CANCELLED");
  const rerun = await cancelled.rerun();
  await rerun.cancel({ grace: "0s" });
  await rerun.result({ reject: false });
}

describe("what is kept secret", { skip: (await whyNoServer()) ?? false, timeout: 120_000 }, () => {
  test("is in no log line, span or error, over runs that fail in every way", async () => {
    await using collector = await OtlpCollector.listen();
    const seen = new Seen();
    {
      await using server = await startServer({
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
        OTEL_EXPORTER_OTLP_HEADERS: `authorization=${COLLECTOR_KEY}`,
        LONGSHORE_BUILD_INDEX_URL: `https://reader:${INDEX_KEY}@packages.invalid/simple`,
        LONGSHORE_BUILD_PROXY: `http://proxy:${PROXY_KEY}@proxy.invalid:3128`,
        LONGSHORE_TASK_OTEL_EXPORTER_OTLP_HEADERS: `authorization=${TASK_COLLECTOR_KEY}`,
      });
      await using client = new Longshore(server.address, { metadata: { authorization: `Bearer ${TOKEN}` } });
      await failEveryWay(client, seen);
      await refuseEveryWay(client, seen);
      await interruptEveryWay(client, server);
      await server.stop();
      assert.ok(server.log.some((line) => line.includes('"level":"debug"')));
      for (const line of server.log) seen.add("log", line);
    }
    for (const span of collector.spans) seen.add("span", span);
    for (const resource of collector.resources) seen.add("span's resource", resource);
    const login = collector.spans.find(({ name }) => name.startsWith("login"));
    assert.equal(login?.name, "login [hidden]");
    assert.ok(collector.spans.filter(({ name }) => name === "task").length >= 9);
    seen.assertKept();
  });
});
