import { z } from "zod";
import { MEBIBYTE } from "../../domain/resources.ts";
import type { JobLine, JobRequest, NodeLine } from "./controller.ts";

/** Versions of the interface, the 38 of v0.0.38. Those between were tried, but for 39; the form changed with that. */
export const OLDEST = 38;
const NEWEST_TRIED = 42;
const RENAMED = 39;
/** What the environment of a job holds at least; its script sets it anew. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Told beside what else is true of a job, in the order in which squeue gives them precedence. */
const TOLD_FIRST = [
  ...["COMPLETING", "STAGE_OUT", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"],
  ...["SPECIAL_EXIT", "STOPPED", "REVOKED", "RESV_DEL_HOLD", "SIGNALING"],
];

/** A number, which later versions wrap, for it may be none or without bounds. */
const amount = z
  .union([
    z.number(),
    z.null(),
    z.object({ set: z.boolean(), number: z.number().default(0) }).transform(({ set, number }) => {
      return set ? number : null;
    }),
  ])
  .optional()
  .transform((value) => value ?? null);
/** A list, or its members with commas. */
const words = z
  .union([z.array(z.string()), z.string().transform((text) => text.split(","))])
  .transform((list) => list.filter((word) => word !== ""));
const jobId = z.int().positive();

const job = z.object({
  job_id: jobId,
  job_state: words,
  state_reason: z.string().nullish(),
  comment: z.string().nullish(),
  cpus: amount,
  memory_per_node: amount,
  memory_per_cpu: amount,
});
const node = z.object({
  cpus: z.number(),
  real_memory: z.number(),
  features: words.nullish(),
  state: words,
  state_flags: words.nullish(),
});
const fault = z.object({
  description: z.string().nullish(),
  error: z.string().nullish(),
  error_number: z.number().nullish(),
  error_code: z.number().nullish(),
  errno: z.number().nullish(),
});
const faults = z.object({ errors: z.array(fault).nullish() });
const release = z.object({ release: z.string() });
const greeting = z.object({
  meta: z.union([
    z.object({ slurm: release }).transform(({ slurm }) => slurm.release),
    z.object({ Slurm: release }).transform(({ Slurm }) => Slurm.release),
  ]),
});
const accepted = z.object({ job_id: jobId });
const description = z.object({ paths: z.record(z.string(), z.unknown()) });

export const readJobs = (body: unknown): JobLine[] =>
  z
    .object({ jobs: z.array(job) })
    .parse(body)
    .jobs.map(jobLine);
export const readNodes = (body: unknown): NodeLine[] =>
  z
    .object({ nodes: z.array(node) })
    .parse(body)
    .nodes.map(nodeLine);
export const readRelease = (body: unknown): string => greeting.parse(body).meta;

/** Undefined where the answer names no job. */
export function readJobId(body: unknown): string | undefined {
  const { data } = accepted.safeParse(body);
  return data === undefined ? undefined : String(data.job_id);
}

/** What went wrong, in Slurm's words, with its numbers. */
export function readFaults(body: unknown): { readonly numbers: readonly number[]; readonly said: string } {
  const found = faults.safeParse(body).data?.errors ?? [];
  const numbers = found.flatMap(({ error_number, error_code, errno }) =>
    [error_number, error_code, errno].filter((number) => typeof number === "number"),
  );
  const texts = found.map(({ error, description }) => (error || description) ?? "");
  return { numbers, said: [...new Set(texts.filter((text) => text !== ""))].join("; ") };
}

/** Numbers of the versions that an OpenAPI description is of. */
export function readVersions(body: unknown): number[] {
  const paths = Object.keys(description.safeParse(body).data?.paths ?? {});
  return paths.flatMap((path) => {
    const [, number] = /^\/slurm\/v0\.0\.(\d+)\/jobs\/?$/.exec(path) ?? [];
    return number === undefined ? [] : [Number(number)];
  });
}

/** The newest that was tried, else what is next to it; undefined where all are too old. */
export function chooseVersion(offered: readonly number[]): number | undefined {
  const tried = offered.filter((version) => version >= OLDEST && version <= NEWEST_TRIED);
  const later = offered.filter((version) => version > NEWEST_TRIED);
  return tried.toSorted((a, b) => b - a)[0] ?? later.toSorted((a, b) => a - b)[0];
}

/** What is posted to submit a job. */
export function submission(version: number, request: JobRequest, script: string): unknown {
  const named = {
    ...(request.account !== "" && { account: request.account }),
    ...(request.partition !== "" && { partition: request.partition }),
    ...(request.constraint !== "" && { constraints: request.constraint }),
  };
  const same = {
    ...{ name: request.name, comment: request.comment, ...named },
    ...{ tasks: 1, cpus_per_task: request.cpus, current_working_directory: "/" },
    ...{ standard_input: "/dev/null", standard_output: request.output },
  };
  const own =
    version < RENAMED
      ? {
          ...{ nodes: [1, 1], memory_per_node: request.memoryMebibytes, time_limit: request.minutes },
          environment: { PATH },
          // Not in its description; what is there, `requeue`, counts as asked for even when it is false.
          no_requeue: true,
        }
      : {
          ...{ minimum_nodes: 1, maximum_nodes: 1, requeue: false, environment: [`PATH=${PATH}`] },
          memory_per_node: { set: true, infinite: false, number: request.memoryMebibytes },
          time_limit: { set: true, infinite: false, number: request.minutes },
        };
  return { script, job: { ...same, ...own } };
}

function jobLine(one: z.infer<typeof job>): JobLine {
  const cpus = one.cpus ?? 1;
  const perNode = one.memory_per_node ?? (one.memory_per_cpu ?? 0) * cpus;
  return {
    jobId: String(one.job_id),
    state: TOLD_FIRST.find((state) => one.job_state.includes(state)) ?? one.job_state[0] ?? "",
    reason: one.state_reason ?? "",
    comment: one.comment ?? "",
    cpus,
    memoryBytes: perNode * MEBIBYTE,
  };
}

function nodeLine(one: z.infer<typeof node>): NodeLine {
  return {
    cpus: one.cpus,
    memoryBytes: one.real_memory * MEBIBYTE,
    features: one.features ?? [],
    state: [...one.state, ...(one.state_flags ?? [])].join("+"),
  };
}
