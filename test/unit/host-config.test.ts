import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { containerOptions, hostLimits, type SandboxPlan } from "#server/adapters/docker/host-config.ts";
import { sandboxPaths } from "#server/adapters/sandbox/sandbox-paths.ts";
import type { SandboxShape, ShapeEnvironment } from "#server/domain/ports/engine.ts";
import { MEBIBYTE } from "#server/domain/resources.ts";

const ID = "01JABCDEFGHJKMNPQRSTVWXYZ0";
const DIGEST = `sha256:${"a".repeat(64)}`;

const SHAPE: SandboxShape = {
  imageDigest: DIGEST,
  isolation: "CONTAINER",
  network: "NONE",
  gpuIds: [],
  limits: {
    cpuMillis: 500,
    ramBytes: 512 * MEBIBYTE,
    storageBytes: 1024 * MEBIBYTE,
    gpuCount: 0,
    processes: 256,
    openFiles: 1024,
    inodes: 65_536,
    logBytes: 64 * MEBIBYTE,
    artifactBytes: 128 * MEBIBYTE,
    runMillis: 30_000,
    queueMillis: null,
    totalMillis: null,
  },
};

const PLAN: SandboxPlan = {
  shape: SHAPE,
  runtime: "runc",
  uid: 70_001,
  paths: sandboxPaths("/data", ID),
  storage: "loop",
  runnerFolder: "/data/runner/0123",
  imageEnvNames: ["PATH", "LD_PRELOAD", "PYTHONPATH"],
  labels: { "longshore.sandbox": ID },
};

function bound(source: string, target: string, readOnly: boolean) {
  return {
    Type: "bind",
    Source: source,
    Target: target,
    ReadOnly: readOnly,
    BindOptions: { Propagation: "rprivate" },
  };
}

/** Whoever changes how sandboxes are locked down changes this text with it, on purpose. */
const GOLDEN = {
  Image: DIGEST,
  Hostname: "sandbox",
  User: "0:0",
  WorkingDir: "/",
  Entrypoint: [
    "python3",
    "-I",
    "-S",
    "-E",
    "-B",
    "/longshore/runner",
    '{"uid":70001,"gid":70001,"preload":[],"environment":null,"prestart":true,"one_volume":true}',
  ],
  Cmd: [],
  Env: [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "HOME=/root",
    "LD_PRELOAD",
    "PYTHONPATH",
  ],
  Healthcheck: { Test: ["NONE"] },
  Labels: { "longshore.sandbox": ID },
  AttachStdin: true,
  AttachStdout: false,
  AttachStderr: true,
  OpenStdin: true,
  StdinOnce: true,
  Tty: false,
  StopSignal: "SIGKILL",
  NetworkDisabled: true,
  HostConfig: {
    Runtime: "runc",
    ReadonlyRootfs: true,
    Privileged: false,
    CapDrop: ["ALL"],
    CapAdd: ["SETUID", "SETGID", "KILL"],
    SecurityOpt: ["no-new-privileges:true"],
    NetworkMode: "none",
    IpcMode: "private",
    ShmSize: 512 * MEBIBYTE,
    Memory: 524 * MEBIBYTE,
    MemorySwap: 524 * MEBIBYTE,
    NanoCpus: 500_000_000,
    PidsLimit: 258,
    OomScoreAdj: 500,
    Ulimits: [
      { Name: "nofile", Soft: 1024, Hard: 1024 },
      { Name: "fsize", Soft: 1024 * MEBIBYTE, Hard: 1024 * MEBIBYTE },
      { Name: "core", Soft: 0, Hard: 0 },
    ],
    LogConfig: { Type: "none", Config: {} },
    RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
    Init: false,
    AutoRemove: false,
    Mounts: [
      bound("/data/runner/0123", "/longshore/runner", true),
      bound("/data/runner/0123/hosts", "/etc/hosts", true),
      bound(`/data/sandboxes/${ID}/journal`, "/longshore/journal", false),
      bound(`/data/sandboxes/${ID}/input`, "/longshore/input", true),
      bound(`/data/sandboxes/${ID}/artifacts`, "/longshore/artifacts", false),
      bound(`/data/sandboxes/${ID}/volume/workspace`, "/workspace", false),
      bound(`/data/sandboxes/${ID}/volume/tmp`, "/tmp", false),
      bound(`/data/sandboxes/${ID}/volume/home`, "/home/task", false),
    ],
  },
};

function withLimits(limits: Partial<SandboxShape["limits"]>): SandboxPlan {
  return { ...PLAN, shape: { ...SHAPE, limits: { ...SHAPE.limits, ...limits } } };
}

describe("containerOptions", () => {
  test("is this, and nothing else", () => {
    assert.deepEqual(containerOptions(PLAN), GOLDEN);
  });

  test("bounds every file by the largest that was asked for", () => {
    const fsize = (plan: SandboxPlan) =>
      containerOptions(plan).HostConfig?.Ulimits?.find((ulimit) => ulimit?.Name === "fsize")?.Hard;
    assert.equal(fsize(withLimits({ storageBytes: 8 * MEBIBYTE })), 144 * MEBIBYTE);
    assert.equal(fsize(withLimits({ storageBytes: 8 * MEBIBYTE, artifactBytes: 0 })), 80 * MEBIBYTE);
  });

  test("gives GPUs by id, and the network with packet rules where there is one", () => {
    const gpuIds = ["GPU-11111111-2222-3333-4444-555555555555"];
    const plan: SandboxPlan = { ...PLAN, shape: { ...SHAPE, gpuIds, network: "EGRESS" } };
    const egress = {
      network: "longshore-egress-0123abcd",
      nameservers: ["203.0.113.53"],
      hosts: [],
      noLookups: false,
    };
    const options = containerOptions({ ...plan, egress });
    assert.deepEqual(options.HostConfig?.DeviceRequests, [
      { Driver: "", DeviceIDs: gpuIds, Capabilities: [["gpu", "compute", "utility"]] },
    ]);
    const { DeviceRequests: _, ...HostConfig } = options.HostConfig ?? {};
    assert.equal(options.NetworkDisabled, false);
    assert.deepEqual(HostConfig, {
      ...GOLDEN.HostConfig,
      // The daemon writes this file for a container with a network.
      Mounts: GOLDEN.HostConfig.Mounts.filter(({ Target }) => Target !== "/etc/hosts"),
      NetworkMode: "longshore-egress-0123abcd",
      Sysctls: { "net.ipv6.conf.all.disable_ipv6": "1" },
      DnsSearch: ["."],
      Dns: ["203.0.113.53"],
    });
    const hosts = [{ name: "mlflow.example", address: "10.1.2.3" }];
    assert.deepEqual(containerOptions({ ...plan, egress: { ...egress, hosts } }).HostConfig?.ExtraHosts, [
      "mlflow.example:10.1.2.3",
    ]);
    for (const wrong of [
      { name: "a:b", address: "10.1.2.3" },
      { name: "mlflow.example", address: "::1" },
    ])
      assert.throws(() => containerOptions({ ...plan, egress: { ...egress, hosts: [wrong] } }), RangeError);
    assert.throws(() => containerOptions(plan), RangeError);
    assert.throws(() => containerOptions({ ...plan, egress: { ...egress, network: "host" } }), RangeError);
  });

  test("mounts an environment read-only, by the name of its content alone", () => {
    const folder = `/data/environments/${"e".repeat(64)}/content`;
    const withEnvironment = (changes: Partial<ShapeEnvironment>): SandboxPlan => ({
      ...PLAN,
      shape: {
        ...SHAPE,
        environment: { id: "e".repeat(64), folder, preload: ["sklearn.ensemble"], ...changes },
      },
    });
    const options = containerOptions(withEnvironment({}));
    assert.deepEqual(
      options.HostConfig?.Mounts?.filter(({ Target }) => Target === "/environment"),
      [bound(folder, "/environment", true)],
    );
    const settings = JSON.parse(options.Entrypoint?.at(-1) ?? "");
    assert.deepEqual([settings.environment, settings.preload], ["/environment", ["sklearn.ensemble"]]);
    const alone = JSON.parse(containerOptions(withEnvironment({ folder: null })).Entrypoint?.at(-1) ?? "");
    assert.deepEqual([alone.environment, alone.preload], [null, ["sklearn.ensemble"]]);
    for (const wrong of [
      "/etc",
      "/data/environments/../content",
      `/data/environments/${"e".repeat(64)}/content/x`,
    ])
      assert.throws(() => containerOptions(withEnvironment({ folder: wrong })), RangeError);
    for (const wrong of ["os; import x", "", "a..b", "1a", "a\n"])
      assert.throws(() => containerOptions(withEnvironment({ preload: [wrong] })), RangeError);
  });

  test("gives the sandbox of a build its tools, and Docker's own network only where that is meant", () => {
    const build = {
      uv: "/data/tools/uv-0",
      caBundle: "/data/tools/ca-0",
      wheels: "/wheels",
      openNetwork: false,
    };
    const closed = containerOptions({ ...PLAN, build });
    assert.deepEqual([closed.NetworkDisabled, closed.HostConfig?.NetworkMode], [true, "none"]);
    assert.deepEqual(
      closed.HostConfig?.Mounts?.filter(({ Source }) => Object.values(build).includes(Source)),
      [
        bound("/data/tools/uv-0", "/longshore/uv", true),
        bound("/data/tools/ca-0", "/longshore/ca.pem", true),
        bound("/wheels", "/longshore/wheels", true),
      ],
    );
    const open = containerOptions({ ...PLAN, build: { ...build, openNetwork: true } });
    assert.deepEqual([open.NetworkDisabled, open.HostConfig?.NetworkMode], [false, "bridge"]);
    const { NetworkMode: _, Mounts: _mounts, Sysctls, DnsSearch, ...rest } = open.HostConfig ?? {};
    const { NetworkMode: _none, Mounts: _golden, ...golden } = GOLDEN.HostConfig;
    assert.deepEqual(rest, golden, "locked down as any other");
    assert.deepEqual([Sysctls, DnsSearch], [{ "net.ipv6.conf.all.disable_ipv6": "1" }, ["."]]);
  });

  test("without mounts of the server's, Docker makes sized file systems", () => {
    const { HostConfig } = containerOptions({ ...PLAN, storage: "engine-tmpfs" });
    assert.deepEqual(
      HostConfig?.Mounts?.map(({ Target }) => Target),
      ["/longshore/runner", "/etc/hosts", "/longshore/journal", "/longshore/input", "/longshore/artifacts"],
    );
    assert.deepEqual(Object.keys(HostConfig?.Tmpfs ?? {}), ["/workspace", "/tmp", "/home/task"]);
    assert.match(
      HostConfig?.Tmpfs?.["/tmp"] ?? "",
      /size=1073741824,nr_inodes=65536,mode=1777,uid=70001,gid=70001$/,
    );
  });

  // 0 and less mean "no limit" to Docker.
  for (const name of ["cpuMillis", "ramBytes", "storageBytes", "processes", "openFiles"] as const) {
    for (const value of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      test(`refuses ${name} = ${value}`, () => {
        assert.throws(() => containerOptions(withLimits({ [name]: value })), RangeError);
      });
    }
  }

  test("refuses what is no image digest, GPU id or sandbox id", () => {
    assert.throws(
      () => containerOptions({ ...PLAN, shape: { ...SHAPE, imageDigest: "longshore/executor:dev" } }),
      RangeError,
    );
    assert.throws(() => containerOptions({ ...PLAN, shape: { ...SHAPE, gpuIds: ["all"] } }), RangeError);
    assert.throws(() => sandboxPaths("/data", "../../etc"), RangeError);
  });

  test("gVisor's own threads and memory come on top", () => {
    const gvisor = hostLimits({ ...SHAPE, isolation: "GVISOR" });
    const container = hostLimits(SHAPE);
    assert.ok(gvisor.ramBytes > container.ramBytes && gvisor.processes > container.processes);
    assert.equal(gvisor.cpuMillis, container.cpuMillis);
  });
});
