/** A sandbox that reaches its tracking server alone, on real Docker with packet rules. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import type { DockerEngine } from "#server/adapters/docker/docker-engine.ts";
import { ExperimentRefused } from "#server/domain/errors.ts";
import { parseIpRange } from "#server/domain/ip-range.ts";
import type { SandboxShape } from "#server/domain/ports/engine.ts";
import type { TrackingServer } from "#server/domain/tracking.ts";
import { acquire, attempt, sampleRunnerSpec, sampleShape } from "../contract/engine-under-test.ts";
import { DockerBench, docker, dockerMissing, EXECUTOR_IMAGE } from "../support/docker-engine.ts";
import { OutsideNetwork, outsideMissing } from "../support/outside-network.ts";

const run = promisify(execFile);
const skip = (await dockerMissing()) || (await outsideMissing());

const TRACKER = "10.98.17.6";
const OTHER_TRACKER = "10.98.17.7";
const PUBLIC = "203.0.113.10";
const METADATA = "169.254.169.254";
const DENIED = { first: 0xc6336400, bits: 24 };
const RESOLVER = "10.98.17.53";

function tracker(name: string, host: string, port = 8080): TrackingServer {
  return { name, url: `http://${host}:${port}`, host, port };
}

const EXPERIMENTS = tracker("experiments", TRACKER);
const OTHERS = tracker("others", OTHER_TRACKER);

/** Prints what became of each HOST:PORT. */
const REACH = `
import errno, json, socket, sys
def reach(target):
    host, port = target.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), 5):
            return "open"
    except socket.gaierror:
        return "no such name"
    except OSError as error:
        return errno.errorcode.get(error.errno, "silence")
print(json.dumps({target: reach(target) for target in sys.argv[1:]}))
`;

async function networksOf(installationId: string): Promise<{ network: string; bridge: string }[]> {
  const label = `label=longshore.installation=${installationId}`;
  const names = await docker("network", "ls", "--filter", label, "--format", "{{.Name}}");
  return names
    .split("\n")
    .filter((name) => name !== "")
    .map((network) => ({ network, bridge: network.replace("longshore-egress-", "lse-") }));
}

async function rulesAbout(bridge: string): Promise<string[]> {
  const { stdout } = await run("iptables", ["-S"]);
  return stdout.split("\n").filter((line) => line.includes(bridge.replace("lse-", "")));
}

describe("network TRACKING", { skip }, () => {
  const cleanup = new AsyncDisposableStack();
  let bench: DockerBench;
  let engine: DockerEngine;
  let outside: OutsideNetwork;
  let shape: SandboxShape;

  before(async () => {
    bench = cleanup.use(await DockerBench.create());
    outside = cleanup.use(
      await OutsideNetwork.create([PUBLIC, TRACKER, OTHER_TRACKER, METADATA], [RESOLVER]),
    );
    engine = await bench.open({
      trackingServers: [EXPERIMENTS, OTHERS],
    });
    const { digest } = await engine.resolveImage(EXECUTOR_IMAGE);
    shape = { ...sampleShape(digest), network: "TRACKING", tracker: EXPERIMENTS };
    for (const { bridge } of await networksOf(bench.installationId)) await outside.attach(bridge);
  });
  after(() => cleanup.disposeAsync());

  const reach = async (
    changes: Partial<SandboxShape>,
    ...targets: string[]
  ): Promise<Record<string, string>> => {
    const sandbox = await acquire(engine, { ...shape, ...changes });
    try {
      const spec = { program: { kind: "script", script: "main.py" } as const, code: REACH, args: targets };
      const { stdout, stderr } = await attempt(engine, sandbox, sampleRunnerSpec(shape, spec));
      assert.equal(stderr, "");
      return JSON.parse(stdout);
    } finally {
      await engine.release(sandbox.id);
    }
  };

  test("is offered where the proof held, for each tracking server", async () => {
    const { tiers, trackers } = await engine.capabilities();
    assert.deepEqual(tiers[0]?.networks, ["NONE", "TRACKING"]);
    assert.deepEqual(
      [...(trackers ?? [])],
      [
        ["experiments", ""],
        ["others", ""],
      ],
    );
  });

  test("reaches the one address and port, no other and no name server", async () => {
    const refused = [
      ...[`${TRACKER}:8081`, `${TRACKER}:22`, `${OTHER_TRACKER}:8080`, `${PUBLIC}:8080`],
      ...[`${METADATA}:8080`, `${RESOLVER}:8080`],
    ];
    assert.deepEqual(await reach({}, `${TRACKER}:8080`, ...refused, "data.example:8080"), {
      [`${TRACKER}:8080`]: "open",
      ...Object.fromEntries(refused.map((target) => [target, "ECONNREFUSED"])),
      "data.example:8080": "no such name",
    });
    assert.deepEqual(await reach({ tracker: OTHERS }, `${OTHER_TRACKER}:8080`, `${TRACKER}:8080`), {
      [`${OTHER_TRACKER}:8080`]: "open",
      [`${TRACKER}:8080`]: "ECONNREFUSED",
    });
  });

  test("takes away what leads to a server that is configured no more, and rules that are changed come back", async () => {
    await engine.close();
    const before = await networksOf(bench.installationId);
    assert.equal(before.length, 2);
    engine = await bench.open({ trackingServers: [EXPERIMENTS] });
    const [left, ...more] = await networksOf(bench.installationId);
    assert.ok(left !== undefined && more.length === 0);
    const gone = before.find(({ network }) => network !== left.network);
    assert.deepEqual(await rulesAbout(gone?.bridge ?? "lse-"), []);
    await run("iptables", ["-w", "-I", left.bridge.replace("lse-", "LONGSHORE-"), "1", "-j", "RETURN"]);
    assert.deepEqual(await reach({}, `${PUBLIC}:8080`), { [`${PUBLIC}:8080`]: "ECONNREFUSED" });
  });

  test("reaches a tracking server on this host, and nothing else of it; one that is nowhere is not offered", async () => {
    await engine.close();
    const [network] = await networksOf(bench.installationId);
    const format = "{{(index .IPAM.Config 0).Gateway}}";
    const gateway = await docker("network", "inspect", network?.network ?? "", "--format", format);
    assert.ok(parseIpRange(gateway) !== undefined, gateway);
    const listener = createServer((_, response) => response.end("here"));
    const port = await new Promise<number>((resolve) => {
      listener.listen(0, "0.0.0.0", () => {
        const address = listener.address();
        resolve(address !== null && typeof address === "object" ? address.port : 0);
      });
    });
    const here = tracker("here", gateway, port);
    try {
      engine = await bench.open({
        trackingServers: [
          EXPERIMENTS,
          here,
          tracker("nowhere", "tracker.invalid"),
          tracker("metadata", METADATA),
        ],
      });
      const { trackers } = await engine.capabilities();
      assert.match(trackers?.get("nowhere") ?? "", /tracker\.invalid cannot be looked up/);
      assert.match(trackers?.get("metadata") ?? "", /metadata/);
      assert.deepEqual(await reach({ tracker: here }, `${gateway}:${port}`, `${gateway}:22`), {
        [`${gateway}:${port}`]: "open",
        [`${gateway}:22`]: "ECONNREFUSED",
      });
      await assert.rejects(
        acquire(engine, { ...shape, tracker: tracker("nowhere", "tracker.invalid") }),
        /cannot be looked up/,
      );
    } finally {
      listener.close();
      await once(listener, "close");
    }
  });

  test("leads to a public server that nobody named, where tasks may go out; never to a private or denied one", async () => {
    await engine.close();
    const egress = { allow: [], deny: [DENIED], subnet: null, nameservers: [] };
    engine = await bench.open({ egress });
    const before = await networksOf(bench.installationId);
    const open = { ...shape, tracker: tracker("", PUBLIC) };
    const sandbox = await acquire(engine, open);
    const made = (await networksOf(bench.installationId)).filter(
      ({ network }) => !before.some((known) => known.network === network),
    );
    assert.equal(made.length, 1);
    await outside.attach(made[0]?.bridge ?? "");
    const targets = [`${PUBLIC}:8080`, `${PUBLIC}:8081`, `${TRACKER}:8080`, `${METADATA}:8080`];
    const spec = { program: { kind: "script", script: "main.py" } as const, code: REACH, args: targets };
    const { stdout } = await attempt(engine, sandbox, sampleRunnerSpec(shape, spec));
    assert.deepEqual(JSON.parse(stdout), {
      [`${PUBLIC}:8080`]: "open",
      ...Object.fromEntries(targets.slice(1).map((target) => [target, "ECONNREFUSED"])),
    });
    for (const address of [TRACKER, METADATA, "198.51.100.9", "tracker.invalid"])
      await assert.rejects(acquire(engine, { ...open, tracker: tracker("", address) }), ExperimentRefused);
    await engine.release(sandbox.id);
    // A task that goes on while its server is restarted, without egress: its rules are looked after all the same.
    const going = await acquire(engine, open);
    await engine.begin(going, sampleRunnerSpec(shape, { ...spec, code: "import time; time.sleep(600)" }));
    await engine.close();
    const { bridge, network } = made[0] ?? { bridge: "", network: "" };
    const rule = ["FORWARD", "-i", bridge, "-j", bridge.replace("lse-", "LONGSHORE-")];
    await run("iptables", ["-w", "-D", ...rule]);
    engine = await bench.open();
    assert.ok((await networksOf(bench.installationId)).some((left) => left.network === network));
    await run("iptables", ["-w", "-C", ...rule]);
    await engine.release(going.id);
  });

  test("is switched off with its last server, and leaves nothing behind", async () => {
    await engine.close();
    const before = await networksOf(bench.installationId);
    engine = await bench.open();
    assert.deepEqual((await engine.capabilities()).tiers[0]?.networks, ["NONE"]);
    assert.deepEqual(await networksOf(bench.installationId), []);
    for (const { bridge } of before) assert.deepEqual(await rulesAbout(bridge), []);
  });
});
