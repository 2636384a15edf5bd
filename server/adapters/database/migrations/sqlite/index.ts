import type { MigrationObject } from "@mikro-orm/core";
import _20261121102917 from "./20261121102917-initial.ts";

/** Oldest first. A migration that was released never changes. */
export const MIGRATIONS: readonly MigrationObject[] = [
  { name: "20261121102917-initial", class: _20261121102917 },
];
