import { readFile } from "node:fs/promises";

/** As Linux tells them to programs, whatever the kernel counts in. */
const TICKS_PER_SECOND = 100;

/** What a process has taken of CPUs so far, its children apart. */
export async function cpuMillis(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // The second field is the program's name in brackets, and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [user, system] = [Number(fields[11]), Number(fields[12])];
  return ((user + system) * 1000) / TICKS_PER_SECOND;
}
