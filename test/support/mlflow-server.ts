import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import type { TrackingServer } from "#server/domain/tracking.ts";
import type { NeighbourHost } from "./neighbour-host.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const PROGRAM = process.env.LONGSHORE_TEST_MLFLOW ?? "";
const PORT = 5000;

/** Why there is no MLflow here; false where there is. */
export const mlflowMissing: string | false =
  PROGRAM === "" &&
  "LONGSHORE_TEST_MLFLOW names no mlflow program; scripts/test installs one where PyPI answers";

const pairs = z.array(z.object({ key: z.string(), value: z.union([z.string(), z.number()]) })).default([]);
const runShape = z.object({
  run: z.object({
    info: z.object({ run_id: z.string(), experiment_id: z.string(), status: z.string() }),
    data: z.object({ params: pairs, metrics: pairs, tags: pairs }),
  }),
});

export interface SeenRun {
  readonly experimentId: string;
  readonly status: string;
  readonly params: Record<string, string | number>;
  readonly metrics: Record<string, string | number>;
  readonly tags: Record<string, string | number>;
}

/** A real MLflow server on a machine beside this one. */
export class MlflowServer implements AsyncDisposable {
  readonly url: string;
  readonly #cleanup: AsyncDisposableStack;

  private constructor(url: string, cleanup: AsyncDisposableStack) {
    this.url = url;
    this.#cleanup = cleanup;
  }

  static async start(host: NeighbourHost): Promise<MlflowServer> {
    await using building = new AsyncDisposableStack();
    const folder = building.use(await TemporaryFolder.create());
    const [program, args] = host.commandLine(PROGRAM, [
      ...["server", "--host", "0.0.0.0", "--port", String(PORT), "--workers", "1"],
      ...["--backend-store-uri", `sqlite:///${join(folder.path, "mlflow.db")}`],
      ...["--artifacts-destination", join(folder.path, "artifacts")],
    ]);
    const child = spawn(program, args, {
      cwd: folder.path,
      env: {
        ...process.env,
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION: "false",
        MLFLOW_DISABLE_TELEMETRY: "true",
        HOME: folder.path,
      },
      stdio: ["ignore", "pipe", "pipe"],
      // It starts processes of its own, which are ended with it.
      detached: true,
    });
    const ended = once(child, "close");
    building.defer(async () => {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGKILL");
      await ended;
    });
    await started(child);
    return new MlflowServer(`http://${host.address}:${PORT}`, building.move());
  }

  get tracking(): TrackingServer {
    return { name: "experiments", url: this.url, host: new URL(this.url).hostname, port: PORT };
  }

  async run(runId: string): Promise<SeenRun> {
    const answer = await this.call(`runs/get?run_id=${runId}`);
    const { info, data } = runShape.parse(answer).run;
    const record = (list: z.output<typeof pairs>) =>
      Object.fromEntries(list.map(({ key, value }) => [key, value]));
    return {
      experimentId: info.experiment_id,
      status: info.status,
      params: record(data.params),
      metrics: record(data.metrics),
      tags: record(data.tags),
    };
  }

  async call(path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`${this.url}/api/2.0/mlflow/${path}`, {
      ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
      headers: { "content-type": "application/json" },
    });
    if (!response.ok)
      throw new Error(`MLflow answers ${path} with ${response.status}: ${await response.text()}`);
    return response.json();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.disposeAsync();
  }
}

/** Resolves when it listens; a server that cannot start says why. */
async function started(child: ChildProcess): Promise<void> {
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error("MLflow's output is not piped");
  const lines: string[] = [];
  const listening = new Promise<void>((resolve, reject) => {
    const read = (line: string) => {
      lines.push(line);
      if (line.includes("Uvicorn running on")) resolve();
    };
    for (const stream of [stdout, stderr]) createInterface({ input: stream }).on("line", read);
    child.once("exit", (code) =>
      reject(new Error(`MLflow ended with ${code}:\n${lines.slice(-20).join("\n")}`)),
    );
  });
  await listening;
}
