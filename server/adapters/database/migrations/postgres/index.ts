import type { MigrationObject } from "@mikro-orm/core";
import _20261121140631 from "./20261121140631-initial.ts";
import _20261121141615 from "./20261121141615-add-artifact-tenant.ts";
import _20261121144854 from "./20261121144854-add-webhooks.ts";

/** Oldest first. A migration that was released never changes. */
export const MIGRATIONS: readonly MigrationObject[] = [
  { name: "20261121140631-initial", class: _20261121140631 },
  { name: "20261121141615-add-artifact-tenant", class: _20261121141615 },
  { name: "20261121144854-add-webhooks", class: _20261121144854 },
];
