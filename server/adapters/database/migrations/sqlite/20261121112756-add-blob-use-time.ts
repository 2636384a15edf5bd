import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    // SQLite adds no column that must have a value but has no default: the table is made anew. What was sent counts as used then.
    this.addSql(
      `create table \`blob__new\` (\`tenant\` text not null, \`sha256\` text not null, \`size_bytes\` bigint not null, \`format\` text not null, \`state\` text not null, \`validator_version\` integer not null, \`create_time\` bigint not null, \`use_time\` bigint not null, \`refusal\` text not null, \`manifest\` text null, primary key (\`tenant\`, \`sha256\`))`,
    );
    this.addSql(
      `insert into \`blob__new\` select \`tenant\`, \`sha256\`, \`size_bytes\`, \`format\`, \`state\`, \`validator_version\`, \`create_time\`, \`create_time\`, \`refusal\`, \`manifest\` from \`blob\``,
    );
    this.addSql(`drop table \`blob\``);
    this.addSql(`alter table \`blob__new\` rename to \`blob\``);
    this.addSql(`create index \`blob_sha256\` on \`blob\` (\`sha256\`)`);
    this.addSql(`create index \`blob_use_time\` on \`blob\` (\`use_time\`)`);
    this.addSql(`create index \`attempt_sandbox\` on \`attempt\` (\`sandbox_id\`)`);
  }

  override down(): void {
    this.addSql(`drop index \`attempt_sandbox\``);
    this.addSql(`drop index \`blob_use_time\``);
    this.addSql(`alter table \`blob\` drop column \`use_time\``);
  }
}
