import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(`alter table \`attempt\` add column \`experiment_run\` text null`);
  }

  override down(): void {
    this.addSql(`alter table \`attempt\` drop column \`experiment_run\``);
  }
}
