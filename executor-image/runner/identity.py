"""How a process of the task comes to be: another uid, no privileges, nothing inherited but what it was given."""

import os
import resource
import signal
from fcntl import F_DUPFD_CLOEXEC, fcntl

import seccomp

HOME = "/home/task"
WORKSPACE = "/workspace"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# PID 1 itself never opens more than a few dozen.
RUNNER_DESCRIPTORS = 256

PIPE_BYTES = 256 << 10
F_SETPIPE_SZ = 1031


def base_env(settings):
    path = os.environ.get("PATH") or DEFAULT_PATH
    if settings.environment:
        path = "%s/bin:%s" % (settings.environment, path)
    return {"PATH": path, "HOME": HOME, "USER": "task", "LOGNAME": "task", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}


class Pipes:
    """The task's stdin, stdout and stderr. They belong to the task's uid, so that it can open /dev/stdout again and so
    that the kernel counts their memory, of which each uid has little, against this sandbox and no other."""

    def __init__(self, settings):
        os.setresgid(settings.gid, settings.gid, 0)
        os.setresuid(settings.uid, settings.uid, 0)
        try:
            self.stdin, self.to_stdin = os.pipe2(os.O_CLOEXEC)
            self.from_stdout, self.stdout = os.pipe2(os.O_CLOEXEC)
            self.from_stderr, self.stderr = os.pipe2(os.O_CLOEXEC)
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
        for fd in (self.stdout, self.stderr):
            _widen(fd)
        for fd in (self.to_stdin, self.from_stdout, self.from_stderr):
            os.set_blocking(fd, False)

    def close_task_ends(self):
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)


def _widen(fd):
    size = PIPE_BYTES
    while size > 4096:
        try:
            fcntl(fd, F_SETPIPE_SZ, size)
            return
        except OSError:
            # The uid's allowance of pipe memory is used up, or this kernel has no such call: a smaller pipe works too.
            size //= 4


class ActingAsTask:
    """PID 1 touches the task's files with the task's rights alone. Its real and saved ids stay root's, so that no process
    of the task may signal or trace it meanwhile."""

    def __init__(self, settings):
        self._settings = settings

    def __enter__(self):
        os.setegid(self._settings.gid)
        os.seteuid(self._settings.uid)

    def __exit__(self, *_):
        os.seteuid(0)
        os.setegid(0)


def become_task(settings, stdin, stdout, stderr, extra=(), open_files=None):
    """In a forked child: gives up everything that is the runner's. `extra` descriptors become 3, 4 and so on."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(fd, b"1000")
        finally:
            os.close(fd)
    except OSError:
        # Some kernels refuse or lack it; the sandbox's own memory limit holds all the same.
        pass
    os.setsid()
    os.nice(19)
    _arrange_descriptors((stdin, stdout, stderr, *extra))
    _set_limits(open_files)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    os.setgroups([])
    os.setresgid(settings.gid, settings.gid, settings.gid)
    os.setresuid(settings.uid, settings.uid, settings.uid)
    seccomp.restrict()


def _arrange_descriptors(fds):
    # Copied out of the way first: a source may sit where another one has to go.
    high = [fcntl(fd, F_DUPFD_CLOEXEC, RUNNER_DESCRIPTORS) for fd in fds]
    for target, fd in enumerate(high):
        os.dup2(fd, target)
    for fd in high:
        os.close(fd)
    os.closerange(len(fds), RUNNER_DESCRIPTORS)


def _set_limits(open_files):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The soft limit is the journal's. A task's own files end where its storage ends.
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if open_files:
        limit_open_files(resource, open_files)


def limit_open_files(resource, wanted):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def link_environment(settings, version):
    """Makes the environment the task's own site-packages: as after `pip install --user`, so .pth files count, child
    interpreters find it too, and nothing of it is ever on the path of PID 1."""
    folder = "%s/.local/lib/python%d.%d" % (HOME, version[0], version[1])
    os.makedirs(folder, exist_ok=True)
    try:
        os.symlink(settings.environment, folder + "/site-packages")
    except FileExistsError:
        # The pre-started interpreter was here first.
        pass
