"""The journal: an append-only file of frames. Format v1, frozen; CONTRACT.md has the table."""

import errno
import os
import time
from json import dumps
from resource import RLIMIT_FSIZE, RLIM_INFINITY, getrlimit
from struct import Struct

MAGIC = b"LSJRNL01"
MAX_PAYLOAD = 1 << 20
MAX_END = 64 << 10

STDOUT, STDERR, ACCEPTED, STAGE, GAP, END, BUILD, USAGE, SPAN = range(1, 10)

HEADER = Struct(">IBQ")
NAME_LENGTH = Struct(">H")

# What must still fit below the file size limit when the log is full: gaps, stages and the end frame.
RESERVE = 128 << 10

# A full disk may be somebody else's and pass; a file at its size limit will not grow again.
RETRY_SECONDS = 5.0
RETRY_PAUSE = 0.05


class JournalFull(Exception):
    """The journal cannot grow: its disk is full or it is as long as it may be."""


def now_micros():
    return time.time_ns() // 1000


class Journal:
    """Writes whole frames in order. A frame half written is finished before anything else, or the journal ends there."""

    def __init__(self, path):
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._size = os.fstat(self._fd).st_size
        soft, _ = getrlimit(RLIMIT_FSIZE)
        self._most = None if soft == RLIM_INFINITY else soft
        self._unfinished = b""

    def begin(self, attempt_id):
        name = attempt_id.encode("ascii")
        self._append(MAGIC + NAME_LENGTH.pack(len(name)) + name)

    def room(self):
        """How many bytes of log may still be written; None when only the disk decides."""
        return None if self._most is None else max(0, self._most - self._size - RESERVE)

    def frame(self, kind, payload):
        self._append(HEADER.pack(len(payload), kind, now_micros()) + payload)

    def record(self, kind, value):
        self.frame(kind, dumps(value, separators=(",", ":")).encode("ascii"))

    def frame_in_place(self, kind, buffer, length):
        """Writes buffer[13 : 13 + length] as one frame; the header goes into the 13 bytes the caller left free."""
        HEADER.pack_into(buffer, 0, length, kind, now_micros())
        with memoryview(buffer) as view:
            self._append(view[: HEADER.size + length])

    def try_again(self):
        """Waits a little for space and finishes the frame that did not fit; false when there is still none."""
        give_up = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                self._append(b"")
                return True
            except JournalFull:
                if time.monotonic() >= give_up:
                    return False
                time.sleep(RETRY_PAUSE)

    def _append(self, data):
        if self._unfinished:
            rest, self._unfinished = self._unfinished, b""
            self._write(rest)
        self._write(data)

    def _write(self, data):
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:] if written else data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise
            self._unfinished = bytes(data[written:])
            raise JournalFull(os.strerror(error.errno)) from error
        finally:
            self._size += written
