import assert from "node:assert/strict";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { BadConnection, Longshore, Unauthenticated, Unavailable } from "@longshore/client";
import { CertificateAuthenticator } from "#server/application/certificate-authenticator.ts";
import { SystemFault } from "#server/domain/errors.ts";
import type { Authenticator } from "#server/domain/ports/authenticator.ts";
import { TlsCredentials } from "#server/transport/tls.ts";
import { AccessBench } from "../support/access-bench.ts";
import { Certificates } from "../support/certificates.ts";
import { CollectingLog } from "../support/fakes/collecting-log.ts";
import { FakeApplication } from "../support/fakes/fake-application.ts";
import { runCli } from "../support/run-cli.ts";
import { TransportServer } from "../support/transport-server.ts";

/** A server with TLS and tokens. */
async function secureServer(
  certificates: Certificates,
  clientAuthorities: string | null = null,
  authenticators: readonly Authenticator[] = [],
) {
  const files = { ...(await certificates.issue("server")), clientAuthorities };
  const log = new CollectingLog();
  const tls = await TlsCredentials.open(files, log);
  const bench = await AccessBench.open({ authenticators });
  const server = await TransportServer.start(new FakeApplication(), [], bench.access, tls);
  const { address } = server.server;
  const [token = ""] = bench.delivered;
  return {
    address,
    token,
    tls,
    log,
    files,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      tls[Symbol.dispose]();
    },
  };
}

test("both clients reach a server with TLS and a token", async () => {
  await using certificates = await Certificates.create();
  await using server = await secureServer(certificates);
  const ca = await readFile(certificates.ca);
  await using client = new Longshore(server.address, { token: server.token, tls: { ca } });
  assert.equal((await client.access.caller()).subject, "admin");
  const env = { LONGSHORE_TOKEN: server.token, LONGSHORE_TLS_CA: certificates.ca };
  const { stdout, code } = await runCli(["whoami"], { server: server.address, env });
  assert.match(stdout, /^admin of default, by token /);
  assert.equal(code, 0);
});

test("a client that does not know the authority, or does not speak TLS, is not served", async () => {
  await using certificates = await Certificates.create();
  await using server = await secureServer(certificates);
  const strangers = [true, false].map(async (tls) => {
    await using client = new Longshore(server.address, { token: server.token, tls });
    await assert.rejects(() => client.access.caller(), Unavailable);
  });
  await Promise.all(strangers);
  const ca = await readFile(certificates.ca);
  await using nobody = new Longshore(server.address, { tls: { ca } });
  await assert.rejects(() => nobody.access.caller(), Unauthenticated);
});

test("the command line says why there is no connection, and nothing else", async () => {
  await using certificates = await Certificates.create();
  await using server = await secureServer(certificates);
  await using strict = await secureServer(certificates, certificates.ca);
  await using plain = await TransportServer.start(new FakeApplication());
  const known = { LONGSHORE_TLS_CA: certificates.ca };
  const cases = [
    [server.address, {}, /it may ask for TLS/],
    [server.address, { LONGSHORE_TLS: "true" }, /name its authority with --tls-ca/],
    [strict.address, known, /a certificate of yours/],
    [plain.server.address, known, /does not speak TLS/],
    ["127.0.0.1:1", {}, /no server answers/],
  ] as const;
  // Each tries again for three seconds.
  const checks = cases.map(async ([address, env, pattern]) => {
    const { code, stderr } = await runCli(["whoami"], { server: address, env });
    assert.match(stderr, pattern);
    assert.deepEqual([code, stderr.trim().split("\n").length], [69, 2], stderr);
  });
  await Promise.all(checks);
});

test("where clients need a certificate, those without one are not served", async () => {
  await using certificates = await Certificates.create();
  await using foreign = await Certificates.create();
  await using server = await secureServer(certificates, certificates.ca);
  const ca = await readFile(certificates.ca);
  const read = async (of: Certificates) => {
    const { certificate, key } = await of.issue("client", "/CN=ana");
    return { ca, certificate: await readFile(certificate), key: await readFile(key) };
  };
  await using known = new Longshore(server.address, { token: server.token, tls: await read(certificates) });
  assert.equal((await known.access.caller()).subject, "admin");
  const strangers = [{ ca }, await read(foreign)].map(async (tls) => {
    await using client = new Longshore(server.address, { token: server.token, tls });
    await assert.rejects(() => client.access.caller(), Unavailable);
  });
  await Promise.all(strangers);
});

test("a certificate says who calls where it is meant to", async () => {
  await using certificates = await Certificates.create();
  const authenticator = new CertificateAuthenticator(["tasks:read"]);
  await using server = await secureServer(certificates, certificates.ca, [authenticator]);
  const ca = await readFile(certificates.ca);
  const as = async (subject: string, token?: string) => {
    const { certificate, key } = await certificates.issue("client", subject);
    const tls = { ca, certificate: await readFile(certificate), key: await readFile(key) };
    return new Longshore(server.address, { tls, token });
  };
  await using ana = await as("/O=blue/CN=ana");
  const caller = await ana.access.caller();
  assert.deepEqual([caller.tenant, caller.subject, caller.scopes], ["blue", "ana", ["tasks:read"]]);
  assert.match(caller.credential, /^certificate [0-9a-f]{64}$/);
  assert.ok(caller.expireTime !== undefined);
  await using both = await as("/O=blue/CN=ana", server.token);
  assert.equal((await both.access.caller()).subject, "admin");
  for (const subject of ["/CN=ana", "/O=Blue Team/CN=ana", "/O=blue"]) {
    await using nobody = await as(subject);
    await assert.rejects(() => nobody.access.caller(), Unauthenticated);
  }
});

test("a renewed certificate is taken up, a broken one is not", async () => {
  await using certificates = await Certificates.create();
  await using server = await secureServer(certificates);
  await using renewed = await Certificates.create();
  const fresh = await renewed.issue("server");
  const reaches = async (ca: string) => {
    await using client = new Longshore(server.address, {
      token: server.token,
      tls: { ca: await readFile(ca) },
    });
    return await client.access.caller().then(
      () => true,
      () => false,
    );
  };
  await copyFile(fresh.certificate, server.files.certificate);
  await server.tls.reload();
  assert.match(server.log.lines.at(-1) ?? "", /cannot be used/);
  assert.equal(await reaches(certificates.ca), true);
  await copyFile(fresh.key, server.files.key);
  await server.tls.reload();
  assert.equal(await reaches(certificates.ca), false);
  assert.equal(await reaches(renewed.ca), true);
});

test("files that are wrong are named, and their content is not", async () => {
  await using certificates = await Certificates.create();
  const { certificate, key } = await certificates.issue("server");
  const other = await certificates.issue("other");
  await writeFile(other.certificate, "nonsense-secret");
  const open = (files: { certificate: string; key: string }) =>
    TlsCredentials.open({ clientAuthorities: null, ...files }, new CollectingLog());
  const wrong = [
    [{ certificate, key: other.key }, /does not belong/],
    [{ certificate: other.certificate, key }, /LONGSHORE_TLS_CERT .*does not hold/],
    [{ certificate, key: other.certificate }, /LONGSHORE_TLS_KEY .*does not hold/],
    [{ certificate: "/nowhere", key }, /cannot be read/],
  ] as const;
  for (const [files, pattern] of wrong) {
    await assert.rejects(
      () => open(files),
      (error) => error instanceof SystemFault && pattern.test(error.message) && !/secret/.test(error.message),
    );
  }
});

test("clients never send a token in the clear to another machine unless they are told to", async () => {
  for (const address of ["192.0.2.1:1", "example.com:1", "dns:///example.com:1", "127.0.0.1.example:1"]) {
    assert.throws(() => new Longshore(address, { token: "x" }), BadConnection, address);
    new Longshore(address, { token: "x", tls: true }).close();
    new Longshore(address, { token: "x", allowInsecure: true }).close();
    new Longshore(address).close();
  }
  for (const address of ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/x", "dns:localhost:1"])
    new Longshore(address, { token: "x" }).close();
  const { code, stderr } = await runCli(["whoami"], {
    server: "192.0.2.1:1",
    env: { LONGSHORE_TOKEN: "secret" },
  });
  assert.equal(code, 2);
  assert.match(stderr, /LONGSHORE_TLS=true/);
  assert.ok(!stderr.includes("secret"));
});

test("a path in place of a certificate's text is refused at once, and not by a connection that never comes", async () => {
  await using certificates = await Certificates.create();
  const { certificate, key } = await certificates.issue("client");
  for (const tls of [{ ca: certificates.ca }, { certificate, key: await readFile(key) }])
    assert.throws(
      () => new Longshore("localhost:1", { tls }),
      /tls\.\w+ holds no certificate as PEM.*not the path/,
    );
});

test("a token file is read for each call", async () => {
  await using certificates = await Certificates.create();
  await using server = await secureServer(certificates);
  const file = server.files.certificate.replace(/pem$/, "token");
  const ca = await readFile(certificates.ca);
  await using client = new Longshore(server.address, { tokenFile: file, tls: { ca } });
  await assert.rejects(() => client.access.caller(), BadConnection);
  await writeFile(file, `${server.token}\n`);
  assert.equal((await client.access.caller()).subject, "admin");
  await writeFile(file, "two words");
  await assert.rejects(() => client.access.caller(), BadConnection);
});
