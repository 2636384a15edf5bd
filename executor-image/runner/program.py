"""How a program is executed: as `python3 -u ...` would be, in a pre-started interpreter where that cannot be told apart."""

import os
import sys
from marshal import dumps

import identity

INTERPRETER = "python3"
BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot")

# Read once, when an interpreter, the C library or a numeric library starts: too late for a process that runs already.
EARLY_NAMES = frozenset(("HOME", "PATH", "LANG", "LANGUAGE", "TZ", "TZDIR", "LOCPATH", "NLSPATH", "GLIBC_TUNABLES", "VIRTUAL_ENV"))
EARLY_PREFIXES = (
    *("PYTHON", "LD_", "LC_", "MALLOC_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "ATLAS_"),
    *("VECLIB_", "NUMEXPR_", "NUMBA_", "NPY_", "NUMPY_", "SCIPY_", "SKLEARN_", "PANDAS_", "ARROW_", "POLARS_", "RAYON_"),
    *("TBB_", "CUDA_", "NVIDIA_", "TF_", "XLA_", "JAX_", "TORCH", "PYTORCH_", "HF_", "TRANSFORMERS_", "JOBLIB_", "MPL"),
)

# A bare interpreter starts in tens of milliseconds; one that does not answer for this long will not.
READY_SECONDS = 10.0


def has_early_variable(env):
    return any(name in EARLY_NAMES or name.startswith(EARLY_PREFIXES) for name in env)


def command_line(program, args):
    if program.kind == "command":
        return [*program.command, *args]
    return [INTERPRETER, "-u", *_interpreter_arguments(program), *args]


def _interpreter_arguments(program):
    if program.kind == "script":
        # A leading dash would make it an option.
        return ["./" + program.script if program.script.startswith("-") else program.script]
    if program.function is None:
        return ["-m", program.module]
    return ["-c", _call(program)]


def _call(program):
    return "import importlib, sys; importlib.import_module(%r).%s(*sys.argv[1:])" % (program.module, program.function)


def environment_variables(settings, spec):
    env = identity.base_env(settings)
    if settings.environment and "HOME" in spec.env:
        # The environment is found through the home folder; with another one Python has to be told.
        env["PYTHONUSERBASE"] = identity.HOME + "/.local"
    env.update(spec.env)
    return env


def working_directory(spec):
    return identity.WORKSPACE + ("/" + spec.working_directory if spec.working_directory else "")


class Prestarted:
    """An interpreter of the task's uid that has started, imported what it was told to, and waits for a program."""

    def __init__(self, settings, pipes):
        control, self._control = os.pipe2(os.O_CLOEXEC)
        self.status, status = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(status, True)
        env = {**identity.base_env(settings), "PYTHONPATH": BOOT}
        self.pid = os.fork()
        if self.pid == 0:
            _wait_for_program(settings, pipes, env, (control, status))
        os.close(control)
        os.close(status)
        self.preloads = bool(settings.preload)
        self._send({"preload": settings.preload})

    def is_ready(self):
        try:
            return os.read(self.status, 1) == b"R"
        except BlockingIOError:
            return False

    def run(self, spec, settings):
        program = spec.program
        argv = command_line(program, spec.args)
        if program.kind == "script":
            kind, target = "script", argv[2]
        elif program.function is None:
            kind, target = "module", program.module
        else:
            kind, target = "inline", _call(program)
        self._send(
            {
                "kind": kind,
                "target": target,
                "arguments": spec.args,
                "argv": argv,
                "env": environment_variables(settings, spec),
                "cwd": working_directory(spec),
                "open_files": spec.limits.open_files,
            }
        )
        self.close()

    def close(self):
        os.close(self._control)
        os.close(self.status)

    def _send(self, message):
        # Both ends run the same interpreter, so that marshal needs no module the program could notice.
        data = dumps(message)
        data = len(data).to_bytes(4, "big") + data
        written = 0
        while written < len(data):
            try:
                written += os.write(self._control, data[written:])
            except BrokenPipeError:
                # It died; its end is noticed where children are reaped.
                return


def _wait_for_program(settings, pipes, env, extra):
    try:
        _become(settings, pipes, identity.WORKSPACE, extra)
        os.execvpe(INTERPRETER, [INTERPRETER, "-u", "main.py"], env)
    finally:
        # Whatever is wrong here, the plain way of starting the program will meet it too, and can tell.
        os._exit(1)


def suits(spec):
    return spec.program.kind != "command" and not has_early_variable(spec.env)


def start(settings, spec, pipes):
    """Forks and executes the program; returns the pid of the main process."""
    argv = command_line(spec.program, spec.args)
    pid = os.fork()
    if pid == 0:
        _execute(settings, spec, pipes, argv)
    return pid


def _become(settings, pipes, cwd, extra=(), open_files=None):
    identity.become_task(settings, pipes.stdin, pipes.stdout, pipes.stderr, extra, open_files)
    if settings.environment:
        identity.link_environment(settings, sys.version_info)
    os.chdir(cwd)


def _execute(settings, spec, pipes, argv):
    """In a forked child; does not return."""
    try:
        env = environment_variables(settings, spec)
        _become(settings, pipes, working_directory(spec), open_files=spec.limits.open_files)
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        message = "longshore: cannot run %s: %s\n" % (argv[0], error.strerror)
        os.write(2, message.encode("utf-8", "backslashreplace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    except BaseException as error:
        os.write(2, ("longshore: cannot run %s: %r\n" % (argv[0], error)).encode("utf-8", "backslashreplace"))
        os._exit(126)
