import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Longshore, NotFound, Unauthenticated } from "@longshore/client";
import { Certificates } from "../support/certificates.ts";
import { IdentityProvider } from "../support/identity-provider.ts";
import { runCli } from "../support/run-cli.ts";
import { type RunningServer, startServer, whyNoServer } from "../support/running-server.ts";

const run = promisify(execFile);

async function whyNoGrpcurl(): Promise<string | false> {
  try {
    await run("grpcurl", ["-version"]);
    return false;
  } catch {
    // Absent or of another kind of machine: either way there is nothing to test with.
    return "grpcurl does not run";
  }
}

const noServer = (await whyNoServer()) ?? false;
const PYTHON_SOURCES = fileURLToPath(new URL("../../clients/python/src", import.meta.url));
const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const noPython = python === "" && "LONGSHORE_TEST_PYTHON names no Python with the client's packages";
const noGrpcurl = await whyNoGrpcurl();

describe("a server with tokens and TLS", { skip: noServer }, () => {
  let certificates: Certificates;
  let server: RunningServer;
  let admin: string;
  const secrets: string[] = [];

  before(async () => {
    certificates = await Certificates.create();
    const { certificate, key } = await certificates.issue("server");
    const tls = { LONGSHORE_TLS_CERT: certificate, LONGSHORE_TLS_KEY: key };
    server = await startServer({ LONGSHORE_AUTH: "tokens", ...tls });
    admin = (await readFile(join(server.dataDirectory, "admin.token"), "utf8")).trim();
    secrets.push(admin);
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await certificates?.[Symbol.asyncDispose]();
  });

  /** The command line as this token's owner. */
  const cli = (token: string, ...args: string[]) =>
    runCli(args, {
      server: server.address,
      env: { LONGSHORE_TOKEN: token, LONGSHORE_TLS_CA: certificates.ca },
    });

  async function tokenFor(tenant: string, subject: string, scope = "tasks:read,tasks:write,blobs") {
    const made = await cli(
      admin,
      ...["token", "create", "-q", "--scope", scope, "--tenant", tenant, "--subject", subject],
    );
    assert.equal(made.code, 0, made.stderr);
    const secret = made.stdout.trim();
    secrets.push(secret);
    return secret;
  }

  test("keeps the first token for its owner alone, and the same over a restart", async () => {
    const path = join(server.dataDirectory, "admin.token");
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    await server.stop();
    await server.start();
    assert.equal((await readFile(path, "utf8")).trim(), admin);
    assert.match((await cli(admin, "whoami")).stdout, /^admin of default, by token /);
  });

  test("runs a task for those who may, and shows it to nobody else", async () => {
    const [ana, eve] = [await tokenFor("blue", "ana"), await tokenFor("red", "eve")];
    const ran = await cli(ana, "run", "-q", "--code", "print('seen')");
    assert.deepEqual([ran.code, ran.stdout], [0, "seen\n"]);
    const listed = await cli(ana, "ps", "--all", "-q");
    const id = listed.stdout.trim();
    assert.equal((await cli(eve, "ps", "--all", "-q")).stdout, "");
    const tls = { ca: await readFile(certificates.ca) };
    await using client = new Longshore(server.address, { token: eve, tls });
    await assert.rejects(() => client.task(id).get(), NotFound);
    await using nobody = new Longshore(server.address, { tls });
    await assert.rejects(() => nobody.task(id).get(), Unauthenticated);
    const denied = await cli(ana, "token", "list");
    assert.equal(denied.code, 77);
    assert.match(denied.stderr, /needs the scope admin/);
  });

  test("ends a watch when its token is revoked; the task goes on", async () => {
    const token = await tokenFor("blue", "bob");
    const submitted = await cli(
      token,
      "submit",
      "-q",
      "--code",
      "import time; time.sleep(60)",
      "--timeout",
      "2m",
    );
    const id = submitted.stdout.trim();
    const listed = await cli(admin, "token", "list", "--json", "--tenant", "blue");
    const rows = listed.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const row = rows.find(({ subject }) => subject === "bob");
    await using client = new Longshore(server.address, {
      token,
      tls: { ca: await readFile(certificates.ca) },
    });
    const events = client.task(id).watch();
    await events.next();
    assert.equal((await cli(admin, "token", "revoke", row.id)).code, 0);
    await assert.rejects(async () => {
      for await (const _ of events);
    }, Unauthenticated);
    const other = await tokenFor("blue", "carl");
    assert.equal((await cli(other, "cancel", "-q", id)).code, 0);
  });

  test("answers grpcurl, which brings the token as metadata", { skip: noGrpcurl }, async () => {
    const header = ["-H", `authorization: Bearer ${admin}`];
    const args = ["-cacert", certificates.ca, server.address, "longshore.v1.AccessService/GetCaller"];
    const { stdout } = await run("grpcurl", [...header, ...args]);
    assert.match(stdout, /"subject": "admin"/);
    await assert.rejects(() => run("grpcurl", args), /Unauthenticated/);
    const health = ["-cacert", certificates.ca, server.address, "grpc.health.v1.Health/Check"];
    assert.match((await run("grpcurl", health)).stdout, /SERVING/);
  });

  test("answers the Python client, for threads and for asyncio", { skip: noPython }, async () => {
    const token = await tokenFor("green", "py");
    const script = `
import asyncio, longshore
with longshore.Client() as client:
    print(client.run(code="print('sync')").outcome.state)
async def main():
    async with longshore.aio.Client() as client:
        print(len([record async for record in client.list()]))
asyncio.run(main())
try:
    longshore.Client(token="wrong").capabilities()
except longshore.Unauthenticated as error:
    print(error.reason)
try:
    longshore.Client("192.0.2.1:1", token="x", tls=False)
except longshore.BadConnection as error:
    print(error.reason)
`;
    const env = {
      ...process.env,
      PYTHONPATH: PYTHON_SOURCES,
      LONGSHORE_SERVER: server.address,
      LONGSHORE_TOKEN: token,
      LONGSHORE_TLS_CA: certificates.ca,
    };
    const { stdout } = await run(python, ["-c", script], { env });
    assert.deepEqual(stdout.trim().split("\n"), [
      "sync",
      "succeeded",
      "1",
      "UNAUTHENTICATED",
      "BAD_CONNECTION",
    ]);
  });

  test("tells who did what, and no secret anywhere", async () => {
    const { stdout } = await cli(admin, "audit", "export", "--tenant", "blue");
    const events = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const did = (action: string) => events.filter((event) => event.action === action);
    assert.deepEqual(
      did("task.create").map(({ subject }) => subject),
      ["ana", "bob"],
    );
    assert.deepEqual(
      did("task.cancel").map(({ subject }) => subject),
      ["carl"],
    );
    assert.equal(did("token.create").length, 3);
    assert.equal(did("token.revoke").length, 1);
    assert.ok(did("call.denied").some(({ detail }) => detail === "MISSING_SCOPE: admin"));
    for (const secret of secrets) {
      const part = secret.split("_").slice(2).join("_");
      assert.ok(![...server.log, stdout].some((line) => line.includes(part)));
    }
  });
});

test("a server takes the word of a provider and of certificates", { skip: noServer }, async () => {
  await using certificates = await Certificates.create();
  await using provider = await IdentityProvider.start();
  const { certificate, key } = await certificates.issue("server");
  await using server = await startServer({
    LONGSHORE_AUTH: "tokens",
    LONGSHORE_TLS_CERT: certificate,
    LONGSHORE_TLS_KEY: key,
    LONGSHORE_TLS_CLIENT_CA: certificates.ca,
    LONGSHORE_CERTIFICATE_SCOPES: "tasks:read",
    LONGSHORE_OIDC_ISSUER: provider.issuer,
    LONGSHORE_OIDC_AUDIENCE: "longshore",
    LONGSHORE_OIDC_TENANT_CLAIM: "org",
  });
  const client = await certificates.issue("client", "/O=red/CN=robot");
  const tls = ["--tls-ca", certificates.ca, "--tls-cert", client.certificate, "--tls-key", client.key];
  const whoami = (env: Record<string, string>) => runCli([...tls, "whoami"], { server: server.address, env });
  assert.match(
    (await whoami({})).stdout,
    /^robot of red, by certificate [0-9a-f]{64} until .*: tasks:read$/m,
  );
  const jwt = await provider.sign({ org: "blue", sub: "ana", scope: "tasks:read blobs" });
  assert.match(
    (await whoami({ LONGSHORE_TOKEN: jwt })).stdout,
    /^ana of blue, by oidc ana until .*: tasks:read, blobs$/m,
  );
  const foreign = await provider.sign({ org: "blue", aud: "billing" });
  const refused = await whoami({ LONGSHORE_TOKEN: foreign });
  assert.equal(refused.code, 77);
  assert.match(refused.stderr, /claim aud/);
});

test("a server does not start where others could reach it unknown or unseen", {
  skip: noServer,
}, async () => {
  await assert.rejects(
    () => startServer({ LONGSHORE_LISTEN: "0.0.0.0:0" }),
    /LONGSHORE_AUTH=tokens.*LONGSHORE_TLS_CERT/s,
  );
});
