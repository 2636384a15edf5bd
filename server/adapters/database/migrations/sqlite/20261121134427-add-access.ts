import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(
      `create table \`access_token\` (\`id\` text not null primary key, \`tenant\` text not null, \`subject\` text not null, \`secret_digest\` text not null, \`scopes\` text not null, \`description\` text not null, \`created_by\` text not null, \`create_time\` bigint not null, \`expire_time\` bigint null, \`revoke_time\` bigint null)`,
    );
    this.addSql(`create index \`access_token_page\` on \`access_token\` (\`tenant\`, \`id\`)`);
    this.addSql(
      `create table \`audit_event\` (\`id\` text not null primary key, \`time\` bigint not null, \`tenant\` text not null, \`subject\` text not null, \`credential\` text not null, \`action\` text not null, \`resource\` text not null, \`detail\` text not null, \`peer\` text not null, \`count\` bigint not null)`,
    );
    this.addSql(`create index \`audit_event_page\` on \`audit_event\` (\`tenant\`, \`id\`)`);
    this.addSql(
      `create trigger \`audit_event_append_only_update\` BEFORE UPDATE on \`audit_event\` for each ROW begin select raise(abort, 'what is in the audit log stays as it is'); end`,
    );
    this.addSql(
      `create trigger \`audit_event_append_only_delete\` BEFORE DELETE on \`audit_event\` for each ROW begin select raise(abort, 'what is in the audit log stays as it is'); end`,
    );
  }

  override down(): void {
    this.addSql(`drop table if exists \`access_token\``);
    this.addSql(`drop trigger if exists \`audit_event_append_only_update\``);
    this.addSql(`drop trigger if exists \`audit_event_append_only_delete\``);
    this.addSql(`drop table if exists \`audit_event\``);
  }
}
