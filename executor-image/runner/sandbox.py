"""The sandbox around one attempt: what is made ready before the spec, the wait for it, and the way out."""

import os
import select
import sys
import time

import identity
from events import Events, Reaper
from program import Prestarted
from spans import Spans
from spec import MAX_SPEC, BadSpec, Settings, check_spec, read_spec

JOURNAL = "/longshore/journal"
STDIN = 0

# The server hangs up as soon as it has passed the end on; this bounds the wait for one that has forgotten to.
LINGER_MS = 250


class Sandbox:
    def __init__(self, settings):
        self.settings = Settings(settings)
        self.events = Events(self.settings.evict_on_term)
        self.reaper = Reaper()
        self.pipes = identity.Pipes(self.settings)
        self.spans = Spans()
        self.prestarted = Prestarted(self.settings, self.pipes) if self.settings.prestart else None
        if self.prestarted is not None:
            self.reaper.watch(self.prestarted.pid)
        self.journal = None
        self.counters = None
        self._server = None

    def serve(self):
        """Returns PID 1's exit status."""
        # Loaded now, while the interpreter beside it starts too.
        from attempt import Attempt
        from journal import ACCEPTED, END, Journal, JournalFull
        from limits import Counters

        self.counters = Counters()
        data = self._wait_for_spec()
        if data is None:
            return 0
        try:
            attempt_id, value = read_spec(data)
        except ValueError as problem:
            sys.stderr.write("longshore runner: %s\n" % problem)
            return 2
        self.journal = Journal(JOURNAL)
        self.journal.begin(attempt_id)
        self.journal.record(ACCEPTED, {"attempt_id": attempt_id, "pid": os.getpid()})
        try:
            Attempt(check_spec(value), self).run()
        except BadSpec as problem:
            self.journal.record(END, _refusal("The server sent a spec that breaks the contract: %s." % problem))
            return 0
        except JournalFull as problem:
            # No end frame fits. The engine sees this sandbox die; a full disk is the server's to tell of.
            sys.stderr.write("longshore runner: the journal cannot be written: %s\n" % problem)
            return 3
        except Exception as problem:
            # Whatever went wrong in here, the server must learn that this attempt is over.
            sys.excepthook(*sys.exc_info())
            self._kill_everything()
            text = "%s: %s" % (type(problem).__name__, problem)
            self.journal.record(END, _refusal("The runner failed: %s." % text[:1000]))
            return 1
        self._linger()
        return 0

    def _linger(self):
        """What the engine does when PID 1 exits takes more of the machine than a short attempt did: the server's answer goes first."""
        poll = select.poll()
        poll.register(self._server, select.POLLIN)
        poll.register(self.events.fd, select.POLLIN)
        give_up = time.monotonic() + LINGER_MS / 1000
        while time.monotonic() < give_up:
            for fd, _ in poll.poll(max(1, round((give_up - time.monotonic()) * 1000))):
                if fd == self._server and not os.read(fd, 4096):
                    return
                self.events.clear()
                self.reaper.reap()
                if self.events.stop_asked or self.events.kill_asked:
                    return

    def _wait_for_spec(self):
        """The spec's bytes, or None when stdin ended or a stop came first."""
        poll = select.poll()
        poll.register(STDIN, select.POLLIN)
        poll.register(self.events.fd, select.POLLIN)
        head, size, parts = b"", None, []
        while True:
            for fd, _ in poll.poll():
                if fd == self.events.fd:
                    self.events.clear()
                    self.reaper.reap()
                    if self.events.stop_asked or self.events.kill_asked:
                        return None
                    continue
                part = os.read(STDIN, (1 << 20) if size is not None else 4 - len(head))
                if not part:
                    return None
                if size is None:
                    head += part
                    if len(head) == 4:
                        size = int.from_bytes(head, "big")
                        if size > MAX_SPEC:
                            return None
                else:
                    parts.append(part)
                    size -= len(part)
                if size is not None and size <= 0:
                    return self._take_spec(parts, size)

    def _take_spec(self, parts, rest):
        data = b"".join(parts)
        # Nothing is read after the spec but that the server hangs up.
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._server = os.dup(STDIN)
        os.dup2(null, STDIN)
        os.close(null)
        return data[: len(data) + rest] if rest < 0 else data

    def _kill_everything(self):
        try:
            os.kill(-1, 9)
        except ProcessLookupError:
            # Nothing was left.
            pass


def _refusal(message):
    """An end frame for an attempt of which nothing else is known."""
    fields = dict.fromkeys(("exit_code", "signal", "killer", "limit", "process"))
    names = ("cpu_micros", "peak_ram_bytes", "peak_storage_bytes", "peak_processes", "stdout_bytes", "stderr_bytes")
    usage = dict.fromkeys((*names, "wall_micros", "user_micros", "system_micros"), 0)
    return {
        "reason": "system_error",
        **fields,
        "limit_value": 0,
        "observed_peak": 0,
        "limits_hit": [],
        "message": message,
        "usage": usage,
        "artifacts": {"count": 0, "bytes": 0, "error": None},
    }
