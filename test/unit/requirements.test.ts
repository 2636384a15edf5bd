import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { normalRequirements, parseRequirements, summarise } from "#server/domain/requirements.ts";

const NAMES_ONLY = { urls: false };
const parse = (text: string, rules = NAMES_ONLY) => parseRequirements(text, rules);
const texts = (text: string) => parse(text).requirements.map((requirement) => requirement.text);
const problem = (line: string, rules = NAMES_ONLY) => parse(line, rules).problems[0]?.problem ?? "";

describe("requirements.txt", () => {
  test("one way of writing for equal requirements, whatever their order, case, spaces and comments", () => {
    const one = parse(
      "Scikit_Learn [b, A] >= 1.0 , <2 ; python_version  > '3.8'  # why\nnumpy==1.0\n",
    ).requirements;
    const other = parse(
      "\ufeff# list\r\nnumpy == 1.0\r\n\r\nscikit-learn[a,b]<2,>=1.0;python_version > '3.8'\r\n",
    );
    assert.deepEqual(normalRequirements(one), normalRequirements(other.requirements));
    assert.deepEqual(normalRequirements(one), [
      "numpy==1.0",
      "scikit-learn[a,b]<2,>=1.0 ; python_version > '3.8'",
    ]);
  });

  test("lines keep their numbers over comments, blank lines and continuations", () => {
    const hash = `--hash=sha256:${"a".repeat(64)}`;
    const { requirements } = parse(`# top\n\nsix==1.16.0 \\\n    ${hash}\n# more\nnumpy\n`);
    assert.deepEqual(
      requirements.map(({ line, text }) => [line, text]),
      [
        [3, `six==1.16.0 ${hash}`],
        [6, "numpy"],
      ],
    );
  });

  test("versions of every kind", () => {
    for (const line of [
      "a",
      "a==1",
      "a ~= 1.4.2",
      "a!=1.*",
      "a===1.0+local",
      "a (>=1,<2)",
      "a>=1!2.0",
      "a>=1,",
    ])
      assert.equal(parse(line).problems.length, 0, line);
  });

  test("what decides where packages come from, and code of the host, is refused with its reason", () => {
    for (const [line, reason] of [
      ["-r other.txt", /other files are not read/],
      ["--requirement=other.txt", /other files are not read/],
      ["-c constraints.txt", /other files/],
      ["-e .", /cannot be installed in place/],
      ["six -e .", /option -e is refused: a project cannot be installed in place.*behind a package/],
      ["six==1.0 -e ./sub", /option -e is refused/],
      ["six -r other.txt", /option -r is refused: other files are not read/],
      ["six -i https://user:hunter2@index.example", /option -i is refused/],
      ["--index-url https://user:hunter2@index.example/simple", /operator/],
      ["-ihttps://index.example/simple", /refused/],
      ["--extra-index-url https://x.example", /operator/],
      ["--trusted-host x.example", /operator/],
      ["--find-links /tmp", /operator/],
      ["--pre", /names packages only/],
      ["git+https://host/repo.git", /version control/],
      ["https://host/six.whl", /address is refused/],
      ["file:///etc/passwd", /address is refused/],
      ["six @ https://host/six.whl", /address is refused/],
      ["six @ file:///six.whl", /address is refused/],
      ["./six", /local path/],
      ["../six", /local path/],
      ["/root/six", /local path/],
      ["sub/dir", /local path/],
      ["six-1.0-py3-none-any.whl", /local path/],
      ["six==1.0 --config-settings x=y", /only --hash/],
      ["six=1.0", /no version/],
      ["six numpy", /no version/],
      ["six==1.0; import os", /marker/],
      ["[x]", /package's name/],
      ["six[..]", /extras/],
      ["six\u0007", /control/],
    ] as const) {
      assert.match(problem(line), reason, line);
      assert.doesNotMatch(problem(line), /hunter2/);
    }
  });

  test("addresses where they are allowed: https, without a password", () => {
    const urls = { urls: true };
    assert.deepEqual(
      parse("six @ https://host/six.whl", urls).requirements[0]?.text,
      "six @ https://host/six.whl",
    );
    assert.match(problem("six @ http://host/six.whl", urls), /https/);
    assert.match(problem("six @ https://u:p@host/six.whl", urls), /password/);
    assert.match(problem("https://host/six.whl", urls), /name before it/);
  });

  test("all problems at once, up to a bound", () => {
    const { problems } = parse("-e .\n".repeat(50));
    assert.equal(problems.length, 21);
    assert.match(problems.at(-1)?.problem ?? "", /30 more/);
    assert.equal(parse("a".repeat(300_000)).problems.length, 1);
  });

  test("whatever the text: no throw, and what is accepted is accepted again in its normal form", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z@ ;=<>[\],.#\\\n/-]{0,60}$/)), (text) => {
        const normal = normalRequirements(parse(text).requirements);
        assert.deepEqual(normalRequirements(parse(normal.join("\n")).requirements), normal);
      }),
    );
  });

  test("a summary for people leaves out what is long", () => {
    const { requirements } = parse(
      `a==1 --hash=sha256:${"b".repeat(64)}\nb ; python_version > '3'\nc\nd\ne\nf`,
    );
    assert.equal(summarise(requirements), "a==1, b, c, d and 2 more");
    assert.deepEqual(texts("a"), ["a"]);
  });
});
