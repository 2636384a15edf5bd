import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(`create index "artifact_tenant" on "artifact" ("tenant", "size_bytes")`);
  }

  override down(): void {
    this.addSql(`drop index "artifact_tenant"`);
  }
}
