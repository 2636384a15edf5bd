import { readFile } from "node:fs/promises";
import { join } from "node:path";
import ignore from "ignore";

/** What nobody means to send: history, caches, installed packages. `!name` in .longshoreignore takes one back in. */
const LEFT_OUT = [
  ".git/",
  ".git",
  ".hg/",
  ".svn/",
  "__pycache__/",
  "*.pyc",
  ".pytest_cache/",
  ".mypy_cache/",
  ".ruff_cache/",
  ".ipynb_checkpoints/",
  ".tox/",
  ".nox/",
  ".venv/",
  "venv/",
  "node_modules/",
  ".DS_Store",
];

const IGNORE_FILE = ".longshoreignore";

export interface IgnoreRules {
  /** Whether a path, relative to the folder and with "/" between its parts, is left out. */
  leavesOut(path: string, isFolder: boolean): boolean;
}

/** The rules that hold in a folder: the built-in ones, then its .longshoreignore in the syntax of .gitignore. */
export async function readIgnoreRules(folder: string): Promise<IgnoreRules> {
  const rules = ignore({ ignorecase: false }).add(LEFT_OUT);
  try {
    rules.add(await readFile(join(folder, IGNORE_FILE), "utf8"));
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
  return { leavesOut: (path, isFolder) => rules.ignores(isFolder ? `${path}/` : path) };
}
