import { z } from "zod";
import { ExperimentRefused, Unavailable } from "../../domain/errors.ts";
import type {
  ExperimentTracker,
  RunOrder,
  RunStatus,
  TrackingCredentials,
} from "../../domain/ports/experiment-tracker.ts";
import type { ExperimentRun } from "../../domain/task.ts";
import type { TrackingServer } from "../../domain/tracking.ts";

const API = "/api/2.0/mlflow";
const CALL_MILLIS = 10_000;
/** Answers are small; whoever answers more is no MLflow. */
const MOST_BYTES = 2 ** 20;

const experimentAnswer = z.object({
  experiment: z.object({ experiment_id: z.string(), lifecycle_stage: z.string().default("active") }),
});
const createdAnswer = z.object({ experiment_id: z.string() });
const runAnswer = z.object({ run: z.object({ info: z.object({ run_id: z.string(), status: z.string() }) }) });
const errorAnswer = z.object({ error_code: z.string(), message: z.string().default("") });

interface Target {
  readonly server: TrackingServer;
  readonly credentials: TrackingCredentials;
  readonly signal: AbortSignal;
}

/** MLflow over its REST API. */
export class MlflowTracker implements ExperimentTracker {
  readonly #clock: () => Date;

  constructor(clock: () => Date) {
    this.#clock = clock;
  }

  async begin(order: RunOrder, signal: AbortSignal): Promise<ExperimentRun> {
    const target = { server: order.server, credentials: order.credentials, signal };
    const experimentId = await this.#experiment(target, order.experiment);
    const tags = {
      ...order.tags,
      "mlflow.runName": order.runName,
      "mlflow.user": order.user,
      "mlflow.source.name": order.runName,
      "mlflow.source.type": "JOB",
    };
    const { run } = await call(target, runAnswer, "runs/create", {
      experiment_id: experimentId,
      run_name: order.runName,
      start_time: this.#clock().getTime(),
      tags: Object.entries(tags)
        .filter(([, value]) => value !== "")
        .map(([key, value]) => ({ key, value })),
    });
    const runId = run.info.run_id;
    const page = `${encodeURIComponent(experimentId)}/runs/${encodeURIComponent(runId)}`;
    return { experimentId, runId, url: `${order.server.url}/#/experiments/${page}` };
  }

  async finish(
    server: TrackingServer,
    runId: string,
    status: RunStatus,
    credentials: TrackingCredentials,
    signal: AbortSignal,
  ): Promise<void> {
    const target = { server, credentials, signal };
    const { run } = await call(target, runAnswer, `runs/get?run_id=${encodeURIComponent(runId)}`);
    if (run.info.status !== "RUNNING" && run.info.status !== "SCHEDULED") return;
    await call(target, z.unknown(), "runs/update", {
      run_id: runId,
      status,
      end_time: this.#clock().getTime(),
    });
  }

  /** Tasks of a new experiment that start together all ask for it, and one of them is the first. */
  async #experiment(target: Target, name: string): Promise<string> {
    const found = await this.#find(target, name);
    if (found !== undefined) return found;
    try {
      return (await call(target, createdAnswer, "experiments/create", { name })).experiment_id;
    } catch (error) {
      const winner = error instanceof ExperimentRefused ? await this.#find(target, name) : undefined;
      if (winner === undefined) throw error;
      return winner;
    }
  }

  async #find(target: Target, name: string): Promise<string | undefined> {
    const query = `experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`;
    try {
      const { experiment } = await call(target, experimentAnswer, query);
      if (experiment.lifecycle_stage === "active") return experiment.experiment_id;
    } catch (error) {
      if (error instanceof ExperimentRefused && error.code === "RESOURCE_DOES_NOT_EXIST") return undefined;
      throw error;
    }
    throw new ExperimentRefused(
      `experiment "${name}" was deleted on tracking server ${target.server.name}; restore it there, or choose another name`,
      "DELETED",
    );
  }
}

async function call<T>(
  { server, credentials, signal }: Target,
  shape: z.ZodType<T>,
  path: string,
  body?: unknown,
): Promise<T> {
  const named = `tracking server ${server.name} (${server.url})`;
  let status: number;
  let answer: unknown;
  try {
    const response = await fetch(`${server.url}${API}/${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { "content-type": "application/json", ...authorization(credentials) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      // It would lead to an address that nobody configured.
      redirect: "error",
      signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_MILLIS)]),
    });
    status = response.status;
    answer = parse(await readUpTo(response, MOST_BYTES));
  } catch (error) {
    signal.throwIfAborted();
    const why = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new Unavailable(
      `${named} does not answer: ${why instanceof Error ? why.message : String(why)}`,
      5000,
      { cause: error },
    );
  }
  if (status >= 500 || status === 429) throw new Unavailable(`${named} answers with ${status}`, 5000);
  if (status >= 400) throw refusal(named, status, answer);
  const parsed = shape.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new ExperimentRefused(`${named} does not answer as MLflow does; see what listens there`, "NO_MLFLOW");
}

function refusal(named: string, status: number, answer: unknown): ExperimentRefused {
  const parsed = errorAnswer.safeParse(answer);
  const code = parsed.success ? parsed.data.error_code : `HTTP_${status}`;
  if (status === 401 || status === 403) {
    const advice =
      "give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in secret_env";
    return new ExperimentRefused(`${named} asks who is there; ${advice}`, code);
  }
  const message = parsed.success ? parsed.data.message.slice(0, 300) : `it answers with ${status}`;
  return new ExperimentRefused(`${named} makes no run: ${message}`, code);
}

function authorization({ username, password, token }: TrackingCredentials): Record<string, string> {
  if (token !== "") return { authorization: `Bearer ${token}` };
  if (username === "") return {};
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}` };
}

async function readUpTo(response: Response, most: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > most) throw new Error(`its answer has more than ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A page of a proxy, say: the status or the shape decides what that means.
    return undefined;
  }
}
