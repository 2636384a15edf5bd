/** What a tracking server that is no good answer from MLflow becomes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { describe, test } from "node:test";
import { MlflowTracker } from "#server/adapters/mlflow/mlflow-tracker.ts";
import { ExperimentRefused, Unavailable } from "#server/domain/errors.ts";
import type { RunOrder } from "#server/domain/ports/experiment-tracker.ts";

async function begin(listener: RequestListener, credentials: Partial<RunOrder["credentials"]> = {}) {
  const server = createServer(listener);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const { port } = address;
  const order: RunOrder = {
    server: { name: "experiments", url: `http://127.0.0.1:${port}`, host: "127.0.0.1", port },
    experiment: "e",
    runName: "r",
    user: "",
    tags: {},
    credentials: { username: "", password: "", token: "", ...credentials },
  };
  try {
    return await new MlflowTracker(() => new Date()).begin(order, AbortSignal.timeout(60_000));
  } finally {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }
}

const answer =
  (status: number, body: string, headers: Record<string, string> = {}): RequestListener =>
  (_, response) => {
    response.writeHead(status, headers);
    response.end(body);
  };

describe("a tracking server", () => {
  const refused: readonly [string, RequestListener, RegExp][] = [
    ["that asks who is there", answer(401, "who?"), /MLFLOW_TRACKING_TOKEN, in secret_env/],
    ["that is something else", answer(200, "<html>hello</html>"), /does not answer as MLflow does/],
    [
      "that refuses",
      answer(400, JSON.stringify({ error_code: "INVALID_PARAMETER_VALUE", message: "too long" })),
      /makes no run: too long/,
    ],
    [
      "on which the experiment was deleted",
      answer(200, JSON.stringify({ experiment: { experiment_id: "3", lifecycle_stage: "deleted" } })),
      /"e" was deleted on tracking server experiments; restore it/,
    ],
  ];
  for (const [name, listener, message] of refused)
    test(`${name} ends the attempt with what to do`, async () => {
      await assert.rejects(begin(listener), (error) => {
        assert.ok(error instanceof ExperimentRefused, String(error));
        assert.match(error.message, message);
        return true;
      });
    });

  const away: readonly [string, RequestListener, RegExp][] = [
    ["that hangs up", (request) => request.socket.destroy(), /does not answer/],
    ["that fails", answer(503, "later"), /answers with 503/],
    ["that leads elsewhere", answer(302, "", { location: "http://127.0.0.1:1/" }), /does not answer/],
    ["that answers without end", answer(200, "x".repeat(2 ** 21)), /more than 1048576 bytes/],
  ];
  for (const [name, listener, message] of away)
    test(`${name} may be asked again`, async () => {
      await assert.rejects(begin(listener), (error) => {
        assert.ok(error instanceof Unavailable, String(error));
        assert.match(error.message, message);
        return true;
      });
    });

  for (const [credentials, expected] of [
    [{}, undefined],
    [{ username: "ana", password: "s:cret" }, `Basic ${Buffer.from("ana:s:cret").toString("base64")}`],
    [{ token: "t0ken", username: "ana" }, "Bearer t0ken"],
  ] as const)
    test(`is told ${expected?.split(" ")[0] ?? "no"} credentials`, async () => {
      const seen: (string | undefined)[] = [];
      const run = { run: { info: { run_id: "r1", status: "RUNNING" } } };
      const made = await begin((request, response) => {
        seen.push(request.headers.authorization);
        const found = { experiment: { experiment_id: "7" } };
        response.end(JSON.stringify(request.method === "GET" ? found : run));
      }, credentials);
      assert.deepEqual(seen, [expected, expected]);
      assert.match(made.url, /\/#\/experiments\/7\/runs\/r1$/);
    });
});
