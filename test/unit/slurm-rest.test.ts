/** What slurmrestd's versions say, and what becomes of answers that nobody hopes for; the real one is asked in test/contract. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { describe, test } from "node:test";
import { z } from "zod";
import type { RestAccess } from "#server/adapters/slurm/rest-calls.ts";
import { openRestController, type RestController } from "#server/adapters/slurm/rest-controller.ts";
import { SystemFault, Unavailable } from "#server/domain/errors.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";
import { Certificates } from "../support/certificates.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

/** Of the year 2286. */
const TOKEN = `e30.${Buffer.from('{"exp":9999999999}').toString("base64url")}.c2VjcmV0`;
const REQUEST = {
  ...{ name: "n", comment: "c", cpus: 2, memoryMebibytes: 304, minutes: 31, output: "/shared/output" },
  ...{ account: "", partition: "ml", constraint: "" },
};

interface Call {
  readonly method: string;
  readonly path: string;
  readonly user: unknown;
  readonly body: unknown;
}
type Answer = (call: Call) => { readonly status?: number; readonly body: unknown };

/** A description of the interface that offers these versions. */
const offering = (...versions: number[]) => ({
  paths: Object.fromEntries(versions.map((version) => [`/slurm/v0.0.${version}/jobs/`, {}])),
});
const wrapped = (number: number | null) => ({
  set: number !== null,
  infinite: false,
  number: number ?? 0,
});

function submitted(call: Call | undefined): Record<string, unknown> {
  const { script, job } = z.object({ script: z.string(), job: z.looseObject({}) }).parse(call?.body);
  assert.equal(script, "#!/bin/bash");
  return job;
}

class ScriptedRest implements AsyncDisposable {
  readonly calls: Call[] = [];
  readonly #cleanup = new AsyncDisposableStack();
  #access: RestAccess | undefined;

  static async start(versions: readonly number[], answer: Answer, tls?: Certificates): Promise<ScriptedRest> {
    const rest = new ScriptedRest();
    const listener = (request: IncomingMessage, response: ServerResponse) =>
      void rest.#take(request, response, (call) =>
        call.path.startsWith("/openapi") ? { body: offering(...versions) } : answer(call),
      );
    const pair = await tls?.issue("slurmrestd");
    const server =
      pair === undefined
        ? createServer(listener)
        : createSecureServer(
            { cert: await readFile(pair.certificate), key: await readFile(pair.key) },
            listener,
          );
    rest.#cleanup.defer(() => void server.close().closeAllConnections());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const folder = rest.#cleanup.use(await TemporaryFolder.create({ token: TOKEN }));
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const url = `${tls === undefined ? "http" : "https"}://127.0.0.1:${address.port}`;
    rest.#access = { url, user: "harbour", tokenFile: folder.at("token"), caFile: null };
    return rest;
  }

  async open(changes: Partial<RestAccess> = {}): Promise<RestController> {
    assert.ok(this.#access);
    return await openRestController({ ...this.#access, ...changes });
  }

  async #take(request: IncomingMessage, response: ServerResponse, answer: Answer): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    assert.equal(request.headers["x-slurm-user-token"], TOKEN);
    const text = Buffer.concat(chunks).toString();
    const call = {
      ...{
        method: request.method ?? "",
        path: request.url ?? "",
        user: request.headers["x-slurm-user-name"],
      },
      body: text === "" ? undefined : JSON.parse(text),
    };
    this.calls.push(call);
    const { status = 200, body } = answer(call);
    response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup.disposeAsync();
  }
}

describe("slurmrestd's versions", () => {
  for (const [offered, chosen] of [
    [[36, 37, 38], 38],
    [[40, 41, 42], 42],
    [[42, 43, 44], 42],
    [[44, 43], 43],
  ] as const)
    test(`of v0.0.${offered.join(", ")} v0.0.${chosen} is taken`, async () => {
      await using rest = await ScriptedRest.start(offered, () => ({ body: { jobs: [] } }));
      const controller = await rest.open();
      await controller.jobs();
      await controller.jobs();
      assert.deepEqual(
        rest.calls.map(({ path }) => path),
        ["/openapi/v3", `/slurm/v0.0.${chosen}/jobs`, `/slurm/v0.0.${chosen}/jobs`],
      );
      assert.equal(rest.calls[0]?.user, "harbour");
    });

  test("where all are too old it says which are there", async () => {
    await using rest = await ScriptedRest.start([36, 37], () => ({ body: {} }));
    await assert.rejects(
      (await rest.open()).jobs(),
      (error) =>
        error instanceof SystemFault && /offers v0\.0\.36, v0\.0\.37; .* v0\.0\.38/.test(error.message),
    );
  });

  test("one that an upgrade took away is looked for anew", async () => {
    const versions = [38];
    await using rest = await ScriptedRest.start(versions, ({ path }) =>
      path.includes(`v0.0.${versions[0]}/`)
        ? { body: { jobs: [] } }
        : { status: 404, body: "Unable find URL" },
    );
    const controller = await rest.open();
    await controller.jobs();
    versions[0] = 42;
    await assert.rejects(controller.jobs(), Unavailable);
    assert.deepEqual(await controller.jobs(), []);
  });

  test("later ones wrap numbers and list states, and are understood all the same", async () => {
    const facts = { state_reason: "None", comment: "longshore:i:s" };
    const jobs = [
      {
        ...{ job_id: 1, job_state: ["CANCELLED", "COMPLETING"], cpus: wrapped(2), ...facts },
        ...{ memory_per_node: wrapped(null), memory_per_cpu: wrapped(100) },
      },
      {
        ...{ job_id: 2, job_state: ["PENDING"], cpus: wrapped(1), ...facts },
        ...{ memory_per_node: wrapped(304), memory_per_cpu: wrapped(null) },
      },
    ];
    const nodes = [{ cpus: 4, real_memory: 4000, features: ["a", "b"], state: ["IDLE", "DRAIN"] }];
    const meta = { slurm: { release: "24.11.5" } };
    await using rest = await ScriptedRest.start([42], () => ({ body: { meta, jobs, nodes, errors: [] } }));
    const controller = await rest.open();
    assert.deepEqual(
      (await controller.jobs()).map(({ jobId, state, cpus, memoryBytes }) => [
        jobId,
        state,
        cpus,
        memoryBytes,
      ]),
      [
        ["1", "COMPLETING", 2, 200 * MEBIBYTE],
        ["2", "PENDING", 1, 304 * MEBIBYTE],
      ],
    );
    assert.deepEqual(await controller.nodes(), [
      { cpus: 4, memoryBytes: 4000 * MEBIBYTE, features: ["a", "b"], state: "IDLE+DRAIN" },
    ]);
    assert.equal(await controller.version(), "slurm 24.11.5 (slurmrestd v0.0.42)");
  });

  test("never requeue a job, each in its own words", async () => {
    for (const [version, expected] of [
      [38, { no_requeue: true, nodes: [1, 1], memory_per_node: 304, time_limit: 31 }],
      [42, { requeue: false, minimum_nodes: 1, maximum_nodes: 1, memory_per_node: wrapped(304) }],
    ] as const) {
      await using rest = await ScriptedRest.start([version], () => ({ body: { job_id: 7 } }));
      assert.equal(await (await rest.open()).submit(REQUEST, "#!/bin/bash"), "7");
      const job = submitted(rest.calls[1]);
      assert.deepEqual({ ...job, ...expected, partition: "ml", cpus_per_task: 2 }, job);
      assert.ok(!("account" in job) && !("constraints" in job));
    }
  });
});

describe("slurmrestd's answers", () => {
  test("a job that was taken with a warning was taken", async () => {
    const errors = [{ error_code: 2015, error: "Requested partition is down" }];
    await using rest = await ScriptedRest.start([38], () => ({ body: { job_id: 9, errors } }));
    assert.equal(await (await rest.open()).submit(REQUEST, ""), "9");
  });

  for (const [what, status, body, expected] of [
    [
      "a controller that is away",
      500,
      { errors: [{ error_number: -1, error: "Unspecified error" }] },
      /no answer from the controller, or that does not take the token/,
    ],
    [
      "a token that is not taken",
      511,
      { errors: [{ error_number: 1007, error: "Protocol authentication error" }] },
      /does not take the token in .*: Protocol authentication error/,
    ],
    ["a door that is shut", 401, "Authentication failure", /does not let harbour in with the token in/],
    ["a proxy without anybody behind it", 503, "<html>", /answered with 503/],
  ] as const)
    test(`${what} is unavailable, and the token is not told`, async () => {
      await using rest = await ScriptedRest.start([38], () => ({ status, body }));
      await assert.rejects((await rest.open()).jobs(), (error) => {
        assert.ok(error instanceof Unavailable, String(error));
        assert.match(error.message, expected);
        assert.doesNotMatch(JSON.stringify(error, Object.getOwnPropertyNames(error)), /c2VjcmV0/);
        return true;
      });
    });

  test("one that is no list of jobs is a fault, and says where", async () => {
    await using rest = await ScriptedRest.start([38], () => ({ body: { jobs: [{ job_id: "x" }] } }));
    await assert.rejects(
      (await rest.open()).jobs(),
      (error) => error instanceof SystemFault && /\/jobs in no known form/.test(error.message),
    );
  });
});

test("https trusts the operator's authority, and no other", async () => {
  await using certificates = await Certificates.create();
  await using rest = await ScriptedRest.start([38], () => ({ body: { jobs: [] } }), certificates);
  assert.deepEqual(await (await rest.open({ caFile: certificates.ca })).jobs(), []);
  await assert.rejects(
    (await rest.open()).jobs(),
    (error) => error instanceof Unavailable && /certificate/.test(error.message),
  );
  await assert.rejects(
    rest.open({ caFile: "/nowhere/ca.pem" }),
    /certificates for slurmrestd cannot be read/,
  );
});
