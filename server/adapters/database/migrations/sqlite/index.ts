import type { MigrationObject } from "@mikro-orm/core";
import _20261121102917 from "./20261121102917-initial.ts";
import _20261121112756 from "./20261121112756-add-blob-use-time.ts";
import _20261121132749 from "./20261121132749-add-ledger.ts";
import _20261121134201 from "./20261121134201-add-expected-duration.ts";
import _20261121134427 from "./20261121134427-add-access.ts";
import _20261121134727 from "./20261121134727-add-experiment-run.ts";
import _20261121134958 from "./20261121134958-add-task-inputs.ts";
import _20261121135238 from "./20261121135238-add-result-cache.ts";
import _20261121135607 from "./20261121135607-add-environment.ts";
import _20261121140631 from "./20261121140631-add-server-term.ts";
import _20261121141615 from "./20261121141615-add-artifact-tenant.ts";
import _20261121144854 from "./20261121144854-add-webhooks.ts";

/** Oldest first. A migration that was released never changes. */
export const MIGRATIONS: readonly MigrationObject[] = [
  { name: "20261121102917-initial", class: _20261121102917 },
  { name: "20261121112756-add-blob-use-time", class: _20261121112756 },
  { name: "20261121132749-add-ledger", class: _20261121132749 },
  { name: "20261121134201-add-expected-duration", class: _20261121134201 },
  { name: "20261121134427-add-access", class: _20261121134427 },
  { name: "20261121134727-add-experiment-run", class: _20261121134727 },
  { name: "20261121134958-add-task-inputs", class: _20261121134958 },
  { name: "20261121135238-add-result-cache", class: _20261121135238 },
  { name: "20261121135607-add-environment", class: _20261121135607 },
  { name: "20261121140631-add-server-term", class: _20261121140631 },
  { name: "20261121141615-add-artifact-tenant", class: _20261121141615 },
  { name: "20261121144854-add-webhooks", class: _20261121144854 },
];
