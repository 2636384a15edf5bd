import { readFile } from "node:fs/promises";
import { ZodError, z } from "zod";
import { SystemFault, Unavailable } from "../../domain/errors.ts";
import {
  hasEnded,
  type JobLine,
  type JobRequest,
  type NodeLine,
  type SlurmController,
  SlurmRefused,
} from "./controller.ts";
import { type RestAccess, type RestAnswer, RestCalls } from "./rest-calls.ts";
import {
  chooseVersion,
  OLDEST,
  readFaults,
  readJobId,
  readJobs,
  readNodes,
  readRelease,
  readVersions,
  submission,
} from "./rest-dialect.ts";

const MOST_SAID = 500;
const NOT_FOUND = 404;

/** Reads the certificates once; whether anybody answers shows with the first question. */
export async function openRestController(access: RestAccess): Promise<RestController> {
  const certificates =
    access.caFile === null
      ? null
      : await readFile(access.caFile, "utf8").catch((cause: unknown) => {
          throw new SystemFault(
            `the certificates for slurmrestd cannot be read: ${String(cause)}`,
            {},
            { cause },
          );
        });
  return new RestController(new RestCalls(access, certificates), access.tokenFile);
}

/** Slurm's own REST interface, for servers that have none of its tools; in a version that both sides know. */
export class RestController implements SlurmController {
  readonly #calls: RestCalls;
  readonly #tokenFile: string;
  #version: number | undefined;

  constructor(calls: RestCalls, tokenFile: string) {
    this.#calls = calls;
    this.#tokenFile = tokenFile;
  }

  async version(): Promise<string> {
    const release = await this.#read("/ping", readRelease);
    return `slurm ${release} (slurmrestd v0.0.${this.#version})`;
  }

  async nodes(): Promise<NodeLine[]> {
    return await this.#read("/nodes", readNodes);
  }

  async jobs(): Promise<JobLine[]> {
    return await this.#read("/jobs", readJobs);
  }

  async submit(request: JobRequest, script: string): Promise<string> {
    const { version, prefix } = await this.#agree();
    const answer = await this.#calls.call(
      "POST",
      `${prefix}/job/submit`,
      submission(version, request, script),
    );
    // A job that was taken with a word of warning runs all the same.
    const jobId = readJobId(answer.body);
    if (jobId !== undefined) return jobId;
    this.#requireWell(answer);
    throw new SystemFault(`${this.#calls.where} took a job without telling its id`);
  }

  async signal(jobId: string, signal: "USR1" | "USR2"): Promise<void> {
    await this.#delete(`/job/${jobId}?signal=${signal}`);
  }

  /** Slurm sends the job's script SIGTERM, upon which that ends what it runs; what does not end is killed after the site's KillWait. */
  async cancel(jobId: string): Promise<void> {
    await this.#delete(`/job/${jobId}`);
  }

  async #delete(path: string): Promise<void> {
    try {
      await this.#ask("DELETE", path);
    } catch (error) {
      if (!(error instanceof SlurmRefused && hasEnded(error.said))) throw error;
    }
  }

  async #read<T>(path: string, understand: (body: unknown) => T): Promise<T> {
    const body = await this.#ask("GET", path);
    try {
      return understand(body);
    } catch (cause) {
      const words = cause instanceof ZodError ? z.prettifyError(cause).slice(0, MOST_SAID) : String(cause);
      throw new SystemFault(`${this.#calls.where} answers ${path} in no known form: ${words}`, {}, { cause });
    }
  }

  async #ask(method: "GET" | "DELETE", path: string): Promise<unknown> {
    const answer = await this.#calls.call(method, `${(await this.#agree()).prefix}${path}`);
    this.#requireWell(answer);
    return answer.body;
  }

  /** The interface's version, which a new release of Slurm may have taken away. */
  async #agree(): Promise<{ version: number; prefix: string }> {
    this.#version ??= await this.#choose();
    return { version: this.#version, prefix: `/slurm/v0.0.${this.#version}` };
  }

  async #choose(): Promise<number> {
    const answer = await this.#calls.call("GET", "/openapi/v3");
    this.#requireWell(answer);
    const offered = readVersions(answer.body);
    const version = chooseVersion(offered);
    if (version !== undefined) return version;
    const there = offered.map((one) => `v0.0.${one}`).join(", ") || "no version that it describes";
    throw new SystemFault(
      `${this.#calls.where} offers ${there}; this server asks for v0.0.${OLDEST} or later: load one there (slurmrestd -s)`,
    );
  }

  #requireWell({ status, body }: RestAnswer): void {
    if (status >= 200 && status < 300 && body !== undefined) return;
    const { numbers, said } = readFaults(body);
    const { where } = this.#calls;
    if (status === NOT_FOUND && numbers.length === 0) this.#version = undefined;
    if (numbers.some(isAway))
      throw new Unavailable(
        `${where} gets no answer from the controller, or that does not take the token in ${this.#tokenFile}: ${said}`,
      );
    if (said === "") throw new Unavailable(`${where} answered with ${status} and no word of why`);
    throw new SlurmRefused("slurmrestd", said.slice(0, MOST_SAID));
  }
}

/** Of slurm_errno.h: general, communication and protocol (with them a token that is not taken), sockets, authentication. */
function isAway(number: number): boolean {
  return number < 0 || (number >= 1000 && number < 2000) || (number >= 5000 && number < 7000);
}
