import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { openRestController } from "#server/adapters/slurm/rest-controller.ts";
import { ToolController } from "#server/adapters/slurm/tool-controller.ts";
import { Unavailable } from "#server/domain/errors.ts";
import { SLURM_CONF, slurm, slurmMissing, slurmRest } from "../support/slurm-engine.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";
import { slurmController } from "./slurm-controller.ts";

slurmController(
  "tools",
  {
    there: async () => new ToolController(SLURM_CONF),
    deaf: async (folder) => {
      // Nobody listens on the port of echo.
      const text = (await readFile(SLURM_CONF, "utf8")).replace(
        /^SlurmctldPort=.*$/m,
        "SlurmctldPort=7\nMessageTimeout=2",
      );
      await folder.write({ "deaf.conf": text });
      return new ToolController(folder.at("deaf.conf"));
    },
  },
  { skip: slurmMissing },
);

slurmController(
  "slurmrestd",
  {
    there: () => openRestController(slurmRest()),
    deaf: () => openRestController({ ...slurmRest(), url: "http://127.0.0.1:7" }),
  },
  { skip: slurmMissing },
);

test("slurmrestd: a token is read again at each call, and why it is of no use is told without it", {
  skip: slurmMissing,
}, async () => {
  const good = (await readFile(slurmRest().tokenFile, "utf8")).trim().replace("SLURM_JWT=", "");
  const [head = "", claims = ""] = good.split(".");
  const old = Buffer.from(JSON.stringify({ exp: 1_000_000_000, iat: 1, sun: "root" })).toString("base64url");
  await using folder = await TemporaryFolder.create({ token: `${good}\n` });
  const controller = await openRestController({ ...slurmRest(), tokenFile: folder.at("token") });
  assert.match(await controller.version(), /^slurm .*\(slurmrestd v0\.0\.38\)$/);
  for (const [token, why] of [
    [`${head}.${old}.c2lnbmF0dXJl`, /token in .* expired at 2001-09-09T01:46:40\.000Z; write a new one/],
    [`${head}.${claims}.c2lnbmF0dXJl`, /does not take the token in .*token/],
    ["no token at all", /holds no JSON web token/],
  ] as const) {
    await writeFile(folder.at("token"), token);
    await assert.rejects(controller.jobs(), (error) => {
      assert.ok(error instanceof Unavailable, String(error));
      assert.match(error.message, why);
      assert.ok(!error.message.includes(token.slice(-20)));
      return true;
    });
  }
  // As scontrol prints it.
  await writeFile(folder.at("token"), await slurm("scontrol", "token", "username=root", "lifespan=600"));
  assert.ok(Array.isArray(await controller.jobs()));
});

test("slurmrestd: is there on a socket of its host, too", { skip: slurmMissing }, async () => {
  const controller = await openRestController({
    ...slurmRest(),
    url: `unix:${SLURM_CONF.replace("slurm.conf", "rest/socket")}`,
  });
  assert.equal((await controller.nodes()).length, 2);
});
