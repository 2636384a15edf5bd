import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type HostRoom, NO_RESOURCES } from "#server/domain/capacity.ts";
import { CapacityLedger } from "#server/domain/capacity-ledger.ts";

const cpus = (cpuMillis: number) => ({ ...NO_RESOURCES, cpuMillis });
const room = (cpuMillis: number, ...taskIds: string[]): HostRoom => ({ resources: cpus(cpuMillis), taskIds });

/** Hosts of 4 CPUs each, of which others hold the rest. */
function ledgerOf(hosts: readonly HostRoom[], each = NO_RESOURCES) {
  const ledger = new CapacityLedger(cpus(hosts.length * 4000), NO_RESOURCES);
  const tell = (now: readonly HostRoom[]) => {
    const left = now.reduce((sum, { resources }) => sum + resources.cpuMillis, 0);
    const resources = cpus(ledger.total.cpuMillis - left);
    ledger.noteForeign({ resources, gpuIds: [], rooms: { hosts: now, each } });
  };
  tell(hosts);
  return { ledger, tell };
}

const short = (available: number, needed: number) => ({ limit: "CPU", needed, available });

describe("tasks of an engine with several hosts", () => {
  test("do not start where no host has room, though all together have", () => {
    const { ledger } = ledgerOf([room(1500), room(1200)]);
    assert.equal(ledger.free.cpuMillis, 2700);
    assert.deepEqual(ledger.shortage(cpus(2000)), short(1500, 2000));
    assert.equal(ledger.shortage(cpus(1500)), undefined);
  });

  test("take the roomiest until the engine tells where they are", () => {
    const { ledger, tell } = ledgerOf([room(4000), room(3000)]);
    ledger.hold("a", cpus(2000));
    ledger.hold("b", cpus(2000));
    assert.deepEqual(ledger.shortage(cpus(2500)), short(2000, 2500));
    // Both are on the same host in fact.
    tell([room(4000, "a", "b"), room(3000)]);
    assert.equal(ledger.shortage(cpus(3000)), undefined);
    assert.deepEqual(ledger.shortage(cpus(3500)), short(3000, 3500));
  });

  test("give their host's room back when they end, before the engine tells of that", () => {
    const { ledger, tell } = ledgerOf([room(4000)]);
    ledger.hold("a", cpus(4000));
    tell([room(4000, "a")]);
    assert.deepEqual(ledger.shortage(cpus(1000)), short(0, 1000));
    ledger.giveBack("a");
    assert.equal(ledger.shortage(cpus(4000)), undefined);
  });

  test("bring along what each sandbox takes besides", () => {
    const { ledger } = ledgerOf([room(4000)], cpus(100));
    assert.deepEqual(ledger.shortage(cpus(4000)), short(3900, 4000));
    ledger.hold("a", cpus(1900));
    ledger.hold("b", cpus(1000));
    assert.deepEqual(ledger.shortage(cpus(1000)), short(800, 1000));
  });

  test("wait where every host is gone", () => {
    const { ledger, tell } = ledgerOf([room(4000)]);
    tell([]);
    assert.deepEqual(ledger.shortage(cpus(100)), short(0, 100));
  });

  test("are compared in every resource", () => {
    const ram = new CapacityLedger({ ...cpus(8000), ramBytes: 200 }, NO_RESOURCES);
    const hosts = [cpus(4000), { ...cpus(1000), ramBytes: 150 }].map((resources) => ({
      resources,
      taskIds: [],
    }));
    ram.noteForeign({ resources: NO_RESOURCES, gpuIds: [], rooms: { hosts, each: NO_RESOURCES } });
    assert.deepEqual(ram.shortage({ ...cpus(2000), ramBytes: 100 }), short(1000, 2000));
    assert.equal(ram.shortage({ ...cpus(500), ramBytes: 100 }), undefined);
  });
});
