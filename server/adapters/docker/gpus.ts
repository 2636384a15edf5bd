import type { Log } from "../../domain/ports/telemetry.ts";
import { errnoOf } from "../sandbox/errno.ts";
import { runCommand } from "./command.ts";

export interface Gpu {
  readonly id: string;
  readonly model: string;
  readonly memoryBytes: number;
}

const QUERY = ["--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"];

/** The host's GPUs as nvidia-smi names them; none where there is no such tool or it reports a broken driver. */
export async function findGpus(log: Log): Promise<Gpu[]> {
  try {
    return parseGpus(await runCommand("nvidia-smi", QUERY, 10_000));
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    if (errnoOf(cause) !== "ENOENT")
      log.warn("nvidia-smi is there but fails; no GPU is offered", { error: String(error) });
    return [];
  }
}

export function parseGpus(csv: string): Gpu[] {
  return csv.split("\n").flatMap((line) => {
    const [id, model, mebibytes] = line.split(",").map((field) => field.trim());
    if (id === undefined || model === undefined || !/^GPU-[0-9a-f-]{36}$/.test(id)) return [];
    // A card in a state that nvidia-smi cannot read says "[N/A]" here.
    const memory = Number(mebibytes);
    return [{ id, model, memoryBytes: Number.isFinite(memory) ? memory * 2 ** 20 : 0 }];
  });
}
