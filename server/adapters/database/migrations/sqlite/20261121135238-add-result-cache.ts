import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(`alter table \`task\` add column \`cache_key\` text null`);
    this.addSql(`alter table \`task\` add column \`cached_from\` text null`);
    this.addSql(`alter table \`task\` add column \`output_engine\` text null`);
    this.addSql(`alter table \`task\` add column \`output_sandbox_id\` text null`);
    this.addSql(
      `create index \`task_cache_key\` on \`task\` (\`tenant\`, \`cache_key\`, \`id\`) where cache_key is not null and cached_from is null and state = 'SUCCEEDED'`,
    );
    this.addSql(
      `create index \`task_output_sandbox\` on \`task\` (\`output_sandbox_id\`) where output_sandbox_id is not null`,
    );
  }

  override down(): void {
    this.addSql(`drop index \`task_cache_key\``);
    this.addSql(`drop index \`task_output_sandbox\``);
    this.addSql(`alter table \`task\` drop column \`cache_key\``);
    this.addSql(`alter table \`task\` drop column \`cached_from\``);
    this.addSql(`alter table \`task\` drop column \`output_engine\``);
    this.addSql(`alter table \`task\` drop column \`output_sandbox_id\``);
  }
}
