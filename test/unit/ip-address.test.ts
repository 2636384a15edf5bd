import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseIpv6, whyNotPublic } from "#server/domain/ip-address.ts";
import { type IpTarget, parseIpTarget } from "#server/domain/ip-range.ts";

const NOT_PUBLIC = [
  ...["127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
  ...["169.254.169.254", "100.64.0.1", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255"],
  ...["::", "::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1"],
  // The same in IPv6's clothes: mapped, compatible, translated, NAT64 with both prefixes, 6to4, Teredo.
  ...["::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:a9fe:a9fe", "::127.0.0.1", "::ffff:0:10.0.0.1"],
  ...[
    "64:ff9b::169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b:1::1.1.1.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
  ],
  ...["2001::1", "2001:0:4136:e378::", "2001:db8::1", "3fff::1", "4000::1"],
  ...["not an address", "1.2.3", "010.1.1.1", "1.2.3.4/8", "fe80::1%eth0", "1::2::3", ":::", "12345::"],
];
const PUBLIC = [
  ...["1.1.1.1", "93.184.216.34", "172.32.0.1", "192.0.1.1", "100.128.0.1", "2606:4700::1111"],
  ...["2a00:1450:4001:81b::200e", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"],
];

const allow = (text: string): IpTarget[] => [parseIpTarget(text) ?? assert.fail(text)];

describe("an address that somebody else chose", () => {
  for (const address of NOT_PUBLIC)
    test(`${address} is refused`, () => assert.ok(whyNotPublic(address, 443, [])));
  for (const address of PUBLIC)
    test(`${address} is public`, () => assert.equal(whyNotPublic(address, 443, []), undefined));

  test("is allowed by configuration, with its port, also in IPv6's clothes", () => {
    for (const address of ["10.1.2.3", "::ffff:10.1.2.3"]) {
      assert.equal(whyNotPublic(address, 8443, allow("10.1.2.0/24:8443")), undefined);
      assert.ok(whyNotPublic(address, 443, allow("10.1.2.0/24:8443")));
    }
    assert.equal(whyNotPublic("127.0.0.1", 80, allow("127.0.0.1")), undefined);
  });

  test("of a link or a cloud's metadata service is refused whatever is configured", () => {
    for (const address of ["169.254.169.254", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"])
      assert.ok(whyNotPublic(address, 80, allow("0.0.0.0/0")), address);
  });
});

test("IPv6 is read in every way it is written", () => {
  const same = ["2001:db8::1", "2001:DB8:0:0:0:0:0:1", "2001:0db8::0.0.0.1", "2001:db8:0::0:1"];
  assert.deepEqual(new Set(same.map(parseIpv6)).size, 1);
  assert.equal(parseIpv6("::"), 0n);
  assert.equal(parseIpv6("1:2:3:4:5:6:7:8"), 0x0001_0002_0003_0004_0005_0006_0007_0008n);
  assert.equal(parseIpv6("1:2:3:4:5:6:7:8::"), undefined);
});
