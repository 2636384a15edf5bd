/*
 * Writes the migrations, one for each dialect, that take the tables from where the listed ones leave them to what schema.ts says:
 *   node server/adapters/database/new-migration.ts NAME EMPTY_POSTGRES_DATABASE_URL
 */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseIntoClientConfig } from "pg-connection-string";
import { createPostgresOrm, createSqliteOrm, type Orm } from "./orm.ts";
import { PostgresSession } from "./postgres-session.ts";

const MIGRATIONS = join(import.meta.dirname, "migrations");
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

interface Statements {
  readonly up: readonly string[];
  readonly down: readonly string[];
}

async function main(name: string, postgresUrl: string): Promise<void> {
  const stem = `${new Date().toISOString().replace(/\D/g, "").slice(0, 14)}-${name}`;
  await using session = new PostgresSession({
    config: parseIntoClientConfig(postgresUrl),
    onDeposed: () => undefined,
  });
  if (!(await session.tryOpen())) throw new Error("the PostgreSQL database is in use; give an empty one");
  await write("sqlite", stem, createSqliteOrm(":memory:"));
  await write("postgres", stem, createPostgresOrm(session));
}

async function write(dialect: string, stem: string, orm: Orm): Promise<void> {
  const folder = join(MIGRATIONS, dialect);
  const statements = await changes(orm);
  if (statements.up.length === 0) {
    console.log(`${dialect}: schema.ts and the migrations agree; nothing to write`);
    return;
  }
  await writeFile(join(folder, `${stem}.ts`), migration(statements), { flag: "wx" });
  await writeFile(join(folder, "index.ts"), await list(folder));
  console.log(`wrote ${join(folder, `${stem}.ts`)}; read it before you commit it`);
}

async function changes(orm: Orm): Promise<Statements> {
  try {
    await orm.migrator.up();
    const { up, down } = await orm.schema.getUpdateSchemaMigrationSQL({ wrap: false });
    return { up: split(up), down: split(down) };
  } finally {
    await orm.close(true);
  }
}

function split(script: string): string[] {
  return script
    .split(/;\s*\n/)
    .map((statement) => statement.trim().replace(/;$/, ""))
    .filter((statement) => statement !== "");
}

function migration({ up, down }: Statements): string {
  const method = (direction: string, statements: readonly string[]) =>
    [
      `  override ${direction}(): void {`,
      ...statements.map((statement) => `    this.addSql(${literal(statement)});`),
      "  }",
    ].join("\n");
  const methods = [method("up", up), ...(down.length > 0 ? [method("down", down)] : [])];
  return `import { Migration } from "@mikro-orm/migrations";\n\nexport default class extends Migration {\n${methods.join("\n\n")}\n}\n`;
}

function literal(statement: string): string {
  return `\`${statement.replace(/[`$\\]/g, "\\$&")}\``;
}

async function list(folder: string): Promise<string> {
  const stems = (await readdir(folder))
    .filter((file) => /^\d{14}-.*\.ts$/.test(file))
    .sort()
    .map((file) => file.replace(/\.ts$/, ""));
  const variable = (stem: string) => `_${stem.slice(0, 14)}`;
  return [
    'import type { MigrationObject } from "@mikro-orm/core";',
    ...stems.map((stem) => `import ${variable(stem)} from "./${stem}.ts";`),
    "",
    "/** Oldest first. A migration that was released never changes. */",
    "export const MIGRATIONS: readonly MigrationObject[] = [",
    ...stems.map((stem) => `  { name: "${stem}", class: ${variable(stem)} },`),
    "];",
    "",
  ].join("\n");
}

const [name, postgresUrl, ...rest] = process.argv.slice(2);
if (name === undefined || !NAME.test(name) || postgresUrl === undefined || rest.length > 0) {
  console.error("usage: new-migration.ts NAME EMPTY_POSTGRES_DATABASE_URL, where NAME is like add-task-cost");
  process.exit(2);
}
await main(name, postgresUrl);
