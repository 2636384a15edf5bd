import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(
      `create table \`blob\` (\`tenant\` text not null, \`sha256\` text not null, \`size_bytes\` bigint not null, \`format\` text not null, \`state\` text not null, \`validator_version\` integer not null, \`create_time\` bigint not null, \`refusal\` text not null, \`manifest\` text null, primary key (\`tenant\`, \`sha256\`))`,
    );
    this.addSql(`create index \`blob_sha256\` on \`blob\` (\`sha256\`)`);
    this.addSql(
      `create table \`task\` (\`id\` text not null primary key, \`tenant\` text not null, \`owner\` text not null, \`version\` integer not null, \`state\` text not null, \`unfinished\` integer not null, \`result_reason\` text null, \`create_time\` bigint not null, \`start_time\` bigint null, \`end_time\` bigint null, \`expire_time\` bigint null, \`request_id\` text null, \`archive_sha256\` text null, \`spec_digest\` text not null, \`isolation\` text not null, \`network\` text not null, \`image\` text not null, \`trace_id\` text not null, \`root_span_id\` text not null, \`parent_span_id\` text not null, \`rerun_of\` text not null, \`limits\` text not null, \`wait\` text null, \`cancellation\` text null, \`result\` text null)`,
    );
    this.addSql(`create index \`task_page\` on \`task\` (\`tenant\`, \`id\`, \`create_time\`)`);
    this.addSql(`create index \`task_owner_page\` on \`task\` (\`tenant\`, \`owner\`, \`id\`)`);
    this.addSql(`create index \`task_state_page\` on \`task\` (\`tenant\`, \`state\`, \`id\`)`);
    this.addSql(
      `create index \`task_reason_page\` on \`task\` (\`tenant\`, \`result_reason\`, \`id\`) where result_reason is not null`,
    );
    this.addSql(`create index \`task_unfinished\` on \`task\` (\`id\`) where unfinished = 1`);
    this.addSql(
      `create index \`task_expire_time\` on \`task\` (\`expire_time\`, \`id\`) where expire_time is not null`,
    );
    this.addSql(
      `create index \`task_archive\` on \`task\` (\`archive_sha256\`) where archive_sha256 is not null`,
    );
    this.addSql(`create unique index \`task_request_id\` on \`task\` (\`tenant\`, \`request_id\`)`);
    this.addSql(
      `create table \`stage\` (\`task_id\` text not null, \`position\` integer not null, \`name\` text not null, \`attempt\` integer not null, \`start_time\` bigint not null, \`end_time\` bigint null, \`span_id\` text not null, \`note\` text not null, \`error\` text not null, primary key (\`task_id\`, \`position\`), constraint \`stage_task_id_foreign\` foreign key (\`task_id\`) references \`task\` (\`id\`) on delete cascade)`,
    );
    this.addSql(
      `create table \`attempt\` (\`task_id\` text not null, \`number\` integer not null, \`engine\` text not null, \`sandbox_id\` text not null, \`container_id\` text not null, \`image_digest\` text not null, \`isolation\` text not null, \`warm\` integer not null, \`released\` integer not null, \`start_time\` bigint not null, \`run_start_time\` bigint null, \`end_time\` bigint null, \`gpu_ids\` text not null, \`usage\` text null, \`result\` text null, primary key (\`task_id\`, \`number\`), constraint \`attempt_task_id_foreign\` foreign key (\`task_id\`) references \`task\` (\`id\`) on delete cascade)`,
    );
    this.addSql(
      `create table \`artifact\` (\`task_id\` text not null, \`path\` text not null, \`tenant\` text not null, \`size_bytes\` bigint not null, \`sha256\` text not null, primary key (\`task_id\`, \`path\`), constraint \`artifact_task_id_foreign\` foreign key (\`task_id\`) references \`task\` (\`id\`) on delete cascade)`,
    );
    this.addSql(`create index \`artifact_sha256\` on \`artifact\` (\`sha256\`)`);
    this.addSql(
      `create table \`task_event\` (\`task_id\` text not null, \`version\` integer not null, \`time\` bigint not null, \`state\` text not null, primary key (\`task_id\`, \`version\`), constraint \`task_event_task_id_foreign\` foreign key (\`task_id\`) references \`task\` (\`id\`) on delete cascade)`,
    );
    this.addSql(
      `create table \`task_label\` (\`task_id\` text not null, \`key\` text not null, \`value\` text not null, \`tenant\` text not null, primary key (\`task_id\`, \`key\`), constraint \`task_label_task_id_foreign\` foreign key (\`task_id\`) references \`task\` (\`id\`) on delete cascade)`,
    );
    this.addSql(
      `create index \`task_label_page\` on \`task_label\` (\`tenant\`, \`key\`, \`value\`, \`task_id\`)`,
    );
    this.addSql(
      `create table \`task_spec\` (\`task_id\` text not null primary key, \`program\` text not null, \`spec\` text not null, constraint \`task_spec_task_id_foreign\` foreign key (\`task_id\`) references \`task\` (\`id\`) on update cascade on delete cascade)`,
    );
  }

  override down(): void {
    this.addSql(`drop table if exists \`blob\``);
    this.addSql(`drop table if exists \`task\``);
    this.addSql(`drop table if exists \`stage\``);
    this.addSql(`drop table if exists \`attempt\``);
    this.addSql(`drop table if exists \`artifact\``);
    this.addSql(`drop table if exists \`task_event\``);
    this.addSql(`drop table if exists \`task_label\``);
    this.addSql(`drop table if exists \`task_spec\``);
  }
}
