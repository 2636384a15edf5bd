"""Functions that run in a sandbox."""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import longshore
from longshore._core.errors import LongshoreError
from longshore._core.handler import read_failure, read_handler, read_result
from longshore._core.outcome import TaskOutcome, outcome_of
from longshore.v1 import task_pb2

MODULE = """
import sys
import longshore

try:
    pass
except longshore.TaskFailed:
    pass

def add(a, b=1, *, c=0):
    print("adding")
    return {"sum": a + b + c, "pair": (a, b)}

def fail(text):
    def inner():
        raise ValueError(text)
    try:
        inner()
    except ValueError as error:
        raise RuntimeError("outer") from error

def leave(code):
    sys.exit(code)

def forever():
    while True:
        pass

def leaves_half_a_result():
    import os
    with open("__longshore_result__.json", "w") as file:
        file.write('{"error": {"ty')
    os._exit(7)

def unsendable():
    return {"model": object()}

def keyed():
    return {1: 2}

def moved():
    import os
    os.chdir("/tmp")
    return open(__file__).read()[:1]

def traced():
    from longshore.tracing import span
    with span("step", rows=1) as step, longshore.tracing.span("inner"):
        return [type(step).__module__, step.traceparent.count("-")]

def starts_another():
    return longshore.start(handler=add)

class Trainer:
    @staticmethod
    def train(n):
        return n * 2

    def method(self):
        pass

@longshore.remote(ram="128MB", timeout="20s")
def decorated(x):
    '''Doubles.'''
    return x * 2

nameless = lambda: 1
"""


@pytest.fixture
def functions(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    package = project / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "work.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(project))
    yield importlib.import_module("package.work")
    for name in ("package", "package.work"):
        sys.modules.pop(name, None)


def test_a_function_returns_what_it_returned(client: longshore.Client, functions: ModuleType) -> None:
    call = longshore.start(handler=functions.add, args=(1,), kwargs={"b": 2, "c": 3}, client=client, ram="128MB")
    assert list(call.logs()) == ["adding\n"]
    assert call.result() == {"sum": 6, "pair": [1, 2]}
    record = call.task.get()
    assert record.spec.display_name == "package.work:add"
    assert record.effective_resources.ram_bytes == 128 * 2**20
    # The same project is sent once, whatever is called in it.
    other = client.start(functions.Trainer.train, (4,))
    assert other.result() == 8
    assert other.task.get().archive_sha256 == record.archive_sha256
    assert client.start(functions.moved).result() == "\n"
    assert client.start(functions.traced).result() == ["longshore_tracing", 3]


def test_a_failure_raises_with_the_traceback_from_there(client: longshore.Client, functions: ModuleType) -> None:
    with pytest.raises(longshore.RemoteError) as failed:
        client.start(functions.fail, ("boom",)).result()
    error = failed.value
    assert (error.error_type, error.remote_message, error.exit_code) == ("RuntimeError", "outer", 1)
    assert "ValueError: boom" in error.remote_traceback
    assert "package/work.py" in error.remote_traceback
    assert "__longshore_call__" not in error.remote_traceback
    assert "RuntimeError: outer" in str(error)
    assert "ValueError: boom" in error.stderr_tail


def test_other_endings_are_those_of_tasks(client: longshore.Client, functions: ModuleType) -> None:
    with pytest.raises(longshore.TaskFailed) as left:
        client.start(functions.leave, (3,)).result()
    assert (type(left.value), left.value.exit_code) == (longshore.TaskFailed, 3)
    with pytest.raises(longshore.LongshoreError, match="ended its process itself"):
        client.start(functions.leave, (0,)).result()
    with pytest.raises(longshore.TaskFailed) as damaged:
        client.start(functions.leaves_half_a_result).result()
    assert (type(damaged.value), damaged.value.exit_code) == (longshore.TaskFailed, 7)
    with pytest.raises(longshore.TaskFailed) as late:
        client.start(functions.forever, timeout="1s").result()
    assert late.value.reason == "TIMED_OUT"
    with pytest.raises(longshore.RemoteError, match=r"the result\['model'\] is a object, which cannot be sent"):
        client.start(functions.unsendable).result()
    with pytest.raises(longshore.RemoteError, match="keys must be text"):
        client.start(functions.keyed).result()
    with pytest.raises(longshore.RemoteError, match="__name__ == "):
        client.start(functions.starts_another).result()


def test_a_decorated_function(
    client: longshore.Client, functions: ModuleType, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    assert functions.decorated(2) == 4
    assert functions.decorated.__doc__ == "Doubles."
    monkeypatch.setenv("LONGSHORE_SERVER", address)
    call = functions.decorated.start(21)
    assert call.result() == 42
    assert call.task.get().effective_resources.ram_bytes == 128 * 2**20
    assert client.start(functions.decorated, (4,)).result() == 8


def test_a_script_that_starts_its_own_function(address: str, project: Path) -> None:
    (project / "training.py").write_text(
        "import longshore\n"
        "def train(n):\n    return n + 1\n"
        "if __name__ == '__main__':\n    print(longshore.start(handler=train, args=(3,)).result())\n"
    )
    environment = {"LONGSHORE_SERVER": address, "PYTHONPATH": ":".join(sys.path), "PATH": ""}
    ran = subprocess.run([sys.executable, project / "training.py"], env=environment, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("4\n", "")


def test_by_name_and_project(client: longshore.Client, functions: ModuleType, project: Path) -> None:
    assert client.start("package.work:add", (1,), project=project).result()["sum"] == 2
    found = read_handler(functions.add, project.parent)
    assert (found.folder, found.path) == (str(project.parent), "project")
    assert client.start(functions.add, (1,), project=project.parent).result()["sum"] == 2
    with pytest.raises(longshore.RemoteError, match="has no attribute 'missing'"):
        client.start("package.work:missing", project=project).result()


def test_requirements_that_policy_refuses_are_named_with_their_line(
    client: longshore.Client, functions: ModuleType
) -> None:
    with pytest.raises(longshore.InvalidRequest) as refused:
        client.start(functions.add, (1,), requirements=["six", "-e ."])
    [violation] = refused.value.violations
    assert violation.field.startswith("environment.requirements")
    assert "2" in violation.field + violation.description


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda module: module.nameless, "a lambda has no name"),
        (lambda module: functools.partial(module.add, 1), "no plain function"),
        (lambda module: module.Trainer().method, "no plain function"),
        (lambda module: len, "no file that could be sent"),
        (lambda module: json.dumps, "installed package"),
        (lambda module: 3, "is a int"),
        (lambda module: "package.work", "module:function"),
        (lambda module: "package.work:a b", "module:function"),
    ],
)
def test_what_cannot_be_sent_says_what_to_do(functions: ModuleType, choose, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(longshore.BadHandler, match=message) as refused:
        read_handler(choose(functions), None)
    assert isinstance(refused.value, TypeError)


def test_functions_without_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, functions: ModuleType) -> None:
    def local() -> None:
        pass

    with pytest.raises(longshore.BadHandler, match="inside of another function"):
        read_handler(local, None)
    script = "import longshore\ndef f(): pass\nlongshore.start(handler=f)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "typed into an interpreter or a notebook" in ran.stderr
    monkeypatch.setenv("HOME", str(Path(functions.__file__ or "").parent.parent))
    with pytest.raises(longshore.BadHandler, match="all of which would be sent"):
        read_handler(functions.add, None)
    with pytest.raises(longshore.BadHandler, match="outside of the project"):
        read_handler(functions.add, tmp_path / "project" / "package")


def test_arguments_that_cannot_be_sent(functions: ModuleType) -> None:
    itself: list[object] = []
    itself.append(itself)
    with longshore.Client("127.0.0.1:1") as client:
        for args, message in (
            ((object(),), r"args\[0\] is a object"),
            (({1: 2},), "keys must be text"),
            ((b"bytes",), "is a bytes"),
            ((itself,), "nested too deeply"),
            (("x" * 2**20,), "large data into a file"),
            ("text", "must be a list or tuple"),
        ):
            with pytest.raises(longshore.BadHandler, match=message):
                client.start(functions.add, args)
        with pytest.raises(TypeError, match="unexpected keyword argument 'stdin'"):
            client.start(functions.add, (1,), stdin="x")  # type: ignore[call-arg]


def test_results_of_hostile_tasks() -> None:
    outcome: TaskOutcome = outcome_of(task_pb2.Task(id="01J"))
    for content in (b"", b"\xff", b"[1]", b"{}", b"[" * 100_000, b'{"error": 1}'):
        with pytest.raises(LongshoreError):
            read_result(content)
    assert type(read_failure(outcome, b'{"error": 3}')) is longshore.TaskFailed
    failure = read_failure(outcome, b'{"error": {"type": 3, "message": null, "traceback": []}}')
    assert isinstance(failure, longshore.RemoteError)
    assert read_result(b'{"value": NaN}') != 0
