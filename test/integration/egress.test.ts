import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Longshore, NotEnforced } from "@longshore/client";
import { ulid } from "ulid";
import type { DockerEngine } from "#server/adapters/docker/docker-engine.ts";
import type { EgressSettings } from "#server/adapters/docker/options.ts";
import { Unsupported } from "#server/domain/errors.ts";
import { type IpRange, parseIpRange } from "#server/domain/ip-range.ts";
import type { RunnerSpec, SandboxShape } from "#server/domain/ports/engine.ts";
import { acquire, attempt, follow, sampleRunnerSpec, sampleShape } from "../contract/engine-under-test.ts";
import {
  DockerBench,
  docker,
  dockerMissing,
  EXECUTOR_IMAGE,
  gvisorMissing,
} from "../support/docker-engine.ts";
import { OutsideNetwork, outsideMissing } from "../support/outside-network.ts";
import { startServer } from "../support/running-server.ts";

const run = promisify(execFile);
const skip = (await dockerMissing()) || (await outsideMissing());
const noGvisor = await gvisorMissing();

const PUBLIC = "203.0.113.10";
const TRACKER = "10.98.7.6";
const RESOLVER = "10.98.7.53";
const COMPANY = "198.51.100.9";
const METADATA = "169.254.169.254";
/** Apart from the addresses below, which Docker's own choice now and then is not, and from another run's at the same time. */
const [SUBNET, SERVER_SUBNET] = [213, 214].map((second) => `10.${second}.${randomInt(256)}`);
const GATEWAY = `${SUBNET}.1`;
const PRIVATE = ["10.98.7.7", "172.31.99.9", "192.168.77.7", "100.64.9.9", METADATA, "198.18.0.9"];

const SETTINGS: EgressSettings = {
  allow: [{ range: ipRange(`${TRACKER}/32`), port: 8080 }],
  deny: [ipRange("198.51.100.0/24")],
  subnet: ipRange(`${SUBNET}.0/24`),
  nameservers: [ipRange(RESOLVER)],
};

/** Tries HOST:PORT of each argument at once and prints {"HOST:PORT": "open" or the error}. */
const REACH = `
import concurrent.futures, json, os, errno, socket, sys
def reach(target):
    host, port = target.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), 3):
            return "open"
    except socket.gaierror:
        return "no such name"
    except TimeoutError:
        return "silence"
    except OSError as error:
        return errno.errorcode[error.errno]
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(reach, sys.argv[1:])))))
`;

/** Says where it is, then whether somebody came before its time was up. */
const LISTEN = `
import socket
listener = socket.create_server(("0.0.0.0", 4000))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(("${PUBLIC}", 9))
    print(probe.getsockname()[0], flush=True)
listener.accept()
print("somebody came", flush=True)
`;

function ipRange(text: string): IpRange {
  const range = parseIpRange(text);
  assert.ok(range !== undefined, text);
  return range;
}

function python(code: string, args: readonly string[] = []): Partial<RunnerSpec> {
  return { program: { kind: "script", script: "main.py" }, code, args };
}

/** Network and bridge of an installation's EGRESS sandboxes. */
async function egressOf(installationId: string): Promise<{ network: string; bridge: string } | undefined> {
  const label = `label=longshore.installation=${installationId}`;
  const network = await docker("network", "ls", "--filter", label, "--format", "{{.Name}}");
  if (network === "") return undefined;
  const option = '{{index .Options "com.docker.network.bridge.name"}}';
  return { network, bridge: await docker("network", "inspect", network, "--format", option) };
}

async function rulesAbout(text: string): Promise<string[]> {
  return (await run("iptables", ["-S"])).stdout.split("\n").filter((line) => line.includes(text));
}

function hostAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((entries) =>
    (entries ?? []).flatMap(({ family, internal, address }) =>
      family === "IPv4" && !internal ? [address] : [],
    ),
  );
}

async function listeningServer(): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => socket.destroy());
  await once(server.listen(0, "0.0.0.0"), "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address !== "string");
  return { server, port: address.port };
}

describe("network EGRESS", { skip }, () => {
  const cleanup = new AsyncDisposableStack();
  let bench: DockerBench;
  let engine: DockerEngine;
  let shape: SandboxShape;
  let network: string;
  let bridge: string;

  before(async () => {
    bench = cleanup.use(await DockerBench.create());
    const outside = cleanup.use(
      await OutsideNetwork.create([PUBLIC, TRACKER, COMPANY, ...PRIVATE], [RESOLVER]),
    );
    engine = await bench.open({ egress: SETTINGS });
    shape = { ...sampleShape((await engine.resolveImage(EXECUTOR_IMAGE)).digest), network: "EGRESS" };
    const made = await egressOf(bench.installationId);
    assert.ok(made !== undefined, bench.log.lines.join("\n"));
    ({ network, bridge } = made);
    await outside.attach(bridge);
  });
  after(async () => {
    try {
      // Switched off, a server takes away what an earlier one set up.
      if (bench !== undefined) await (await bench.open()).close();
    } finally {
      await cleanup.disposeAsync();
    }
    if (bridge === undefined) return;
    assert.equal(await egressOf(bench.installationId), undefined);
    assert.deepEqual(await rulesAbout(bridge.replace("lse-", "")), []);
  });

  const output = async (spec: Partial<RunnerSpec>, changes: Partial<SandboxShape> = {}): Promise<string> => {
    const sandbox = await acquire(engine, { ...shape, ...changes });
    try {
      const { stdout, stderr } = await attempt(engine, sandbox, sampleRunnerSpec(shape, spec));
      assert.equal(stderr, "");
      return stdout;
    } finally {
      await engine.release(sandbox.id);
    }
  };
  const reach = async (...targets: string[]): Promise<Record<string, string>> =>
    JSON.parse(await output(python(REACH, targets)));
  /** The same from a container that no engine looked after: what the network alone holds. */
  const reachRaw = async (...targets: string[]): Promise<Record<string, string>> =>
    JSON.parse(
      await docker(
        ...["run", "--rm", "--network", network, "--entrypoint", "python3", EXECUTOR_IMAGE],
        ...["-c", REACH, ...targets],
      ),
    );

  test("is offered with container isolation alone", async () => {
    const { tiers } = await engine.capabilities();
    assert.deepEqual(
      tiers.map((tier) => [tier.isolation, tier.networks.includes("EGRESS")]),
      tiers.map((tier) => [tier.isolation, tier.isolation === "CONTAINER"]),
    );
    const limit = tiers[0]?.limits.find((candidate) => candidate.limit === "NETWORK");
    assert.equal(limit?.level, "ENFORCED");
    assert.match(limit?.mechanism ?? "", /public/);
  });

  test("reaches public addresses, by name too, and the private ones that the operator allows", async () => {
    const fetch = `import urllib.request
for host in ("${PUBLIC}", "data.example", "${TRACKER}"):
    print(urllib.request.urlopen(f"http://{host}:8080/").read().decode())`;
    assert.equal(await output(python(fetch)), `${PUBLIC}\n${PUBLIC}\n${TRACKER}\n`);
  });

  test("reaches no private address, no metadata service, and nothing the operator denies", async () => {
    const refused = [
      ...PRIVATE.map((address) => `${address}:8080`),
      `${COMPANY}:8080`,
      // Neither another port of what is allowed, nor another of a resolver.
      `${TRACKER}:8081`,
      `${RESOLVER}:8080`,
    ];
    const answers = await reach(`${PUBLIC}:8081`, ...refused);
    assert.deepEqual(answers, {
      [`${PUBLIC}:8081`]: "open",
      ...Object.fromEntries(refused.map((target) => [target, "ECONNREFUSED"])),
    });
  });

  test("reaches this host at none of its addresses", async () => {
    const { server, port } = await listeningServer();
    try {
      // Named, because an interface that nobody uses at the moment is not in the list.
      const addresses = [GATEWAY, ...hostAddresses().filter((address) => address !== GATEWAY)];
      const refused = addresses.flatMap((address) => [
        `${address}:${port}`,
        `${address}:22`,
        `${address}:2375`,
      ]);
      const answers = await reach(...refused, `127.0.0.1:${port}`);
      assert.deepEqual(answers, {
        ...Object.fromEntries(refused.map((target) => [target, "ECONNREFUSED"])),
        // Its own loopback, where nothing listens.
        [`127.0.0.1:${port}`]: "ECONNREFUSED",
      });
    } finally {
      server.close();
    }
  });

  test("has no IPv6", async () => {
    const code = 'print([line for line in open("/proc/net/if_inet6") if line.split()[-1] != "lo"])';
    assert.equal(await output(python(code)), "[]\n");
    assert.equal((await readFile(`/proc/sys/net/ipv6/conf/${bridge}/disable_ipv6`, "utf8")).trim(), "1");
  });

  test("reaches no other sandbox", async () => {
    const sandbox = await acquire(engine, shape);
    const attemptId = ulid();
    const address = Promise.withResolvers<string>();
    await engine.begin(sandbox, sampleRunnerSpec(shape, { attemptId, ...python(LISTEN) }));
    const followed = follow(engine, sandbox.id, attemptId, (frame) => {
      if (frame.kind === "log") address.resolve(frame.data.toString().trim());
    });
    try {
      const target = `${await address.promise}:4000`;
      assert.deepEqual(await reach(target), { [target]: "ECONNREFUSED" });
    } finally {
      await engine.stop(sandbox.id, "kill");
      const { stdout } = await followed;
      await engine.release(sandbox.id);
      assert.ok(!stdout.includes("somebody came"), stdout);
    }
  });

  test("cannot fill the host's table of connections", async () => {
    const code = `import socket
kept = []
try:
    for _ in range(1500): kept.append(socket.create_connection(("${PUBLIC}", 8080), 10))
except ConnectionRefusedError:
    print(len(kept))`;
    const limits = { ...shape.limits, openFiles: 2000 };
    const kept = Number(await output({ ...python(code), limits }, { limits }));
    // Connections that came before, such as the look-up of a name, may still count.
    assert.ok(kept > 1000 && kept <= 1024, String(kept));
  });

  test("is not given to a task that does not ask for it", async () => {
    const code = "import socket; print(socket.if_nameindex())";
    assert.equal(await output(python(code), { network: "NONE" }), "[(1, 'lo')]\n");
  });

  test("is refused with gVisor", { skip: noGvisor }, async () => {
    await assert.rejects(acquire(engine, { ...shape, isolation: "GVISOR" }), Unsupported);
  });

  test("rules and network that somebody takes away are there again before a sandbox starts", async () => {
    const target = `${METADATA}:8080`;
    const chain = `LONGSHORE-${bridge.replace("lse-", "")}`;
    await run("iptables", ["-w", "-D", "DOCKER-USER", "-i", bridge, "-j", `${chain}-USER`]);
    await run("iptables", ["-w", "-D", "FORWARD", "-i", bridge, "-j", chain]);
    assert.deepEqual(await reach(target), { [target]: "ECONNREFUSED" });
    await run("iptables", ["-w", "-I", chain, "1", "-j", "RETURN"]);
    assert.deepEqual(await reach(target), { [target]: "ECONNREFUSED" });
    await run("iptables", ["-w", "-I", "DOCKER-USER", "1", "-i", bridge, "-j", "ACCEPT"]);
    try {
      assert.deepEqual(await reach(target), { [target]: "ECONNREFUSED" });
    } finally {
      await run("iptables", ["-w", "-D", "DOCKER-USER", "-i", bridge, "-j", "ACCEPT"]);
    }
    await docker("network", "rm", network);
    assert.deepEqual(await reach(target), { [target]: "ECONNREFUSED" });
  });

  test("without its rules all of this would be open, and a restarted server puts them back", async () => {
    const { server, port } = await listeningServer();
    try {
      const targets = [`${METADATA}:8080`, `10.98.7.7:8080`, `${COMPANY}:8080`, `${GATEWAY}:${port}`];
      // Closed, it looks after the rules no more.
      await engine.close();
      const jumps = (await rulesAbout(bridge)).filter((line) => / -j LONGSHORE-/.test(line));
      for (const jump of jumps.filter((line) => /^-A (INPUT|FORWARD|DOCKER-USER) /.test(line)))
        await run("iptables", ["-w", ...jump.replace("-A", "-D").split(" ")]);
      assert.deepEqual(await reachRaw(...targets), Object.fromEntries(targets.map((t) => [t, "open"])));
      engine = await bench.open({ egress: SETTINGS });
      assert.deepEqual(
        await reachRaw(...targets),
        Object.fromEntries(targets.map((t) => [t, "ECONNREFUSED"])),
      );
    } finally {
      server.close();
    }
  });
});

describe("a host where packet rules do not hold", { skip }, () => {
  test("does not offer EGRESS, says why, and is left as it was", async () => {
    await using bench = await DockerBench.create();
    // Takes every rule and sets none.
    const iptables = join(bench.path, "iptables");
    const pretend = '#!/bin/sh\ncase "$*" in *-S*) echo "-N DOCKER-USER"; cat "$0.set" || true ;; esac\n';
    const restore = '#!/bin/sh\ngrep "^-A LONGSHORE" >"$(dirname "$0")/iptables.set"\n';
    await writeFile(iptables, pretend, { mode: 0o755 });
    await writeFile(`${iptables}-restore`, restore, { mode: 0o755 });
    const engine = await bench.open({ egress: { ...SETTINGS, iptables } });
    const tier = (await engine.capabilities()).tiers[0];
    assert.deepEqual(tier?.networks, ["NONE"]);
    const advice = tier?.limits.find(({ limit }) => limit === "NETWORK")?.advice ?? "";
    assert.match(advice, /a probe reached the host at \d/);
    assert.equal(await egressOf(bench.installationId), undefined);
    const shape = sampleShape((await engine.resolveImage(EXECUTOR_IMAGE)).digest);
    await assert.rejects(acquire(engine, { ...shape, network: "EGRESS" }), Unsupported);
  });
});

describe("a server asked for EGRESS", { skip }, () => {
  test("that has it switched on gives it, and cannot be reached through it", async () => {
    await using server = await startServer({
      LONGSHORE_EGRESS: "on",
      LONGSHORE_EGRESS_DNS: RESOLVER,
      LONGSHORE_EGRESS_SUBNET: `${SERVER_SUBNET}.0/24`,
      LONGSHORE_LISTEN: "0.0.0.0:0",
      LONGSHORE_ALLOW_INSECURE: "true",
    });
    const installation = (await readFile(join(server.dataDirectory, "installation"), "utf8")).trim();
    try {
      const made = await egressOf(installation);
      assert.ok(made !== undefined, server.log.join("\n"));
      const subnet = await docker(
        ...["network", "inspect", made.network, "--format", "{{(index .IPAM.Config 0).Subnet}}"],
      );
      assert.equal(subnet, `${SERVER_SUBNET}.0/24`);
      await using outside = await OutsideNetwork.create([PUBLIC], [RESOLVER]);
      await outside.attach(made.bridge);
      await using client = new Longshore(server.address);
      const port = server.address.split(":").at(-1);
      const refused = [...new Set([`${SERVER_SUBNET}.1`, ...hostAddresses()])].map(
        (address) => `${address}:${port}`,
      );
      const targets = [`${PUBLIC}:8080`, ...refused];
      const code = REACH.replaceAll("sys.argv[1:]", JSON.stringify(targets));
      const task = await client.submit({ code }, { network: "egress" });
      assert.equal((await task.result()).exitCode, 0);
      assert.deepEqual(JSON.parse((await task.get()).result?.stdoutTail ?? ""), {
        [`${PUBLIC}:8080`]: "open",
        ...Object.fromEntries(refused.map((target) => [target, "ECONNREFUSED"])),
      });
    } finally {
      await server.stop();
      await using bench = DockerBench.at(server.dataDirectory, installation);
      await bench.open();
      assert.equal(await egressOf(installation), undefined);
    }
  });

  test("that has it switched off refuses, and says how to switch it on", async () => {
    await using server = await startServer();
    await using client = new Longshore(server.address);
    await assert.rejects(client.submit({ code: "pass" }, { network: "egress" }), (error) => {
      assert.ok(error instanceof NotEnforced);
      assert.match(error.message, /LONGSHORE_EGRESS=on/);
      return true;
    });
  });
});
