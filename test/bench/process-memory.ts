import { readFile } from "node:fs/promises";

/** Resident memory of a process, in MiB. */
export async function residentMebibytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kibibytes === undefined) throw new Error(`process ${pid} tells no VmRSS`);
  return Number(kibibytes) / 1024;
}

/** The most resident memory that a process has while `work` runs, looked at twenty times a second. */
export async function peakWhile(pid: number, work: () => Promise<void>): Promise<number> {
  let peak = await residentMebibytes(pid);
  let looking = Promise.resolve();
  const timer = setInterval(() => {
    looking = looking.then(async () => {
      peak = Math.max(peak, await residentMebibytes(pid));
    });
  }, 50);
  try {
    await work();
  } finally {
    clearInterval(timer);
    await looking;
  }
  return Math.max(peak, await residentMebibytes(pid));
}
