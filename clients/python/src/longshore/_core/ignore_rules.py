"""What a folder's owner does not mean to send."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

IGNORE_FILE = ".longshoreignore"

# History, caches, installed packages. `!name` in .longshoreignore takes one back in.
LEFT_OUT = (
    ".git/",
    ".git",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.pyc",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    ".ipynb_checkpoints/",
    ".tox/",
    ".nox/",
    ".venv/",
    "venv/",
    "node_modules/",
    ".DS_Store",
)


@dataclass(frozen=True)
class _Rule:
    expression: re.Pattern[str]
    takes_back: bool
    folders_only: bool


class IgnoreRules:
    """Rules in the syntax of .gitignore; the last one that matches an entry decides.

    They are asked about one entry at a time, on a walk that never enters a folder that is left out. General matchers
    (pathspec among them) also count what a rule says about the folders above, and then decide some trees otherwise than
    git and the TypeScript client do: the same folder would have two digests.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _parse(line)) is not None]

    def leaves_out(self, path: str, is_folder: bool) -> bool:
        """Whether `path`, relative to the folder and with "/" between its parts, is left out."""
        for rule in reversed(self._rules):
            if (is_folder or not rule.folders_only) and rule.expression.fullmatch(path):
                return not rule.takes_back
        return False


def read_ignore_rules(folder: str) -> IgnoreRules:
    """The rules that hold in a folder: the built-in ones, then those of its .longshoreignore."""
    lines = list(LEFT_OUT)
    try:
        with open(os.path.join(folder, IGNORE_FILE), encoding="utf-8-sig", errors="replace") as file:
            lines += file.read().split("\n")
    except FileNotFoundError:
        pass  # most folders have none
    return IgnoreRules(lines)


def _parse(line: str) -> _Rule | None:
    text = line.rstrip("\r")
    while text.endswith(" ") and not text.endswith("\\ "):
        text = text[:-1]
    if text == "" or text.startswith("#"):
        return None
    takes_back = text.startswith("!")
    if takes_back:
        text = text[1:]
    folders_only = text.endswith("/")
    if folders_only:
        text = text[:-1]
    if text == "":
        return None
    anywhere = "/" not in text
    try:
        expression = re.compile(("(?:.*/)?" if anywhere else "") + _translate(text.removeprefix("/")), re.DOTALL)
    except re.error:
        return None  # as in git, a rule that means nothing matches nothing
    return _Rule(expression, takes_back, folders_only)


def _translate(glob: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(glob):
        starts_segment = at == 0 or glob[at - 1] == "/"
        if starts_segment and glob.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif starts_segment and glob[at:] == "**":
            parts.append(".+")
            at += 2
        elif glob[at] == "*":
            ends_segment = glob[at:].lstrip("*")[:1] in ("", "/")
            parts.append("[^/]+" if starts_segment and ends_segment else "[^/]*")
            at += len(glob[at:]) - len(glob[at:].lstrip("*"))
        elif glob[at] == "?":
            parts.append("[^/]")
            at += 1
        elif glob[at] == "[" and (end := _class_end(glob, at)) > 0:
            parts.append(_translate_class(glob[at + 1 : end]))
            at = end + 1
        else:
            if glob[at] == "\\" and at + 1 < len(glob):
                at += 1
            parts.append(re.escape(glob[at]))
            at += 1
    return "".join(parts)


def _class_end(glob: str, start: int) -> int:
    """Place of the bracket that closes a class; "]" in the first place stands for itself."""
    first = start + 2 if glob[start + 1 : start + 2] in ("!", "^") else start + 1
    return glob.find("]", first + 1)


def _translate_class(body: str) -> str:
    negated = body[0] in "!^"
    members = (body[1:] if negated else body).replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
    if members.startswith("]"):
        members = "\\" + members
    return f"(?!/)[{'^' if negated else ''}{members}]"
