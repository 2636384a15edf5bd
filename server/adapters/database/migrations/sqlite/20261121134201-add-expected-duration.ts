import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(`alter table \`task\` add column \`program_digest\` text null`);
    this.addSql(`alter table \`task\` add column \`expected_millis\` bigint null`);
    this.addSql(
      `create index \`task_program\` on \`task\` (\`tenant\`, \`program_digest\`, \`id\`) where program_digest is not null and state = 'SUCCEEDED'`,
    );
  }

  override down(): void {
    this.addSql(`drop index \`task_program\``);
    this.addSql(`alter table \`task\` drop column \`program_digest\``);
    this.addSql(`alter table \`task\` drop column \`expected_millis\``);
  }
}
