"""The spec a server sends, and the settings a sandbox is started with: parsed and checked, all problems named at once."""

from base64 import b64decode
from binascii import Error as Base64Error
from json import loads

VERSION = 1
MAX_SPEC = 8 << 20
MAX_ATTEMPT_ID = 128

LIMITS = (
    "run_ms",
    "log_bytes",
    "artifact_bytes",
    "artifact_ms",
    "stage_in_ms",
    "open_files",
    "processes",
    "ram_bytes",
    "storage_bytes",
)


class BadSpec(Exception):
    """The spec breaks the contract; `problems` says where."""

    def __init__(self, problems):
        super().__init__("; ".join(problems))
        self.problems = problems


class Settings:
    """What is known about a sandbox before its spec arrives."""

    def __init__(self, text):
        value = loads(text)
        self.uid = int(value["uid"])
        self.gid = int(value["gid"])
        if self.uid <= 0 or self.gid <= 0:
            raise ValueError("uid and gid of the task must be above 0")
        self.preload = [str(name) for name in value.get("preload") or []]
        self.environment = value.get("environment")
        self.prestart = bool(value.get("prestart"))
        self.one_volume = bool(value.get("one_volume"))
        self.evict_on_term = bool(value.get("evict_on_term"))


class Spec:
    """One attempt: what to run, with what, within which limits."""

    def __init__(self, value, problems):
        check = _Checker(value, problems)
        self.code = check.text_or_none("code")
        self.args = check.texts("args")
        self.env = check.env()
        self.stdin = check.base64("stdin")
        self.working_directory = check.relative("working_directory")
        self.input_bytes = check.count(value, "input_bytes")
        self.outputs = [check.relative_path(glob, "outputs") for glob in check.texts("outputs")]
        self.stop_grace_ms = check.count(value, "stop_grace_ms")
        self.program = check.program()
        self.limits = check.limits()
        self.span_budget = check.span_budget()


def read_spec(data):
    """Returns (attempt id, Spec). Raises ValueError when not even the attempt id can be read, BadSpec otherwise."""
    value = loads(data)
    if not isinstance(value, dict):
        raise ValueError("the spec is not a JSON object")
    attempt_id = value.get("attempt_id")
    if not isinstance(attempt_id, str) or not attempt_id.isascii() or not 0 < len(attempt_id) <= MAX_ATTEMPT_ID:
        raise ValueError("the spec has no attempt_id of 1 to 128 ASCII characters")
    return attempt_id, value


def check_spec(value):
    problems = []
    if value.get("version") != VERSION:
        problems.append("version %r is not %d, the one this runner knows" % (value.get("version"), VERSION))
    spec = Spec(value, problems)
    if problems:
        raise BadSpec(problems)
    return spec


class _Checker:
    def __init__(self, value, problems):
        self._value = value
        self._problems = problems

    def _problem(self, name, text):
        self._problems.append("%s %s" % (name, text))

    def _is_text(self, value):
        if not isinstance(value, str) or "\0" in value:
            return False
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return False
        return True

    def text_or_none(self, name):
        value = self._value.get(name)
        if value is not None and not isinstance(value, str):
            self._problem(name, "is not a text")
            return None
        return value

    def texts(self, name):
        value = self._value.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(self._is_text(item) for item in value):
            self._problem(name, "is not a list of texts without NUL")
            return []
        return value

    def env(self):
        value = self._value.get("env")
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._problem("env", "is not an object")
            return {}
        for name, text in value.items():
            if not self._is_text(name) or not name or "=" in name or not self._is_text(text):
                self._problem("env", "has a name or value that no process can be given: %r" % name[:80])
        return value

    def base64(self, name):
        value = self._value.get(name)
        if value is None:
            return b""
        try:
            return b64decode(value, validate=True)
        except (TypeError, ValueError, Base64Error):
            self._problem(name, "is not base64")
            return b""

    def count(self, holder, name, where=""):
        value = holder.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._problem(where + name, "is not a whole number of at least 0")
            return 0
        return value

    def relative(self, name):
        value = self._value.get(name)
        return self.relative_path(value, name) if value else ""

    def relative_path(self, value, name):
        if not self._is_text(value):
            self._problem(name, "is not a path")
            return ""
        parts = [part for part in value.split("/") if part not in ("", ".")]
        if value.startswith("/") or ".." in parts:
            self._problem(name, "leads out of the workspace: %r" % value[:200])
        return "/".join(parts)

    def program(self):
        value = self._value.get("program")
        if isinstance(value, dict):
            if self._is_text(value.get("script")) and value["script"]:
                return Program("script", script=value["script"])
            if self._is_text(value.get("module")) and value["module"]:
                function = value.get("function")
                if function is None or (self._is_text(function) and function.isidentifier()):
                    return Program("module", module=value["module"], function=function)
            command = value.get("command")
            if isinstance(command, list) and command and all(self._is_text(part) for part in command) and command[0]:
                return Program("command", command=command)
        self._problem("program", "is none of script, module or command")
        return None

    def span_budget(self):
        value = self._value.get("spans")
        if value is None:
            return None
        if not isinstance(value, dict):
            self._problem("spans", "is not an object")
            return None
        return self.count(value, "count", "spans."), self.count(value, "bytes", "spans.")

    def limits(self):
        value = self._value.get("limits")
        if not isinstance(value, dict):
            self._problem("limits", "is not an object")
            value = {}
        limits = Limits()
        for name in LIMITS:
            setattr(limits, name, self.count(value, name, "limits."))
        deadline = value.get("deadline_unix_ms")
        limits.deadline_unix_ms = None if deadline is None else self.count(value, "deadline_unix_ms", "limits.")
        return limits


class Limits:
    __slots__ = (*LIMITS, "deadline_unix_ms")


class Program:
    __slots__ = ("kind", "script", "module", "function", "command")

    def __init__(self, kind, script=None, module=None, function=None, command=None):
        self.kind = kind
        self.script = script
        self.module = module
        self.function = function
        self.command = command
