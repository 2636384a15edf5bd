"""Makes src/longshore/_sync of src/longshore/_async: the same program without its awaits.

Two files differ in more than that and are written by hand for both: channel.py, since gRPC has two unlike interfaces, and
runtime.py. (A client for threads that drives an event loop in the background would need no second text, but two thread
switches per message, and would not survive a fork.)
"""

import re
import subprocess
import sys
from pathlib import Path

WRITTEN_BY_HAND = ("__init__.py", "channel.py", "runtime.py")
HEADER = "# Made of ../_async/{name} by scripts/generate; never edited.\n"

REPLACEMENTS = (
    (re.compile(r"\basync (def|with|for)\b"), r"\1"),
    (re.compile(r"\bawait "), ""),
    (re.compile(r"\bAsyncGenerator\[(.+), None\]"), r"Generator[\1, None, None]"),
    (re.compile(r"\bAsync(Generator|Iterable|Iterator)\b"), r"\1"),
    (re.compile(r"\baclosing\b"), "closing"),
    (re.compile(r"\b__a(enter|exit)__\b"), r"__\1__"),
)


def without_await(text: str) -> str:
    for pattern, replacement in REPLACEMENTS:
        text = pattern.sub(replacement, text)
    return text


def main(to: Path) -> None:
    package = Path(__file__).parent.parent / "src/longshore"
    made = []
    for source in sorted((package / "_async").glob("*.py")):
        if source.name not in WRITTEN_BY_HAND:
            made.append(to / source.name)
            made[-1].write_text(HEADER.format(name=source.name) + without_await(source.read_text()))
    # Shorter lines may fit where longer ones were broken, and imports change their order.
    config = Path(__file__).parent.parent / "pyproject.toml"
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--fix-only", "--select=I"], ["format"]):
        subprocess.run([*ruff, *command, "--quiet", "--no-cache", f"--config={config}", *made], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
