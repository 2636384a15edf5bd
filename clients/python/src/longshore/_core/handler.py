"""A function as a task: where its project lies, what is sent, and what comes back."""

from __future__ import annotations

import inspect
import json
import os
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from . import remote_entry
from .errors import BadHandler, LongshoreError, RemoteError, TaskFailed
from .options import PathLike, ProgressCallback, StartOptions, SubmitOptions
from .outcome import TaskOutcome
from .pack import pack_folder
from .remote_entry import CALL_FILE, RESULT_FILE, to_json
from .source import Program
from .spec import check_names

Handler = Callable[..., Any] | str

# The most that a task takes on standard input.
MOST_CALL_BYTES = 2**20

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class LocatedHandler:
    """A function by its names, the folder to pack, and the folder below that from which its module is imported."""

    folder: str
    path: str
    module: str
    function: str

    @property
    def name(self) -> str:
        return f"{self.module}:{self.function}"


def read_handler(handler: Handler, project: PathLike | None) -> LocatedHandler:
    """Finds what has to be sent; raises BadHandler, which says what to do, for what cannot be."""
    if isinstance(handler, str):
        module, colon, function = handler.partition(":")
        if not colon or not _NAME.fullmatch(module) or not _NAME.fullmatch(function):
            raise BadHandler(f'{handler!r} is not of the form "module:function"')
        return LocatedHandler(_project_folder(os.fspath(project or ".")), "", module, function)
    # A decorated function is found in the sandbox by the name of what it wraps.
    function = inspect.unwrap(handler)
    name = _function_name(function)
    module, root = _module_of(function)
    if project is None:
        return LocatedHandler(_own_folder(root, module), "", module, name)
    folder = _project_folder(os.fspath(project))
    path = os.path.relpath(root, folder)
    if path.split(os.sep)[0] == os.pardir:
        raise BadHandler(f"the module {module} lies in {root}, outside of the project {folder}")
    return LocatedHandler(folder, "" if path == os.curdir else path.replace(os.sep, "/"), module, name)


def _function_name(handler: Callable[..., Any]) -> str:
    if not callable(handler):
        raise BadHandler(
            f'the handler is a {type(handler).__name__}; give a function, or its name as "module:function"'
        )
    name = getattr(handler, "__qualname__", None)
    if name is None or not (inspect.isroutine(handler) or inspect.isclass(handler)) or inspect.ismethod(handler):
        raise BadHandler(f"{handler!r} is no plain function; give a function that is defined at the top of a module")
    if "<lambda>" in name:
        raise BadHandler("a lambda has no name to be found by in the sandbox; define a function at the top of a module")
    if "<locals>" in name:
        raise BadHandler(f"{name} is defined inside of another function; define it at the top of a module")
    return str(name)


def _module_of(handler: Callable[..., Any]) -> tuple[str, str]:
    """The name by which a function's module is imported, and the folder from which."""
    name = handler.__module__
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if name == "__main__":
        name = _main_name(module, file)
    if file is None:
        raise BadHandler(f"{handler.__qualname__} comes from {name}, which is no file that could be sent")
    levels = name.count(".") + (os.path.basename(file) == "__init__.py")
    folder = os.path.dirname(os.path.realpath(file))
    for _ in range(levels):
        folder = os.path.dirname(folder)
    return name, folder


def _main_name(module: Any, file: str | None) -> str:
    if file is None or not os.path.isfile(file):
        raise BadHandler(
            "the function was typed into an interpreter or a notebook, and there is no file to send;"
            " put it into a .py file and import it from there"
        )
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    name, ending = os.path.splitext(os.path.basename(file))
    if ending != ".py" or not name.isidentifier():
        raise BadHandler(
            f"{file} cannot be imported by its name; put the function into a file such as training.py and import it"
        )
    return name


def _project_folder(folder: str) -> str:
    if not os.path.isdir(folder):
        raise BadHandler(f"the project {folder} is not a folder")
    return os.path.realpath(folder)


def _own_folder(root: str, module: str) -> str:
    """Folders that hold far more than a project are sent only when they are named."""
    installed = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    for place in [*installed, *site.getsitepackages(), site.getusersitepackages()]:
        if os.path.realpath(place) == root:
            raise BadHandler(
                f"{module} is an installed package and not part of a project; call it from a file of yours"
            )
    if root in (os.path.realpath(os.path.expanduser("~")), os.path.abspath(os.sep)):
        raise BadHandler(
            f"the module {module} lies directly in {root}, all of which would be sent;"
            " move it to a folder of its own, or name the folder with project=..."
        )
    return root


def pack_call(handler: LocatedHandler, on_progress: ProgressCallback | None) -> Program:
    """The project with the script that makes the call; the same for every call, so that it is sent once."""
    script = inspect.getsource(remote_entry).encode()
    archive = pack_folder(handler.folder, on_progress, {CALL_FILE: script})
    return Program(handler.name, archive=archive, entrypoint=CALL_FILE)


def call_options(
    handler: LocatedHandler, args: Sequence[Any], kwargs: Mapping[str, Any], options: StartOptions
) -> SubmitOptions:
    """The options of the task, with the call on its standard input and its result among the outputs."""
    check_names("start", options, StartOptions)
    if isinstance(args, (str, bytes)) or not isinstance(args, Sequence):
        raise BadHandler("args must be a list or tuple of arguments, such as args=(3,)")
    try:
        sent: str = to_json(  # type: ignore[no-untyped-call]
            {
                "path": handler.path,
                "module": handler.module,
                "function": handler.function,
                "args": list(args),
                "kwargs": dict(kwargs),
            },
            "the call",
        )
    except TypeError as error:
        raise BadHandler(
            str(error).replace("the call['args']", "args").replace("the call['kwargs']", "kwargs")
        ) from error
    if len(sent) > MOST_CALL_BYTES:
        raise BadHandler(
            f"the arguments take {len(sent)} bytes of JSON and at most {MOST_CALL_BYTES} can be sent;"
            " put large data into a file of the project"
        )
    outputs = [RESULT_FILE, *options.get("outputs", ())]
    return cast(SubmitOptions, {**options, "stdin": sent, "outputs": outputs})


def read_result(content: bytes) -> Any:
    answer = _read(content)
    if "value" not in answer:
        raise LongshoreError("the task left no result that can be read", code="DATA_LOSS", reason="BAD_RESULT")
    return answer["value"]


def no_result(task_id: str) -> LongshoreError:
    return LongshoreError(
        f"task {task_id} succeeded without a result: the function ended its process itself, such as by sys.exit(0)",
        code="DATA_LOSS",
        reason="NO_RESULT",
    )


def read_failure(outcome: TaskOutcome, content: bytes) -> TaskFailed:
    error = _read(content).get("error")
    if not isinstance(error, dict):
        return TaskFailed(outcome)  # the function returned, and the task failed after that
    kind, message, trace = (str(error.get(key, "")) for key in ("type", "message", "traceback"))
    return RemoteError(outcome, kind, message, trace)


def _read(content: bytes) -> dict[str, Any]:
    """JSON that hostile code may have written."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LongshoreError(
            f"the task's result is no JSON that can be read: {error}", code="DATA_LOSS", reason="BAD_RESULT"
        ) from error
    return answer if isinstance(answer, dict) else {}
