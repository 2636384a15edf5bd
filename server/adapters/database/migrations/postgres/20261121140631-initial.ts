import { Migration } from "@mikro-orm/migrations";

export default class extends Migration {
  override up(): void {
    this.addSql(
      `create table "access_token" ("id" text not null, "tenant" text not null, "subject" text not null, "secret_digest" text not null, "scopes" text not null, "description" text not null, "created_by" text not null, "create_time" bigint not null, "expire_time" bigint null, "revoke_time" bigint null, primary key ("id"))`,
    );
    this.addSql(`create index "access_token_page" on "access_token" ("tenant", "id")`);
    this.addSql(
      `create table "audit_event" ("id" text not null, "time" bigint not null, "tenant" text not null, "subject" text not null, "credential" text not null, "action" text not null, "resource" text not null, "detail" text not null, "peer" text not null, "count" bigint not null, primary key ("id"))`,
    );
    this.addSql(`create index "audit_event_page" on "audit_event" ("tenant", "id")`);
    this.addSql(
      `create table "blob" ("tenant" text not null, "sha256" text not null, "size_bytes" bigint not null, "format" text not null, "state" text not null, "validator_version" int not null, "create_time" bigint not null, "use_time" bigint not null, "refusal" text not null, "manifest" text null, primary key ("tenant", "sha256"))`,
    );
    this.addSql(`create index "blob_sha256" on "blob" ("sha256")`);
    this.addSql(`create index "blob_use_time" on "blob" ("use_time")`);
    this.addSql(
      `create table "ledger" ("task_id" text not null, "attempt" int not null, "tenant" text not null, "owner" text not null, "run_start_time" bigint null, "end_time" bigint not null, "reason" text not null, "cpu_millis" bigint not null, "ram_bytes" bigint not null, "storage_bytes" bigint not null, "gpu_count" bigint not null, "charged_millis" bigint not null, "cpu_micros" bigint not null, "peak_ram_bytes" bigint not null, "currency" text not null, "amount_units" bigint not null, "amount_nanos" int not null, "gpus" text not null, "usage" text not null, primary key ("task_id", "attempt"))`,
    );
    this.addSql(`create index "ledger_end" on "ledger" ("tenant", "end_time", "task_id", "attempt")`);
    this.addSql(
      `create table "ledger_label" ("task_id" text not null, "key" text not null, "value" text not null, primary key ("task_id", "key"))`,
    );
    this.addSql(
      `create table "server_term" ("id" int not null, "term" bigint not null, "installation" text not null, primary key ("id"))`,
    );
    this.addSql(
      `create table "task" ("id" text not null, "tenant" text not null, "owner" text not null, "version" int not null, "state" text not null, "unfinished" smallint not null, "result_reason" text null, "create_time" bigint not null, "start_time" bigint null, "end_time" bigint null, "expire_time" bigint null, "request_id" text null, "archive_sha256" text null, "spec_digest" text not null, "program_digest" text null, "expected_millis" bigint null, "isolation" text not null, "network" text not null, "image" text not null, "trace_id" text not null, "root_span_id" text not null, "parent_span_id" text not null, "rerun_of" text not null, "cache_key" text null, "cached_from" text null, "output_engine" text null, "output_sandbox_id" text null, "limits" text not null, "wait" text null, "cancellation" text null, "result" text null, primary key ("id"))`,
    );
    this.addSql(`create index "task_page" on "task" ("tenant", "id", "create_time")`);
    this.addSql(`create index "task_owner_page" on "task" ("tenant", "owner", "id")`);
    this.addSql(`create index "task_state_page" on "task" ("tenant", "state", "id")`);
    this.addSql(
      `create index "task_reason_page" on "task" ("tenant", "result_reason", "id") where result_reason is not null`,
    );
    this.addSql(`create index "task_unfinished" on "task" ("id") where unfinished = 1`);
    this.addSql(
      `create index "task_program" on "task" ("tenant", "program_digest", "id") where program_digest is not null and state = 'SUCCEEDED'`,
    );
    this.addSql(
      `create index "task_cache_key" on "task" ("tenant", "cache_key", "id") where cache_key is not null and cached_from is null and state = 'SUCCEEDED'`,
    );
    this.addSql(
      `create index "task_output_sandbox" on "task" ("output_sandbox_id") where output_sandbox_id is not null`,
    );
    this.addSql(
      `create index "task_expire_time" on "task" ("expire_time", "id") where expire_time is not null`,
    );
    this.addSql(`create index "task_archive" on "task" ("archive_sha256") where archive_sha256 is not null`);
    this.addSql(`alter table "task" add constraint "task_request_id" unique ("tenant", "request_id")`);
    this.addSql(
      `create table "stage" ("task_id" text not null, "position" int not null, "name" text not null, "attempt" int not null, "start_time" bigint not null, "end_time" bigint null, "span_id" text not null, "note" text not null, "error" text not null, primary key ("task_id", "position"))`,
    );
    this.addSql(
      `create table "attempt" ("task_id" text not null, "number" int not null, "engine" text not null, "sandbox_id" text not null, "container_id" text not null, "image_digest" text not null, "environment_id" text not null default '', "isolation" text not null, "warm" smallint not null, "released" smallint not null, "start_time" bigint not null, "run_start_time" bigint null, "end_time" bigint null, "gpu_ids" text not null, "usage" text null, "result" text null, "experiment_run" text null, primary key ("task_id", "number"))`,
    );
    this.addSql(`create index "attempt_sandbox" on "attempt" ("sandbox_id")`);
    this.addSql(
      `create table "artifact" ("task_id" text not null, "path" text not null, "tenant" text not null, "size_bytes" bigint not null, "sha256" text not null, primary key ("task_id", "path"))`,
    );
    this.addSql(`create index "artifact_sha256" on "artifact" ("sha256")`);
    this.addSql(
      `create table "task_event" ("task_id" text not null, "version" int not null, "time" bigint not null, "state" text not null, primary key ("task_id", "version"))`,
    );
    this.addSql(
      `create table "task_input" ("task_id" text not null, "sha256" text not null, "tenant" text not null, primary key ("task_id", "sha256"))`,
    );
    this.addSql(`create index "task_input_sha256" on "task_input" ("sha256", "tenant")`);
    this.addSql(
      `create table "task_label" ("task_id" text not null, "key" text not null, "value" text not null, "tenant" text not null, primary key ("task_id", "key"))`,
    );
    this.addSql(`create index "task_label_page" on "task_label" ("tenant", "key", "value", "task_id")`);
    this.addSql(
      `create table "task_spec" ("task_id" text not null, "program" text not null, "environment" text null, "spec" text not null, "inputs" text null, primary key ("task_id"))`,
    );
    this.addSql(
      `create or replace function "audit_event_audit_event_append_only_fn"() returns trigger as $$ begin raise exception 'what is in the audit log stays as it is'; end; $$ language plpgsql`,
    );
    this.addSql(
      `create trigger "audit_event_append_only" BEFORE UPDATE OR DELETE on "audit_event" for each ROW execute function "audit_event_audit_event_append_only_fn"()`,
    );
    this.addSql(
      `alter table "stage" add constraint "stage_task_id_foreign" foreign key ("task_id") references "task" ("id") on delete cascade`,
    );
    this.addSql(
      `alter table "attempt" add constraint "attempt_task_id_foreign" foreign key ("task_id") references "task" ("id") on delete cascade`,
    );
    this.addSql(
      `alter table "artifact" add constraint "artifact_task_id_foreign" foreign key ("task_id") references "task" ("id") on delete cascade`,
    );
    this.addSql(
      `alter table "task_event" add constraint "task_event_task_id_foreign" foreign key ("task_id") references "task" ("id") on delete cascade`,
    );
    this.addSql(
      `alter table "task_input" add constraint "task_input_task_id_foreign" foreign key ("task_id") references "task" ("id") on delete cascade`,
    );
    this.addSql(
      `alter table "task_label" add constraint "task_label_task_id_foreign" foreign key ("task_id") references "task" ("id") on delete cascade`,
    );
    this.addSql(
      `alter table "task_spec" add constraint "task_spec_task_id_foreign" foreign key ("task_id") references "task" ("id") on update cascade on delete cascade`,
    );
  }

  override down(): void {
    this.addSql(`alter table "stage" drop constraint "stage_task_id_foreign"`);
    this.addSql(`alter table "attempt" drop constraint "attempt_task_id_foreign"`);
    this.addSql(`alter table "artifact" drop constraint "artifact_task_id_foreign"`);
    this.addSql(`alter table "task_event" drop constraint "task_event_task_id_foreign"`);
    this.addSql(`alter table "task_input" drop constraint "task_input_task_id_foreign"`);
    this.addSql(`alter table "task_label" drop constraint "task_label_task_id_foreign"`);
    this.addSql(`alter table "task_spec" drop constraint "task_spec_task_id_foreign"`);
    this.addSql(`drop table if exists "access_token" cascade`);
    this.addSql(`drop trigger if exists "audit_event_append_only" on "audit_event"`);
    this.addSql(`drop function if exists "audit_event_audit_event_append_only_fn"()`);
    this.addSql(`drop table if exists "audit_event" cascade`);
    this.addSql(`drop table if exists "blob" cascade`);
    this.addSql(`drop table if exists "ledger" cascade`);
    this.addSql(`drop table if exists "ledger_label" cascade`);
    this.addSql(`drop table if exists "server_term" cascade`);
    this.addSql(`drop table if exists "task" cascade`);
    this.addSql(`drop table if exists "stage" cascade`);
    this.addSql(`drop table if exists "attempt" cascade`);
    this.addSql(`drop table if exists "artifact" cascade`);
    this.addSql(`drop table if exists "task_event" cascade`);
    this.addSql(`drop table if exists "task_input" cascade`);
    this.addSql(`drop table if exists "task_label" cascade`);
    this.addSql(`drop table if exists "task_spec" cascade`);
  }
}
