import type { FieldCheck } from "./translate/field-check.ts";

const DEFAULT_PAGE_SIZE = 50;
const MAX_PAGE_SIZE = 1000;

/** 0 takes the default, more than the most is taken as the most, negative is refused. */
export function pageSize(asked: number, check: FieldCheck): number {
  const size = check.count("page_size", asked);
  return size === 0 ? DEFAULT_PAGE_SIZE : Math.min(size, MAX_PAGE_SIZE);
}
