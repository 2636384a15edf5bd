import { execFile } from "node:child_process";
import { SystemFault, Unavailable } from "../../domain/errors.ts";
import { MEBIBYTE } from "../../domain/resources.ts";
import {
  hasEnded,
  type JobLine,
  type JobRequest,
  type NodeLine,
  type SlurmController,
  SlurmRefused,
} from "./controller.ts";

const TIMEOUT_MILLIS = 30_000;
const MOST_OUTPUT_BYTES = 64 * 2 ** 20;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** How Slurm's tools say that the controller does not answer. */
const AWAY =
  /unable to contact slurm controller|connection refused|connection timed out|socket timed out|zero bytes were transmitted|slurm backup controller in standby/i;

const MEMORY_FACTORS: Readonly<Record<string, number>> = { K: 1 / 1024, M: 1, G: 1024, T: 1024 * 1024 };

/** Slurm's own tools, which find the cluster and prove who asks wherever a site has them; without a shell. */
export class ToolController implements SlurmController {
  readonly #env: NodeJS.ProcessEnv;

  constructor(configFile: string) {
    this.#env = { PATH, LC_ALL: "C", ...(configFile !== "" && { SLURM_CONF: configFile }) };
  }

  async version(): Promise<string> {
    return (await this.#run("sinfo", ["--version"])).trim();
  }

  async nodes(): Promise<NodeLine[]> {
    const text = await this.#run("sinfo", ["--noheader", "--Node", "--format=%N|%c|%m|%f|%T"]);
    const byName = new Map(
      text.split("\n").flatMap((line) => (line === "" ? [] : [[line.split("|")[0], line]])),
    );
    return [...byName.values()].map((line = "") => {
      const [, cpus = "", memory = "", features = "", state = ""] = line.split("|");
      return {
        cpus: Number(cpus),
        memoryBytes: Number(memory) * MEBIBYTE,
        features: features === "(null)" ? [] : features.split(","),
        state,
      };
    });
  }

  async submit(request: JobRequest, script: string): Promise<string> {
    const args = ["--parsable", ...jobArguments(request)];
    const answer = (await this.#run("sbatch", args, script)).trim().split(";")[0] ?? "";
    if (!/^\d+$/.test(answer))
      throw new SystemFault(`sbatch answered "${answer.slice(0, 100)}", which is no job's id`);
    return answer;
  }

  async jobs(): Promise<JobLine[]> {
    const text = await this.#run("squeue", ["--noheader", "--states=all", "--format=%A|%T|%C|%m|%r|%k"]);
    return text.split("\n").flatMap((line) => {
      const [jobId = "", state = "", cpus = "", memory = "", reason = "", ...comment] = line.split("|");
      if (state === "") return [];
      const facts = { cpus: Number(cpus), memoryBytes: memoryBytes(memory) };
      return [{ jobId, state, reason, comment: comment.join("|").trim(), ...facts }];
    });
  }

  async signal(jobId: string, signal: "USR1" | "USR2"): Promise<void> {
    await this.#runUnlessEnded(["--batch", `--signal=${signal}`, jobId]);
  }

  /** With its script ends all that runs of it: at once, not after the site's grace. A job that is being cancelled takes no signal. */
  async cancel(jobId: string): Promise<void> {
    await this.#runUnlessEnded(["--batch", "--signal=KILL", jobId]);
    await this.#runUnlessEnded([jobId]);
  }

  async #runUnlessEnded(args: readonly string[]): Promise<void> {
    try {
      await this.#run("scancel", args);
    } catch (error) {
      if (!(error instanceof SlurmRefused && hasEnded(error.said))) throw error;
    }
  }

  #run(command: string, args: readonly string[], input = ""): Promise<string> {
    return new Promise((resolve, reject) => {
      const options = { timeout: TIMEOUT_MILLIS, maxBuffer: MOST_OUTPUT_BYTES, env: this.#env };
      const child = execFile(command, args, options, (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const said = stderr.trim() || error.message;
        if (error.killed === true || AWAY.test(said))
          return reject(
            new Unavailable(`Slurm does not answer: ${said.slice(0, 500)}`, 1000, { cause: error }),
          );
        reject(new SlurmRefused(command, said.slice(0, 500), error));
      });
      // A tool that ends without reading its input tells by its exit code what was wrong.
      child.stdin?.on("error", () => child.stdin?.destroy());
      child.stdin?.end(input);
    });
  }
}

/** For sbatch. */
export function jobArguments(request: JobRequest): string[] {
  return [
    `--job-name=${request.name}`,
    `--comment=${request.comment}`,
    "--no-requeue",
    // All that sbatch has, which is next to nothing. Told to bring none, it has slurmd ask a login shell of root's, which takes a second.
    "--export=ALL",
    "--chdir=/",
    "--nodes=1",
    "--ntasks=1",
    `--cpus-per-task=${request.cpus}`,
    `--mem=${request.memoryMebibytes}M`,
    `--time=${request.minutes}`,
    "--input=/dev/null",
    `--output=${request.output}`,
    ...named("account", request.account),
    ...named("partition", request.partition),
    ...named("constraint", request.constraint),
  ];
}

function named(option: string, value: string): string[] {
  return value === "" ? [] : [`--${option}=${value}`];
}

/** squeue's "4000M"; its unit is M where none is told. */
function memoryBytes(text: string): number {
  const [, number = "", unit = ""] = /^([\d.]+)([KMGT]?)$/.exec(text) ?? [];
  return Math.round(Number(number) * (MEMORY_FACTORS[unit] ?? 1) * MEBIBYTE);
}
