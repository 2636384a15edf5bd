import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { egressChains } from "#server/adapters/docker/egress-rules.ts";
import { ConfigError, readConfig } from "#server/config.ts";
import {
  formatIpRange,
  type IpRange,
  LOCAL_RANGES,
  overlap,
  PRIVATE_RANGES,
  parseIpRange,
  parseIpTarget,
} from "#server/domain/ip-range.ts";

function range(text: string): IpRange {
  const parsed = parseIpRange(text);
  assert.ok(parsed !== undefined, text);
  return parsed;
}

describe("IPv4 ranges", () => {
  test("are read and written back", () => {
    for (const text of ["10.0.0.0/8", "203.0.113.10/32", "0.0.0.0/0", "255.255.255.255/32"])
      assert.equal(formatIpRange(range(text)), text);
    assert.equal(formatIpRange(range("10.1.2.3")), "10.1.2.3/32");
    assert.deepEqual(parseIpTarget("10.1.2.3:5000"), { range: range("10.1.2.3"), port: 5000 });
  });

  for (const text of [
    "",
    "10.1.2",
    "10.1.2.256",
    "010.1.2.3",
    "10.1.2.3/33",
    "10.1.2.3/8",
    "::1",
    "a.b.c.d",
    "1.2.3.4 -j",
  ])
    test(`${JSON.stringify(text)} is none`, () => assert.equal(parseIpRange(text), undefined));

  for (const text of ["10.1.2.3:", "10.1.2.3:0", "10.1.2.3:65536", "10.1.2.3:1:2", ":80", "10.1.2.3:x"])
    test(`${JSON.stringify(text)} is no target`, () => assert.equal(parseIpTarget(text), undefined));

  test("overlap where one holds the other", () => {
    assert.ok(overlap(range("10.0.0.0/8"), range("10.9.8.7")));
    assert.ok(overlap(range("0.0.0.0/0"), range("255.255.255.255")));
    assert.ok(!overlap(range("10.0.0.0/9"), range("10.128.0.0/9")));
  });

  test("hold every address that no task may reach", () => {
    const held = [...LOCAL_RANGES, ...PRIVATE_RANGES];
    const refused = [
      ...["0.1.2.3", "127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255"],
      ...["10.1.2.3", "100.100.100.200", "168.63.129.16", "172.31.0.1", "192.0.0.192", "192.168.1.1"],
    ];
    for (const address of refused)
      assert.ok(
        held.some((one) => overlap(one, range(address))),
        address,
      );
    for (const address of ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "203.0.113.10"])
      assert.ok(!held.some((one) => overlap(one, range(address))), address);
  });
});

describe("egressChains", () => {
  const facts = {
    tag: "0123abcd",
    bridge: "lse-0123abcd",
    subnet: range("172.20.0.0/16"),
    nameservers: [range("10.0.0.2")],
    policy: {
      allow: [
        { range: range("10.1.2.3"), port: 5000 },
        { range: range("192.168.7.0/24"), port: null },
      ],
      deny: [range("198.51.100.0/24")],
    },
  };
  const text = (openPort?: number) =>
    Object.entries(egressChains(facts, openPort)).flatMap(([chain, rules]) =>
      rules.map((rule) => `${chain.replace("LONGSHORE-0123abcd", "X")}: ${rule.join(" ")}`),
    );

  /** Whoever changes what tasks may reach changes this text with it, on purpose. */
  test("are these, and nothing else", () => {
    assert.deepEqual(
      text(),
      [
        "X-NO: -p tcp -j REJECT --reject-with tcp-reset",
        "X-NO: -j REJECT --reject-with icmp-admin-prohibited",
        "X: -i lse-0123abcd -o lse-0123abcd -j X-NO",
        "X: -o lse-0123abcd -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "X: -o lse-0123abcd -j DROP",
        "X: ! -s 172.20.0.0/16 -j DROP",
        "X: -d 10.0.0.2/32 -p udp -m udp --dport 53 -j RETURN",
        "X: -d 10.0.0.2/32 -p tcp -m tcp --dport 53 -j RETURN",
        "X: -d 10.1.2.3/32 -p tcp -m tcp --dport 5000 -j RETURN",
        "X: -d 192.168.7.0/24 -j RETURN",
        ...["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"].map(refuse),
        refuse("198.51.100.0/24"),
        ...["10.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "172.16.0.0/12", "192.0.0.0/24"].map(refuse),
        ...["192.168.0.0/16", "198.18.0.0/15", "172.20.0.0/16"].map(refuse),
        "X-USER: -m conntrack --ctstate NEW -m connlimit --connlimit-above 1024 --connlimit-mask 32 --connlimit-saddr -j X-NO",
        "X-USER: -j X",
        "X-IN: -j X-NO",
      ].map((line) =>
        line.replace(/-j (X\S*)/, (_, chain: string) => `-j ${chain.replace("X", "LONGSHORE-0123abcd")}`),
      ),
    );
  });

  test("let the proof reach one port of the host", () => {
    const more = text(40_000).filter((line) => !text().includes(line));
    assert.deepEqual(more, ["X-IN: -p tcp -m tcp --dport 40000 -j ACCEPT"]);
  });

  test("for one tracking server are these, and nothing else", () => {
    const only = { host: "mlflow.example", address: "10.1.2.3", port: 5000 };
    const chains = egressChains({ ...facts, nameservers: [], policy: { allow: [], deny: [], only } });
    assert.deepEqual(
      chains["LONGSHORE-0123abcd"]?.map((rule) => rule.join(" ")),
      [
        "-i lse-0123abcd -o lse-0123abcd -j LONGSHORE-0123abcd-NO",
        "-o lse-0123abcd -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        "-o lse-0123abcd -j DROP",
        "! -s 172.20.0.0/16 -j DROP",
        "-d 10.1.2.3/32 -p tcp -m tcp --dport 5000 -j RETURN",
        "-j LONGSHORE-0123abcd-NO",
      ],
    );
    // Where the tracking server is this host itself.
    assert.deepEqual(
      chains["LONGSHORE-0123abcd-IN"]?.map((rule) => rule.join(" ")),
      ["-d 10.1.2.3/32 -p tcp -m tcp --dport 5000 -j ACCEPT", "-j LONGSHORE-0123abcd-NO"],
    );
  });

  function refuse(block: string): string {
    return `X: -d ${block} -j X-NO`;
  }
});

describe("settings of network EGRESS", () => {
  test("are off by default", () => assert.equal(readConfig({}).egress, undefined));

  test("say what is allowed and denied", () => {
    const { egress } = readConfig({
      LONGSHORE_EGRESS: "on",
      LONGSHORE_EGRESS_ALLOW: "10.1.2.3:5000, 192.168.7.0/24",
      LONGSHORE_EGRESS_DENY: "198.51.100.0/24",
      LONGSHORE_EGRESS_SUBNET: "10.200.0.0/20",
    });
    assert.deepEqual(egress, {
      allow: [
        { range: range("10.1.2.3"), port: 5000 },
        { range: range("192.168.7.0/24"), port: null },
      ],
      deny: [range("198.51.100.0/24")],
      subnet: range("10.200.0.0/20"),
      nameservers: [],
    });
  });

  const wrong: Record<string, [string, RegExp]> = {
    "metadata addresses": ["169.254.169.254", /169\.254\.169\.254\/32 .* never allowed/],
    "a range that holds them": ["0.0.0.0/0", /0\.0\.0\.0\/0 .* never allowed/],
    "this host's loopback": ["127.0.0.1:5000", /never allowed/],
    "what is no address": ["tracker.example,10.1.2.3/8", /tracker\.example, 10\.1\.2\.3\/8/],
  };
  for (const [name, [value, message]] of Object.entries(wrong))
    test(`allow no ${name}`, () => {
      assert.throws(
        () => readConfig({ LONGSHORE_EGRESS_ALLOW: value }),
        (error) => error instanceof ConfigError && message.test(error.message),
      );
    });
});
