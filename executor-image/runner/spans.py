"""Spans that programs of the task tell of: a datagram each, on a socket that any of them can reach without a network.

PID 1 reads nothing in them. They go into the journal as they are, within a budget, and the server takes them for what they
are: claims of the task."""

import os

import journal as journal_format

VARIABLE = "LONGSHORE_SPANS"
MAX_SPAN = 8 << 10

# Per turn, so that a flood cannot keep PID 1 from its pipes and deadlines.
MOST_AT_ONCE = 64


class Spans:
    def __init__(self):
        self._socket = None
        self.name = None
        self._journal = None
        self._count = 0
        self._bytes = 0
        try:
            # The module below `socket`: all that is needed of it, in a tenth of the time.
            from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

            made = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
            name = "longshore-" + os.urandom(8).hex()
            # An abstract name is no file that somebody could see, replace or forget, and a network namespace has its own.
            made.bind(b"\0" + name.encode("ascii"))
        except (ImportError, OSError):
            # Without such sockets a task has no spans of its own, and everything else.
            return
        self._socket = made
        self.name = name

    @property
    def fd(self):
        return None if self._socket is None else self._socket.fileno()

    def begin(self, journal, budget):
        """`budget` is (count, bytes), or None where nobody wants any: then nobody is listened to."""
        if budget is None:
            self.close()
            return
        self._journal = journal
        self._count, self._bytes = budget

    def take(self):
        """Moves what has come into the journal; false once the budget is used up and nothing more is heard."""
        for _ in range(MOST_AT_ONCE):
            if self._socket is None or not self._take_one():
                break
        return self._socket is not None

    def drain(self):
        """After the last process is gone. A socket holds few datagrams, and the budget ends here too."""
        while self._socket is not None and self._take_one():
            pass
        self.close()

    def close(self):
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _take_one(self):
        try:
            data = self._socket.recv(MAX_SPAN + 1)
        except BlockingIOError:
            return False
        kept = 0 < len(data) <= MAX_SPAN
        size = len(data) + journal_format.HEADER.size if kept else 0
        room = self._journal.room()
        self._count -= 1
        self._bytes -= size
        if self._count < 0 or self._bytes < 0 or (room is not None and room < size):
            # Whoever sends from now on is told so by the kernel.
            self.close()
            return False
        if kept:
            self._journal.frame(journal_format.SPAN, data)
        return True
