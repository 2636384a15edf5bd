import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandFailed } from "#server/adapters/docker/command.ts";
import { CommandHost } from "#server/adapters/docker/command-host.ts";

async function opened(): Promise<{ host: CommandHost } & AsyncDisposable> {
  const host = new CommandHost();
  return { host, [Symbol.asyncDispose]: () => host.close() };
}

test("answers what a tool printed, many at a time, arguments as they are", async () => {
  await using opening = await opened();
  const texts = ["plain", "it's", "$(id) `id`", "a b\nc", "ö€😀"];
  const answers = await Promise.all(texts.map((text) => opening.host.run("printf", ["%s", text])));
  assert.deepEqual(answers, texts);
});

test("a tool that fails rejects with its exit code and words", async () => {
  await using opening = await opened();
  await assert.rejects(
    opening.host.run("sh", ["-c", "echo no room >&2; exit 3"]),
    (error: unknown) =>
      error instanceof CommandFailed && error.exitCode === 3 && error.stderr === "no room\n",
  );
  await assert.rejects(opening.host.run("/no/such/tool", []), CommandFailed);
});

test("gives a tool no environment but its own", async () => {
  await using opening = await opened();
  assert.match(await opening.host.run("env", []), /^PATH=[^\n]+\nLC_ALL=C\n$/);
});

test("a worker that is lost fails what it was doing, and the next command has another", async () => {
  await using opening = await opened();
  await assert.rejects(opening.host.run("sh", ["-c", "kill -9 $PPID"]), CommandFailed);
  assert.equal(await opening.host.run("printf", ["again"]), "again");
});
