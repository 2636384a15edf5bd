import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { answer, CALLS, playCalls, TASK_ID } from "../support/client-calls.ts";
import { pythonEnvironment, pythonSurface } from "../support/client-surfaces.ts";
import { RPCS } from "../support/dynamic-client.ts";
import { type RecordedCall, RecordingServer, rpcName, unsetFields } from "../support/recording-server.ts";
import { TemporaryFolder } from "../support/temporary-folder.ts";

const python = process.env.LONGSHORE_TEST_PYTHON ?? "";
const noPython =
  python === "" &&
  "LONGSHORE_TEST_PYTHON names no Python with the client's packages; scripts/test makes one where Python >= 3.10 is";
const PLAYER = fileURLToPath(new URL("../../clients/python/tools/play_calls.py", import.meta.url));

/** RPCs that no client calls, and why. */
const UNCALLED: Readonly<Record<string, string>> = {
  "TaskService.RunTask": "for terminals without a client; run() creates and watches, and a watch resumes",
};

/** Fields of requests that no call sets here, by their ends, and why. */
const UNSET: Readonly<Record<string, string>> = {
  ".page_token": "of a second page, which the server did not offer",
  ".offset_bytes": "of a transfer that goes on after a lost connection",
  "WatchTaskRequest.text": "for tools that print JSON; the clients take bytes, which are what was written",
};

/** Public methods that ask the server nothing of their own. */
const ASK_NOTHING = ["Client.close", "Client.task", "Task.artifact"];
/** They run functions of Python, over what submit does. */
const OF_PYTHON = ["Client.start"];

const TASK_CONFIG = {
  dataset_name: "wine",
  model_params: { depth: 3 },
  runner_location: "site",
  clusters: { site: { infra_config: { account: "a", image_name: "i", instance_type: "t" } } },
  tracking_uri: "experiments",
  experiment_name: "wine",
};
const FILES = {
  "project/main.py": "print(1)",
  "project/lib/requirements.txt": "six",
  "main.py": "print(2)",
  "train.csv": "x\n1\n",
  "task.json": JSON.stringify(TASK_CONFIG),
};

/** What all calls asked of a server, by their place in the list. */
async function recordOf(play: (address: string, folder: string) => Promise<void>) {
  await using folder = await TemporaryFolder.create(FILES);
  await using server = await RecordingServer.start(answer);
  await play(server.address, folder.path);
  return new Map([...server.calls].map(([step, calls]) => [step, calls.map(comparable)]));
}

type Comparable = Pick<RecordedCall, "rpc" | "requests"> & { readonly traceparent?: string };

/** In Python a trace is given to what makes a task alone. */
function comparable({ traceparent, ...call }: RecordedCall): Comparable {
  return /\.(Create|Submit|Rerun)Task$/.test(call.rpc) ? { ...call, traceparent } : call;
}

async function playInPython(address: string, folder: string, ...options: string[]): Promise<void> {
  const player = spawn(python, [PLAYER, address, folder, TASK_ID, ...options], { env: pythonEnvironment() });
  player.stdin.end(JSON.stringify(CALLS));
  const [said, [code]] = await Promise.all([text(player.stderr), once(player, "close")]);
  assert.equal(code, 0, said);
}

type Calls = Awaited<ReturnType<typeof recordOf>>;

const describeCall = (step: number) => `${step}: ${CALLS[step]?.method}`;

describe("a call of either client", { skip: noPython }, () => {
  let typescript: Calls;
  let sync: Calls;
  let asyncio: Calls;
  before(async () => {
    typescript = await recordOf(playCalls);
    sync = await recordOf((address, folder) => playInPython(address, folder));
    asyncio = await recordOf((address, folder) => playInPython(address, folder, "--asyncio"));
  });

  for (const step of CALLS.keys())
    test(`asks the same of the server: ${describeCall(step)}`, () => {
      const key = String(step);
      const asked = typescript.get(key) ?? [];
      assert.notEqual(asked.length, 0, "nothing was asked");
      assert.deepEqual(sync.get(key), asked, "for threads");
      assert.deepEqual(asyncio.get(key), asked, "for asyncio");
    });

  test("reaches every RPC that the API has", () => {
    for (const calls of [typescript, sync, asyncio]) {
      const called = new Set([...calls.values()].flat().map(({ rpc }) => rpc));
      const uncalled = RPCS.map(rpcName).filter((name) => !called.has(name));
      assert.deepEqual(uncalled, Object.keys(UNCALLED));
    }
  });

  test("sets every field of every request", () => {
    for (const calls of [typescript, sync, asyncio]) {
      const unset = unsetFields([...calls.values()].flat());
      assert.deepEqual(
        unset.filter((name) => !Object.keys(UNSET).some((each) => name.endsWith(each))),
        [],
        "an option that sets it, tried by CALLS in test/support/client-calls.ts, or a reason in UNSET",
      );
    }
  });

  test("is tried for every public method, with every option", async () => {
    const surface = await pythonSurface(python, "longshore");
    const tried = new Map<string, Set<string>>();
    for (const { method, options = {} } of CALLS) {
      const name = `${classOf(method)}.${method.slice(method.lastIndexOf(".") + 1)}`;
      tried.set(name, new Set([...(tried.get(name) ?? []), ...Object.keys(options)]));
    }
    const untried = ["Client", "Task", "Artifacts", "Blobs", "Access", "Webhooks"].flatMap((holder) =>
      Object.entries(surface[holder]?.members ?? {}).flatMap(([member, parameters]) => {
        const name = `${holder}.${member}`;
        if (parameters === null || [...ASK_NOTHING, ...OF_PYTHON].includes(name)) return [];
        const given = tried.get(name);
        return given === undefined
          ? [name]
          : parameters
              .filter((each) => !given.has(each) && !POSITIONAL.has(each))
              .map((each) => `${name}(${each})`);
      }),
    );
    assert.deepEqual(untried, [], "to be added to CALLS in test/support/client-calls.ts");
  });
});

/** Given by their place, or as a form of the source. */
const POSITIONAL: ReadonlySet<string> = new Set([
  ...["source", "code", "archive_sha256", "config", "archive", "path", "destination", "folder"],
  ...["sha256", "content", "size_bytes", "id"],
]);

function classOf(method: string): string {
  const holder = method.split(".").at(-2) ?? "client";
  return holder.charAt(0).toUpperCase() + holder.slice(1);
}
