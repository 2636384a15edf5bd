/*
 * Writes the migration that takes the tables from where the listed migrations leave them to what schema.ts says, and lists it:
 *   node server/adapters/database/new-migration.ts NAME
 */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createOrm } from "./orm.ts";

const FOLDER = join(import.meta.dirname, "migrations", "sqlite");
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

const [name, ...rest] = process.argv.slice(2);
if (name === undefined || !NAME.test(name) || rest.length > 0) {
  console.error("usage: new-migration.ts NAME, where NAME is like add-task-cost");
  process.exit(2);
}

const statements = await changes();
if (statements.up.length === 0) {
  console.log("schema.ts and the migrations agree; nothing to write");
} else {
  const stem = `${new Date().toISOString().replace(/\D/g, "").slice(0, 14)}-${name}`;
  await writeFile(join(FOLDER, `${stem}.ts`), migration(statements), { flag: "wx" });
  await writeFile(join(FOLDER, "index.ts"), await list());
  console.log(`wrote ${join(FOLDER, `${stem}.ts`)}; read it before you commit it`);
}

interface Statements {
  readonly up: readonly string[];
  readonly down: readonly string[];
}

async function changes(): Promise<Statements> {
  const orm = createOrm(":memory:");
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

async function list(): Promise<string> {
  const stems = (await readdir(FOLDER))
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
