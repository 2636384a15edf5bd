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

  test("that are wrong by themselves hide none that are wrong together, or in a file", () => {
    const wrong = {
      LONGSHORE_LOG_LEVEL: "loud",
      LONGSHORE_AUTH: "token",
      LONGSHORE_OIDC_ISSUER: "https://login.example",
      LONGSHORE_DATABASE_URL: "mysql://db",
      LONGSHORE_PRICES: "/nonexistent/prices.json",
    };
    const said = problemsOf(wrong);
    assert.match(said, /LOG_LEVEL "loud" is none of debug, info, warn, error/);
    assert.match(said, /DATABASE_URL begins with neither/);
    assert.match(said, /OIDC_AUDIENCE is empty/);
    assert.match(said, /PRICES \/nonexistent\/prices.json: there is no such file/);
    // Not what follows from the default that stands in for a wrong one.
    assert.doesNotMatch(said, /LONGSHORE_AUTH=none asks nobody/);
    assert.match(said, /^5 settings/);
  });

  test("are told of in plain words", () => {
    const wrong = {
      LONGSHORE_METRICS_ADDRESS: "9464",
      LONGSHORE_BLOBS: "s3://tasks",
      LONGSHORE_S3_ENDPOINT: "minio",
      LONGSHORE_DEFAULT_ISOLATION: "vm",
      LONGSHORE_DEFAULT_CPU: "0",
    };
    const said = problemsOf(wrong);
    assert.match(said, /METRICS_ADDRESS "9464" is not host:port/);
    assert.match(said, /S3_ENDPOINT "minio" is not an address such as/);
    assert.match(said, /DEFAULT_ISOLATION "vm" is neither container nor gvisor/);
    assert.match(said, /DEFAULT_CPU "0" is not above 0/);
    assert.doesNotMatch(said, /Invalid/);
  });

  test("give nobody more by default than whoever asks may have", () => {
    const said = problemsOf({ LONGSHORE_DEFAULT_TIMEOUT: "48h", LONGSHORE_PROCESSES: "5000" });
    assert.match(said, /DEFAULT_TIMEOUT is more than LONGSHORE_MAX_TIMEOUT allows/);
    assert.match(said, /PROCESSES is more than LONGSHORE_MAX_PROCESSES allows/);
  });

  test("take a bucket apart, and AWS' own region", () => {
    const bucket = (value: string, env: Record<string, string> = {}) =>
      readConfig({ LONGSHORE_BLOBS: value, ...env }).bucket;
    assert.equal(bucket("files"), null);
    const { bucket: name, prefix, endpoint, region, pathStyle } = bucket("s3://tasks") ?? assert.fail();
    assert.deepEqual([name, prefix, endpoint, region, pathStyle], ["tasks", "", null, "us-east-1", false]);
    const own = { LONGSHORE_S3_ENDPOINT: "http://minio:9000", AWS_REGION: "eu-west-3" };
    const other = bucket("s3://tasks/a/b.c/", own) ?? assert.fail();
    assert.deepEqual([other.prefix, other.region, other.pathStyle], ["a/b.c", "eu-west-3", true]);
    for (const wrong of ["s3://", "s3://UPPER", "s3://b//x", "s3://b/../x?y", "minio", "s3:/b"])
      assert.throws(() => bucket(wrong), /neither files nor s3:\/\/BUCKET\/PREFIX/, wrong);
    assert.throws(() => bucket("files", own), /LONGSHORE_S3_ENDPOINT means nothing without/);
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
    test(`${listen} needs tokens and TLS, or a word that the network is trusted`, () => {
      const tls = { LONGSHORE_TLS_CERT: "/cert.pem", LONGSHORE_TLS_KEY: "/key.pem" };
      const tokens = { LONGSHORE_AUTH: "tokens" };
      const read = (env: Record<string, string>) => readConfig({ LONGSHORE_LISTEN: listen, ...env }).listen;
      assert.throws(() => read({}), /needs tokens .* and TLS .*LONGSHORE_ALLOW_INSECURE/);
      assert.throws(() => read(tls), /needs tokens \(LONGSHORE_AUTH=tokens\)\./);
      assert.throws(() => read(tokens), /needs TLS \(LONGSHORE_TLS_CERT and LONGSHORE_TLS_KEY\)\./);
      assert.equal(read({ ...tls, ...tokens }), listen);
      assert.equal(read({ LONGSHORE_ALLOW_INSECURE: "true" }), listen);
    });
  }

  test("of TLS belong together", () => {
    const wrong = [
      { LONGSHORE_TLS_CERT: "/cert.pem" },
      { LONGSHORE_TLS_KEY: "/key.pem" },
      { LONGSHORE_TLS_CLIENT_CA: "/ca.pem" },
    ];
    for (const env of wrong) assert.throws(() => readConfig(env), /is set without/);
  });

  test("of a provider are refused where they would let in strangers", () => {
    const good = {
      LONGSHORE_AUTH: "tokens",
      LONGSHORE_OIDC_ISSUER: "https://id.example/realm",
      LONGSHORE_OIDC_AUDIENCE: "longshore",
    };
    assert.equal(readConfig(good).access.oidc?.issuer, "https://id.example/realm");
    const wrong = [
      [{ LONGSHORE_AUTH: "none" }, /asks nobody/],
      [{ LONGSHORE_OIDC_AUDIENCE: "" }, /LONGSHORE_OIDC_AUDIENCE is empty/],
      [{ LONGSHORE_OIDC_ISSUER: "http://id.example" }, /no https address/],
      [{ LONGSHORE_OIDC_JWKS_URL: "http://id.example/keys" }, /no https address/],
      [{ LONGSHORE_OIDC_ALGORITHMS: "RS256,HS256" }, /LONGSHORE_OIDC_ALGORITHMS/],
      [{ LONGSHORE_OIDC_ALGORITHMS: "none" }, /LONGSHORE_OIDC_ALGORITHMS/],
      [{ LONGSHORE_OIDC_SCOPES: "root" }, /LONGSHORE_OIDC_SCOPES/],
      [{ LONGSHORE_OIDC_TENANT: "Blue" }, /LONGSHORE_OIDC_TENANT/],
      [{ LONGSHORE_CERTIFICATE_SCOPES: "blobs" }, /needs .*LONGSHORE_TLS_CLIENT_CA/],
    ] as const;
    for (const [change, pattern] of wrong) assert.throws(() => readConfig({ ...good, ...change }), pattern);
  });

  test("are all in the help", () => {
    const help = helpText();
    for (const name of Object.keys(SETTINGS)) assert.ok(help.includes(`  ${name}=`), `${name} is missing`);
  });
});

function problemsOf(env: Record<string, string>): string {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  return assert.fail("nothing was wrong");
}
