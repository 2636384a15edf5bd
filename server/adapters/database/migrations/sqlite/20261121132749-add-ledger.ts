import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(
      `create table \`ledger\` (\`task_id\` text not null, \`attempt\` integer not null, \`tenant\` text not null, \`owner\` text not null, \`run_start_time\` bigint null, \`end_time\` bigint not null, \`reason\` text not null, \`cpu_millis\` bigint not null, \`ram_bytes\` bigint not null, \`storage_bytes\` bigint not null, \`gpu_count\` bigint not null, \`charged_millis\` bigint not null, \`cpu_micros\` bigint not null, \`peak_ram_bytes\` bigint not null, \`currency\` text not null, \`amount_units\` bigint not null, \`amount_nanos\` integer not null, \`gpus\` text not null, \`usage\` text not null, primary key (\`task_id\`, \`attempt\`))`,
    );
    this.addSql(
      `create index \`ledger_end\` on \`ledger\` (\`tenant\`, \`end_time\`, \`task_id\`, \`attempt\`)`,
    );
    this.addSql(
      `create table \`ledger_label\` (\`task_id\` text not null, \`key\` text not null, \`value\` text not null, primary key (\`task_id\`, \`key\`))`,
    );
  }

  override down(): void {
    this.addSql(`drop table if exists \`ledger\``);
    this.addSql(`drop table if exists \`ledger_label\``);
  }
}
