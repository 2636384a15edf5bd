/** Spans of a task's own, from its programs to the journal, in real sandboxes. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseTaskSpan, SPAN_BUDGET, type TaskSpan } from "#server/domain/task-span.ts";
import { dockerMissing, type Options, runSpec, type Spec } from "../support/runner-container.ts";
import { bytesOf, endOf, type Journal, outline } from "../support/runner-journal.ts";

const TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const HELPER = "import sys; sys.path.append('/longshore/runner/lib')\nfrom longshore_tracing import span\n";

function told(journal: Journal): TaskSpan[] {
  return journal.frames
    .filter(({ kind }) => kind === "span")
    .flatMap(({ payload }) => parseTaskSpan(payload) ?? []);
}

async function run(code: string, spec: Partial<Spec> = {}, options: Options = {}): Promise<Journal> {
  const { journal } = await runSpec(
    { code: HELPER + code, env: { TRACEPARENT }, spans: SPAN_BUDGET, ...spec },
    options,
  );
  return journal;
}

function byName(spans: readonly TaskSpan[]): Map<string, TaskSpan> {
  return new Map(spans.map((span) => [span.name, span]));
}

for (const runtime of [undefined, "runsc"]) {
  const name = runtime === undefined ? "a sandbox" : "a sandbox under gVisor";
  test(`spans leave ${name} without a network, nested as the program nested them`, {
    skip: dockerMissing(runtime),
  }, async () => {
    const journal = await run(
      `
with span("outer", rows=3, skip=None) as outer:
    with span("inner") as inner:
        inner.set(ratio=0.5, good=True, path="a/b")
    assert outer.traceparent == "00-4bf92f3577b34da6a3ce929d0e0e4736-%s-01" % outer.span_id
@span("decorated")
def fit(): raise KeyError("y")
try: fit()
except KeyError: pass
`,
      {},
      runtime === undefined ? {} : { runtime },
    );
    assert.equal(endOf(journal).exit_code, 0, outline(journal));
    const spans = byName(told(journal));
    assert.deepEqual([...spans.keys()], ["inner", "outer", "decorated"]);
    const [inner, outer, decorated] = [...spans.values()];
    assert.equal(outer?.parentSpanId, "");
    assert.equal(inner?.parentSpanId, outer?.spanId);
    assert.equal(decorated?.parentSpanId, "");
    assert.deepEqual(outer?.attributes, { rows: 3 });
    assert.deepEqual(inner?.attributes, { ratio: 0.5, good: true, path: "a/b" });
    assert.deepEqual([inner?.error, outer?.error, decorated?.error], ["", "", "KeyError: 'y'"]);
    assert.ok(inner !== undefined && outer !== undefined);
    assert.ok(outer.startMicros <= inner.startMicros && inner.endMicros <= outer.endMicros);
  });
}

describe("spans in a sandbox", { skip: dockerMissing() }, () => {
  test("come from plainly started interpreters, children and forks with threads too", async () => {
    const journal = await run(
      `
import contextvars, os, subprocess, threading
with span("parent") as parent:
    subprocess.run([sys.executable, "-c", ${JSON.stringify(`${HELPER}with span("child process"): pass`)}], check=True)
    context = contextvars.copy_context()
    def work():
        with span("thread"): pass
    thread = threading.Thread(target=context.run, args=(work,)); thread.start(); thread.join()
    pid = os.fork()
    if pid == 0:
        with span("fork"): pass
        os._exit(0)
    os.waitpid(pid, 0)
`,
      { env: { TRACEPARENT, PYTHONHASHSEED: "1" } },
    );
    assert.equal(endOf(journal).exit_code, 0, outline(journal) + bytesOf(journal, "stderr"));
    const spans = byName(told(journal));
    assert.deepEqual([...spans.keys()].sort(), ["child process", "fork", "parent", "thread"]);
    const parent = spans.get("parent")?.spanId;
    assert.equal(spans.get("thread")?.parentSpanId, parent);
    assert.equal(spans.get("fork")?.parentSpanId, parent);
    assert.equal(spans.get("child process")?.parentSpanId, "");
  });

  test("told in the last moment of a program that is killed are kept", async () => {
    const journal = await run(`
import os
for n in range(5):
    with span("s%d" % n): pass
os.kill(os.getpid(), 9)
`);
    assert.equal(endOf(journal).reason, "signaled");
    assert.equal(told(journal).length, 5);
  });

  test("are held to their budget, which costs a program that floods nothing but its spans", async () => {
    const spans = { count: 20, bytes: 4096 };
    const journal = await run(
      `
import os, socket
raw = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
target = b"\\0" + os.environ["LONGSHORE_SPANS"].encode()
for data in (b"", b"not JSON", b"x" * 9000, b"x" * 65536): raw.sendto(data, target)
for n in range(20000):
    with span("s%d" % n): pass
print("done")
`,
      { spans },
    );
    assert.equal(endOf(journal).exit_code, 0, outline(journal));
    assert.equal(bytesOf(journal, "stdout").toString(), "done\n");
    const frames = journal.frames.filter(({ kind }) => kind === "span");
    assert.ok(frames.length > 5 && frames.length <= spans.count, `${frames.length} frames`);
    assert.ok(frames.reduce((sum, { payload }) => sum + payload.length, 0) <= spans.bytes);
    assert.ok(told(journal).some(({ name }) => name === "s0"));
  });

  test("are not asked for where nobody keeps them: the program finds nothing and loses nothing", async () => {
    const journal = await run(
      `
import os
with span("unheard") as unheard: print(unheard.traceparent[:3], "LONGSHORE_SPANS" in os.environ)
print(sum(b"longshore" in line for line in open("/proc/net/unix", "rb")))
`,
      { spans: null },
    );
    assert.equal(endOf(journal).exit_code, 0, outline(journal) + bytesOf(journal, "stderr"));
    assert.equal(bytesOf(journal, "stdout").toString(), "00- False\n0\n");
    assert.equal(journal.frames.filter(({ kind }) => kind === "span").length, 0);
  });
});
