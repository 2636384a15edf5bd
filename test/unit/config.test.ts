import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConfigError, readConfig } from "#server/config.ts";
import { helpText, SETTINGS } from "#server/settings.ts";

describe("the server's settings", () => {
  test("are right as they are by default", () => {
    const config = readConfig({});
    assert.equal(config.listen, "127.0.0.1:50051");
    assert.equal(config.policy.defaultTimeoutMillis, 30_000);
    assert.equal(config.databaseUrl, `sqlite://${config.dataDirectory}/longshore.db`);
  });

  test("that are wrong are named all at once, unknown ones too", () => {
    const wrong = {
      LONGSHORE_DEFAULT_RAM: "512",
      LONGSHORE_DEFAULT_TIMEOUT: "soon",
      LONGSHORE_LOG_LEVEL: "loud",
      LONGSHORE_LISTEN: "50051",
      LONGSHORE_TYPO: "1",
    };
    assert.throws(
      () => readConfig(wrong),
      (error) => {
        assert.ok(error instanceof ConfigError);
        for (const name of Object.keys(wrong))
          assert.ok(error.message.includes(name), `${name} is not named`);
        return true;
      },
    );
  });

  for (const listen of ["127.0.0.1:1", "127.8.8.8:50051", "localhost:50051", "[::1]:50051"]) {
    test(`${listen} is served without more`, () =>
      assert.equal(readConfig({ LONGSHORE_LISTEN: listen }).listen, listen));
  }

  for (const listen of [
    "0.0.0.0:50051",
    "[::]:50051",
    "192.168.1.5:50051",
    "localhost.example:50051",
    "127.0.0.1.example:1",
  ]) {
    test(`${listen} needs a word that the network is trusted`, () => {
      assert.throws(() => readConfig({ LONGSHORE_LISTEN: listen }), /LONGSHORE_ALLOW_INSECURE/);
      assert.equal(readConfig({ LONGSHORE_LISTEN: listen, LONGSHORE_ALLOW_INSECURE: "true" }).listen, listen);
    });
  }

  test("are all in the help", () => {
    const help = helpText();
    for (const name of Object.keys(SETTINGS)) assert.ok(help.includes(`  ${name}=`), `${name} is missing`);
  });
});
