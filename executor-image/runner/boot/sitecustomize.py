"""The small boot inside a pre-started interpreter.

The runner starts `python3 -u main.py` before there is a main.py, with this folder on PYTHONPATH. `site` imports this
module before the interpreter looks at its script: it takes itself off the path, imports what the environment preloads, and
waits for the program. For /workspace/main.py it then simply returns, and the interpreter goes on as if it had been
started now. For another script or module it makes the interpreter's own next step, which is to call
`runpy._run_module_as_main`, run that one instead: called from C, with no frame of ours below the program's first.
What it cannot do faithfully it hands to a new interpreter by exec, in this process.
"""

import os
import sys
from marshal import loads

CONTROL = 3
STATUS = 4
DEFAULT_SCRIPT = "/workspace/main.py"


def boot():
    step_aside()
    failure = image_customization()
    usable = import_quietly(receive()["preload"])
    loaded = set(sys.modules)
    os.write(STATUS, b"R")
    program = receive()
    os.close(CONTROL)
    os.close(STATUS)
    take_over(program)
    if not usable or not prepare(program):
        replace_interpreter(program)
    for name in set(sys.modules) - loaded - {"runpy"}:
        del sys.modules[name]
    if failure is not None:
        raise failure


def step_aside():
    """Leaves no trace of this module on the path, in the environment or among the modules."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != here]
    sys.path_importer_cache.pop(here, None)
    del os.environ["PYTHONPATH"]
    del sys.modules["sitecustomize"]


def image_customization():
    """Runs the image's own sitecustomize, whose place this module took. What it raises is kept for `site` to report."""
    try:
        import sitecustomize  # noqa: F401  (now the real one)
    except Exception as error:
        return error
    return None


def receive():
    size = int.from_bytes(read_exactly(4), "big")
    return loads(read_exactly(size))


def read_exactly(size):
    parts = []
    while size:
        part = os.read(CONTROL, min(size, 1 << 20))
        if not part:
            # The runner is gone or does not need us.
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def import_quietly(names):
    """Imports ahead of time. What that prints is not the task's output; what fails is left to the task to meet."""
    if not names:
        return True
    saved = os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    try:
        for name in names:
            __import__(name)
        set_aside()
        return True
    except BaseException:
        # A half-imported library would behave unlike a fresh one: the program gets a new interpreter instead.
        return False
    finally:
        for target, fd in zip((1, 2), saved):
            os.dup2(fd, target)
            os.close(fd)


def set_aside():
    """Spares the collector what was imported. At the end of an interpreter it goes through all objects again and again, which with
    scikit-learn and pandas takes longer than a fit: 170 ms of 230."""
    known = "gc" in sys.modules
    import gc

    gc.collect()
    gc.freeze()
    if not known:
        del sys.modules["gc"]


def take_over(program):
    """Takes on what is only known now: working directory, environment variables, open files."""
    import resource

    os.chdir(program["cwd"])
    os.environ.clear()
    os.environ.update(program["env"])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = program["open_files"] if hard == resource.RLIM_INFINITY else min(program["open_files"], hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def replace_interpreter(program):
    import _signal

    # This interpreter ignores them, and what is ignored stays so across exec.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    os.execvpe(program["argv"][0], program["argv"], program["env"])


def prepare(program):
    """Makes this interpreter one that was started with program["argv"]; false when only a new one would do."""
    kind, target, arguments = program["kind"], program["target"], program["arguments"]
    code = None
    if kind == "script":
        if not os.path.isfile(target) or target != os.path.normpath(target) or not target.endswith(".py"):
            return False
        path = os.path.join(program["cwd"], target)
        if path == DEFAULT_SCRIPT and target == "main.py":
            claim_argv(program, [target, *arguments])
            return True
        code = compile_or_none(path)
        if code is None:
            return False
        claim_argv(program, [target, *arguments])
        first_entry = os.path.dirname(os.path.realpath(target))
    elif kind == "module":
        claim_argv(program, ["-m", *arguments])
        first_entry, path = program["cwd"], None
    else:
        code = compile(target, "<string>", "exec", 0, True)
        claim_argv(program, ["-c", *arguments])
        first_entry, path = "", None
    divert(kind, target, code, path, first_entry)
    return True


def claim_argv(program, argv):
    sys.argv[:] = argv
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[1:] = program["argv"][1:]


def compile_or_none(path):
    try:
        with open(path, "rb") as file:
            return compile(file.read(), path, "exec", 0, True)
    except Exception:
        # A new interpreter reports it exactly as it should be reported.
        return None


def divert(kind, target, code, path, first_entry):
    """An importer for the default script makes the interpreter treat it as a folder with a __main__, that is, call
    runpy._run_module_as_main("__main__", False). The stand-in for runpy answers with something that runs our program."""
    from _collections import defaultdict
    from _functools import partial

    class Diversion(type(sys)):
        def __getattr__(self, name):
            if name != "_run_module_as_main":
                raise AttributeError(name)
            del sys.modules["runpy"]
            del sys.path_importer_cache[DEFAULT_SCRIPT]
            sys.path[0] = first_entry
            if kind == "module":
                import runpy

                run = partial(runpy._run_module_as_main, target, True)
            else:
                run = partial(exec, code, main_globals(path))
            # C callables alone, so that no Python frame is added: a property's getter drops the second argument, a
            # defaultdict's factory the first.
            return property(defaultdict(run).__getitem__).__get__

    sys.path_importer_cache[DEFAULT_SCRIPT] = object()
    sys.modules["runpy"] = Diversion("runpy")


def main_globals(path):
    main = sys.modules["__main__"].__dict__
    if path is not None:
        from _frozen_importlib_external import SourceFileLoader

        main["__file__"] = path
        main["__cached__"] = None
        main["__loader__"] = SourceFileLoader("__main__", path)
    return main


boot()
