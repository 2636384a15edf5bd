import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(`alter table \`attempt\` add column \`environment_id\` text not null default ''`);
    this.addSql(`alter table \`task_spec\` add column \`environment\` text null`);
  }

  override down(): void {
    this.addSql(`alter table \`attempt\` drop column \`environment_id\``);
    this.addSql(`alter table \`task_spec\` drop column \`environment\``);
  }
}
