import type { TenantShare } from "./recorder.ts";

/** What each of several who want so much gets of so much, when nobody gets more while another goes short (max-min). */
export function waterFill(wanted: readonly number[], supply: number): number[] {
  const filled = wanted.map(() => 0);
  const order = wanted.map((_, place) => place).sort((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0));
  let left = supply;
  for (const [done, place] of order.entries()) {
    const part = Math.min(wanted[place] ?? 0, left / (order.length - done));
    filled[place] = part;
    left -= part;
  }
  return filled;
}

export interface Fairness {
  /** Jain's index of what each got over what was due to it: 1 when all got the same part of their due. */
  readonly index: number;
  /** The least of these parts, of those whose due is worth a word. */
  readonly least: number;
  readonly most: number;
}

/** How far what tenants held is from max-min fair shares of the CPUs. */
export function fairnessOf(shares: readonly TenantShare[], supply: number): Fairness {
  const due = waterFill(
    shares.map(({ asked }) => asked),
    supply,
  );
  const parts = shares.flatMap(({ held }, place) => {
    const own = due[place] ?? 0;
    return own > 0 ? [held / own] : [];
  });
  const sum = parts.reduce((total, part) => total + part, 0);
  const squares = parts.reduce((total, part) => total + part ** 2, 0);
  return { index: sum ** 2 / (parts.length * squares), least: Math.min(...parts), most: Math.max(...parts) };
}
