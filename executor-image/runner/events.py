"""Signals and the ends of child processes, turned into something a poll loop can wait for."""

import os
import signal

CLD_KILLED = 2
CLD_DUMPED = 3

# Per call, so that a storm of dying orphans cannot keep PID 1 from its pipes and deadlines.
MOST_REAPED = 512


# PID 1 exits with it where SIGTERM is a cluster's word that its sandbox has to go.
EVICTED = 4


class Events:
    """SIGTERM or SIGUSR2 asks to stop, SIGUSR1 to stop now, SIGCHLD to look at the children. Poll `fd`, then call `clear`.
    With `evict_on_term` SIGTERM is not the server's: whatever the task makes of it must not look like its own end."""

    def __init__(self, evict_on_term=False):
        self.stop_asked = False
        self.kill_asked = False
        self.asked = 0
        self.fd, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _evict if evict_on_term else self._stop)
        signal.signal(signal.SIGUSR2, self._stop)
        signal.signal(signal.SIGUSR1, self._kill)
        signal.signal(signal.SIGCHLD, _woken)
        # The journal's size limit answers with EFBIG instead.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def _stop(self, _number, _frame):
        self.stop_asked = True
        self.asked += 1

    def _kill(self, _number, _frame):
        self.kill_asked = True
        self.asked += 1

    def clear(self):
        try:
            while os.read(self.fd, 4096):
                pass
        except BlockingIOError:
            pass


def _evict(_number, _frame):
    # The kernel ends every other process of the sandbox with PID 1.
    os._exit(EVICTED)


def _woken(_number, _frame):
    """SIGCHLD only has to wake the poll."""


class Ended:
    """How one process ended."""

    __slots__ = ("pid", "exit_code", "signal", "name", "max_rss_bytes")

    def __init__(self, pid, status, name, usage):
        self.pid = pid
        killed = os.WIFSIGNALED(status)
        self.signal = os.WTERMSIG(status) if killed else None
        self.exit_code = None if killed else os.WEXITSTATUS(status)
        self.name = name
        self.max_rss_bytes = usage.ru_maxrss * 1024

    def describe(self):
        return None if self.name is None else "%s (pid %d)" % (self.name, self.pid)


class Reaper:
    """Reaps every child, orphans included, and remembers the ends that somebody waits for."""

    def __init__(self):
        self._watched = {}
        self.last_killed = None
        self.largest_rss_bytes = 0

    def watch(self, pid):
        self._watched[pid] = None

    def ended(self, pid):
        return self._watched.get(pid)

    def reap(self):
        """Returns false when no child is left at all."""
        for _ in range(MOST_REAPED):
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if info is None:
                return True
            self._collect(info)
        return True

    def _collect(self, info):
        killed = info.si_code in (CLD_KILLED, CLD_DUMPED)
        # A zombie still has its name, until it is waited for.
        name = _name_of(info.si_pid) if killed else None
        pid, status, usage = os.wait4(info.si_pid, 0)
        ended = Ended(pid, status, name, usage)
        self.largest_rss_bytes = max(self.largest_rss_bytes, ended.max_rss_bytes)
        if ended.signal == signal.SIGKILL:
            self.last_killed = ended
        if pid in self._watched:
            self._watched[pid] = ended


def _name_of(pid):
    try:
        fd = os.open("/proc/%d/comm" % pid, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # The task chose it: at most 15 bytes, of which only what prints is shown.
        text = os.read(fd, 64).decode("utf-8", "replace").rstrip("\n")
        return "".join(letter if letter.isprintable() else "?" for letter in text) or None
    except OSError:
        return None
    finally:
        os.close(fd)
