/** What a server says of itself when it starts and when it is asked, so that nobody takes for held what is not. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { EngineCapabilities } from "#server/domain/ports/engine.ts";
import { ApplicationBench } from "../support/application-bench.ts";
import { FakeEngine } from "../support/fakes/fake-engine.ts";

class BareEngine extends FakeEngine {
  override async capabilities(): Promise<EngineCapabilities> {
    return { ...(await super.capabilities()), environments: false };
  }
}

describe("a server", () => {
  test("logs at its start which limits its engines do not enforce", async () => {
    await using bench = await ApplicationBench.open();
    const [line = ""] = bench.log.lines.filter((each) => each.startsWith("limits that are not enforced"));
    assert.match(line, /"engine":"fake","isolation":"container"/);
    assert.match(line, /"advisory":\["ram","cpu"\],"unsupported":\["storage"\]/);
  });

  test("whose engines give tasks no packages offers none, whatever it could build", async () => {
    await using bench = await ApplicationBench.open({ engines: [new BareEngine()] });
    const { environments } = await bench.application.getCapabilities();
    assert.match(environments.unsupported, /no engine of this server gives tasks packages/);
  });
});
