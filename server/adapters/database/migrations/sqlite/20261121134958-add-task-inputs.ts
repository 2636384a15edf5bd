import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(
      `create table \`task_input\` (\`task_id\` text not null, \`sha256\` text not null, \`tenant\` text not null, primary key (\`task_id\`, \`sha256\`), constraint \`task_input_task_id_foreign\` foreign key (\`task_id\`) references \`task\` (\`id\`) on delete cascade)`,
    );
    this.addSql(`create index \`task_input_sha256\` on \`task_input\` (\`sha256\`, \`tenant\`)`);
    this.addSql(`alter table \`task_spec\` add column \`inputs\` text null`);
  }

  override down(): void {
    this.addSql(`drop table if exists \`task_input\``);
    this.addSql(`alter table \`task_spec\` drop column \`inputs\``);
  }
}
