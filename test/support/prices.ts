import { writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Prices that make round figures: a CPU 3.6 EUR an hour, a GB of memory 0.36. */
export async function writePrices(folder: string): Promise<string> {
  const path = join(folder, "prices.json");
  const prices = [{ cpu_hour: "3.6", ram_gb_hour: "0.36", gpu_hour: { "*": "36" } }];
  await writeFile(path, JSON.stringify({ currency: "EUR", prices }));
  return path;
}
