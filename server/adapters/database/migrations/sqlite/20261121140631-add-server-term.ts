import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(
      `create table \`server_term\` (\`id\` integer not null primary key, \`term\` bigint not null, \`installation\` text not null)`,
    );
  }

  override down(): void {
    this.addSql(`drop table if exists \`server_term\``);
  }
}
