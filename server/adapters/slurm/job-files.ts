import { constants } from "node:fs";
import { open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { errnoOf, exists } from "../sandbox/errno.ts";
import { LocalSandboxFiles } from "../sandbox/sandbox-files.ts";

/** What is known of a sandbox's job beside Slurm; the id is empty until sbatch has answered. */
const jobRecord = z.object({ jobId: z.string().regex(/^\d*$/), uid: z.number().int().positive() });
export type JobRecord = z.infer<typeof jobRecord>;

/** All that is made besides the files that stay with the task. */
const NAMES = [
  "config.json",
  "spec",
  "spec.new",
  "ready",
  "waiting",
  "stop",
  "exit",
  "exit.new",
  "output",
  "job.json",
  "job.json.new",
];
const MOST_OUTPUT_BYTES = 4096;
const READ = constants.O_RDONLY | constants.O_NOFOLLOW;

/** The files by which the server and a job on its node speak, in the folder of the sandbox. */
export class SlurmSandboxFiles extends LocalSandboxFiles {
  async writeJob(id: string, record: JobRecord): Promise<void> {
    await this.#write(id, "job.json", JSON.stringify(record));
  }

  /** Undefined for a sandbox that was released. */
  async readJob(id: string): Promise<JobRecord | undefined> {
    const text = await this.#read(id, "job.json");
    return text === undefined ? undefined : jobRecord.parse(JSON.parse(text));
  }

  async writeBundle(id: string, config: Record<string, unknown>): Promise<void> {
    await writeFile(this.#path(id, "config.json"), JSON.stringify(config), { mode: 0o600, flag: "wx" });
  }

  /** The job takes both away once the runner has them open: a spec holds secrets. */
  async writeSpec(id: string, message: Uint8Array): Promise<void> {
    await this.#write(id, "spec", message);
    await writeFile(this.#path(id, "ready"), "", { mode: 0o600, flag: "wx" });
  }

  /** The job's script runs, and will take a spec. */
  isWaiting(id: string): Promise<boolean> {
    return exists(this.#path(id, "waiting"));
  }

  hasSpec(id: string): Promise<boolean> {
    return exists(this.#path(id, "ready"));
  }

  /** A job that has not begun to run the sandbox ends instead. */
  async forbid(id: string): Promise<void> {
    await writeFile(this.#path(id, "stop"), "", { mode: 0o600 });
  }

  /** Exit status that the job left behind. */
  async exitStatus(id: string): Promise<number | undefined> {
    const text = await this.#read(id, "exit");
    return text === undefined || !/^\d{1,3}\n$/.test(text) ? undefined : Number(text);
  }

  /** First words of the job and of PID 1, which says something only when it breaks. */
  async output(id: string): Promise<string> {
    return ((await this.#read(id, "output")) ?? "").slice(0, MOST_OUTPUT_BYTES).trim();
  }

  outputPath(id: string): string {
    return this.#path(id, "output");
  }

  async removeJob(id: string): Promise<void> {
    for (const name of NAMES) await rm(this.#path(id, name), { force: true });
  }

  override async remove(id: string): Promise<void> {
    await this.removeJob(id);
    await super.remove(id);
  }

  #path(id: string, name: string): string {
    return join(this.paths(id).folder, name);
  }

  /** In one step, so that a job never reads half of it. */
  async #write(id: string, name: string, content: string | Uint8Array): Promise<void> {
    const fresh = this.#path(id, `${name}.new`);
    await writeFile(fresh, content, { mode: 0o600 });
    await rename(fresh, this.#path(id, name));
  }

  async #read(id: string, name: string): Promise<string | undefined> {
    try {
      await using file = await open(this.#path(id, name), READ);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(64 * 1024), 0, 64 * 1024, 0);
      return buffer.subarray(0, bytesRead).toString("utf8");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }
}
