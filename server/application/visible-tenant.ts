import { MissingScope } from "../domain/errors.ts";
import type { Caller } from "./caller.ts";

/** The tenant whose rows are shown to a caller who asked for one, or for whatever there is; null means every tenant's. */
export function visibleTenant(caller: Caller, asked: string): string | null {
  if (caller.scopes.has("operator")) return asked === "" ? null : asked;
  if (asked === "" || asked === caller.tenant) return caller.tenant;
  throw new MissingScope("operator", "what belongs to another tenant needs the scope operator");
}
