import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(
      `create table \`delivery\` (\`id\` text not null primary key, \`tenant\` text not null, \`endpoint_id\` text not null, \`task_id\` text not null, \`task_state\` text not null, \`state\` text not null, \`create_time\` bigint not null, \`tries\` integer not null, \`tries_of_round\` integer not null, \`next_try_time\` bigint null, \`last_try_time\` bigint null, \`last_status_code\` integer not null, \`url\` text not null, \`target\` text not null, \`last_error\` text not null, \`last_response\` text not null, \`body\` text not null)`,
    );
    this.addSql(
      `create index \`delivery_due\` on \`delivery\` (\`next_try_time\`, \`id\`, \`target\`, \`tenant\`) where next_try_time is not null`,
    );
    this.addSql(
      `create index \`delivery_waiting\` on \`delivery\` (\`endpoint_id\`) where next_try_time is not null`,
    );
    this.addSql(
      `create index \`delivery_done\` on \`delivery\` (\`create_time\`) where next_try_time is null`,
    );
    this.addSql(`create index \`delivery_page\` on \`delivery\` (\`tenant\`, \`create_time\`, \`id\`)`);
    this.addSql(
      `create index \`delivery_task\` on \`delivery\` (\`tenant\`, \`task_id\`, \`create_time\`, \`id\`)`,
    );
    this.addSql(
      `create table \`webhook_endpoint\` (\`id\` text not null primary key, \`tenant\` text not null, \`url\` text not null, \`states\` text not null, \`description\` text not null, \`created_by\` text not null, \`create_time\` bigint not null, \`failing_since\` bigint null, \`disable_time\` bigint null, \`disable_reason\` text not null)`,
    );
    this.addSql(`create index \`webhook_endpoint_page\` on \`webhook_endpoint\` (\`tenant\`, \`id\`)`);
    this.addSql(
      `create table \`webhook_secret\` (\`tenant\` text not null primary key, \`current_secret\` text not null, \`create_time\` bigint not null, \`previous_secret\` text not null, \`previous_expire_time\` bigint null)`,
    );
  }

  override down(): void {
    this.addSql(`drop table if exists \`delivery\``);
    this.addSql(`drop table if exists \`webhook_endpoint\``);
    this.addSql(`drop table if exists \`webhook_secret\``);
  }
}
