"""Runs one function inside of a sandbox: packed beside the project, and run there by its own.

Needs Python 3.9 and its standard library alone. The call comes as JSON on standard input; what the function returns, or
how it failed, goes as JSON to a file that becomes an artifact. JSON, because the client must be able to read what
hostile code has written.
"""

import asyncio
import contextlib
import importlib
import inspect
import json
import os
import sys
import traceback
import types

# The runner's module for spans, in every sandbox.
TRACING_FOLDER = "/longshore/runner/lib"
CALL_FILE = "__longshore_call__.py"
RESULT_FILE = "__longshore_result__.json"


def to_plain(value, where):
    """The value as JSON has it, without any silent change of what it means but tuple to list and array to list."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [to_plain(item, "%s[%d]" % (where, index)) for index, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError("%s has the key %r, and keys must be text" % (where, key))
        return {key: to_plain(item, "%s[%r]" % (where, key)) for key, item in value.items()}
    if type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "tolist"):
        return to_plain(value.tolist(), where)
    raise TypeError(
        "%s is a %s, which cannot be sent: only None, bool, numbers, text, lists, tuples, dicts and NumPy values can;"
        " write anything else to a file" % (where, type(value).__name__)
    )


def to_json(value, where):
    try:
        return json.dumps(to_plain(value, where))
    except RecursionError:
        raise TypeError("%s is nested too deeply, or holds itself" % where) from None


def tracing():
    """What `longshore.tracing` is there: spans that leave through the runner, or nowhere where it knows of none."""
    sys.path.append(TRACING_FOLDER)
    try:
        import longshore_tracing

        return longshore_tracing
    except ImportError:
        module = types.ModuleType("longshore.tracing")
        module.span = lambda _name, **_attributes: Unheard()
        return module
    finally:
        sys.path.remove(TRACING_FOLDER)


class Unheard(contextlib.ContextDecorator):
    """A span that nobody keeps."""

    traceparent = ""

    def set(self, **_attributes):
        return self

    def fail(self, _message):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def stand_in():
    """What `import longshore` finds in a sandbox without it: decorators that leave functions alone, and nothing to call."""
    module = types.ModuleType("longshore")
    module.__path__ = []

    def remote(function=None, **_options):
        return function if function is not None else lambda decorated: decorated

    def unusable(name):
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_args, **_kwargs):
            raise RuntimeError(
                "longshore.%s is used inside of a task, while the function's module is imported or by the function;"
                ' keep it under `if __name__ == "__main__":`' % name
            )

        return type(name, (Exception,), {"__new__": refuse})

    module.remote = remote
    module.tracing = tracing()
    module.__getattr__ = unusable
    module.aio = module
    return module


def find(module_name, function_name):
    found = importlib.import_module(module_name)
    for part in function_name.split("."):
        found = getattr(found, part)
    return found


def run_call(call):
    if call["path"]:
        sys.path.insert(0, os.path.abspath(call["path"]))
    try:
        import longshore  # noqa: F401
    except ImportError:
        module = stand_in()
        sys.modules["longshore"] = sys.modules["longshore.aio"] = module
        sys.modules["longshore.tracing"] = module.tracing
    function = find(call["module"], call["function"])
    value = function(*call["args"], **call["kwargs"])
    if inspect.iscoroutine(value):
        value = asyncio.run(value)
    return to_json(value, "the result")


def describe(error):
    """The failure without the frames of this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    # A failure of the call itself, such as a result that cannot be sent, has no frames but ours.
    lines = traceback.format_exception(type(error), error, trace)
    return {"type": type(error).__qualname__, "message": str(error), "traceback": "".join(lines)}


def main():
    # Before the function may change the folder.
    result_file = os.path.abspath(RESULT_FILE)
    call = json.loads(sys.stdin.buffer.read())
    try:
        answer = '{"value": %s}' % run_call(call)
        code = 0
    except Exception as error:
        failure = describe(error)
        sys.stderr.write(failure["traceback"])
        answer = json.dumps({"error": failure})
        code = 1
    # A task that is ended while it writes leaves no half result.
    with open(result_file + ".part", "w", encoding="ascii") as file:
        file.write(answer)
    os.replace(result_file + ".part", result_file)
    sys.exit(code)


if __name__ == "__main__":
    main()
