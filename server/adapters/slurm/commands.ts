import { execFile } from "node:child_process";
import { SystemFault, Unavailable } from "../../domain/errors.ts";

const TIMEOUT_MILLIS = 30_000;
const MOST_OUTPUT_BYTES = 64 * 2 ** 20;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** How Slurm's tools say that the controller does not answer. */
const AWAY =
  /unable to contact slurm controller|connection refused|connection timed out|socket timed out|zero bytes were transmitted|slurm backup controller in standby/i;

/** The cluster answered, and said no. */
export class SlurmRefused extends SystemFault {
  readonly said: string;

  constructor(command: string, said: string, cause: unknown) {
    super(`${command}: ${said}`, {}, { cause });
    this.said = said;
  }
}

export interface JobLine {
  readonly jobId: string;
  /** As squeue writes it in full: PENDING, OUT_OF_MEMORY. */
  readonly state: string;
  /** Why it waits, or how it ended. */
  readonly reason: string;
  readonly comment: string;
  readonly cpus: number;
  /** What squeue tells of its memory, "4000M". */
  readonly memory: string;
}

/** Slurm's own tools, which find the cluster and prove who asks wherever a site has them; without a shell. */
export class SlurmCommands {
  readonly #env: NodeJS.ProcessEnv;

  constructor(configFile: string) {
    this.#env = { PATH, LC_ALL: "C", ...(configFile !== "" && { SLURM_CONF: configFile }) };
  }

  async version(): Promise<string> {
    return (await this.#run("sinfo", ["--version"])).trim();
  }

  /** Each node once, whatever the number of its partitions. */
  async nodes(): Promise<{ cpus: number; memoryBytes: number; features: string[]; state: string }[]> {
    const text = await this.#run("sinfo", ["--noheader", "--Node", "--format=%N|%c|%m|%f|%T"]);
    const byName = new Map(
      text.split("\n").flatMap((line) => (line === "" ? [] : [[line.split("|")[0], line]])),
    );
    return [...byName.values()].map((line = "") => {
      const [, cpus = "", memory = "", features = "", state = ""] = line.split("|");
      return {
        cpus: Number(cpus),
        memoryBytes: Number(memory) * 2 ** 20,
        features: features === "(null)" ? [] : features.split(","),
        state,
      };
    });
  }

  /** Answers the job's id. */
  async submit(args: readonly string[], script: string): Promise<string> {
    const answer = (await this.#run("sbatch", ["--parsable", ...args], script)).trim().split(";")[0] ?? "";
    if (!/^\d+$/.test(answer))
      throw new SystemFault(`sbatch answered "${answer.slice(0, 100)}", which is no job's id`);
    return answer;
  }

  /** Every job that the controller still knows, ended ones included. */
  async jobs(): Promise<JobLine[]> {
    const text = await this.#run("squeue", ["--noheader", "--states=all", "--format=%A|%T|%C|%m|%r|%k"]);
    return text.split("\n").flatMap((line) => {
      const [jobId = "", state = "", cpus = "", memory = "", reason = "", ...comment] = line.split("|");
      return state === ""
        ? []
        : [{ jobId, state, cpus: Number(cpus), memory, reason, comment: comment.join("|").trim() }];
    });
  }

  /** A job that has ended or is unknown is as good as signalled. */
  async signal(jobId: string, signal: "USR1" | "USR2"): Promise<void> {
    await this.#runUnlessEnded(["--batch", `--signal=${signal}`, jobId]);
  }

  async cancel(jobId: string): Promise<void> {
    await this.#runUnlessEnded([jobId]);
  }

  /** With its script ends all that runs of it; cancel does the same after some grace. */
  async kill(jobId: string): Promise<void> {
    await this.#runUnlessEnded(["--batch", "--signal=KILL", jobId]);
  }

  async #runUnlessEnded(args: readonly string[]): Promise<void> {
    try {
      await this.#run("scancel", args);
    } catch (error) {
      const ended = /invalid job id|already completing or completed|not running|pending job/i;
      if (!(error instanceof SlurmRefused && ended.test(error.said))) throw error;
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
