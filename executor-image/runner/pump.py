"""From the task's pipes into frames of the journal, and from the spec's bytes into its stdin."""

import os
import time

import journal as journal_format

READ_BYTES = journal_format.MAX_PAYLOAD
HEADER_SIZE = journal_format.HEADER.size

# Below this a read is a tiny write of a chatty task. The first goes out at once; while more follow within the interval
# they share a frame, or a task that writes byte by byte would make fourteen bytes of journal out of each.
TINY = 4096
TINY_INTERVAL = 0.001

# A tiny read after large ones (a title before its table) goes out at once too: waiting would halt a fast writer for a
# millisecond each time. Only while frames are this small a part of the journal, whose room for them is small as well.
FREE_FRAMES = 4096
BYTES_PER_FRAME = 16384


class Stream:
    """One of the task's two output pipes, with the bytes read from it that are not in the journal yet."""

    def __init__(self, fd, kind, name):
        self.fd = fd
        self.kind = kind
        self.name = name
        self.open = True
        self.read_bytes = 0
        self.dropped = 0
        self.held = 0
        self.buffer = bytearray(HEADER_SIZE + READ_BYTES)
        self._view = memoryview(self.buffer)

    def fill(self):
        """Reads what is there, up to what one frame holds; returns how many bytes that added."""
        before = self.held
        while self.held < READ_BYTES:
            try:
                count = os.readv(self.fd, [self._view[HEADER_SIZE + self.held :]])
            except BlockingIOError:
                break
            if count == 0:
                self.open = False
                break
            self.held += count
        added = self.held - before
        self.read_bytes += added
        return added


class Pump:
    """Moves output under the log budget, which counts the bytes of both streams together."""

    def __init__(self, pipes, journal, budget):
        self._journal = journal
        self._left = budget
        self.stdout = Stream(pipes.from_stdout, journal_format.STDOUT, "stdout")
        self.stderr = Stream(pipes.from_stderr, journal_format.STDERR, "stderr")
        self.streams = (self.stdout, self.stderr)
        self._last_frame = 0.0
        self._frames = 0
        self._bytes = 0
        self._tiny_before = False
        self.over_budget = False

    def move(self, stream):
        """Reads once; keeps tiny output back while it comes too fast for frames of its own."""
        stream.fill()
        tiny, before = stream.held < TINY, self._tiny_before
        self._tiny_before = tiny
        if not tiny or (not before and self._frames < FREE_FRAMES + self._bytes // BYTES_PER_FRAME):
            self.flush()
        else:
            self.flush_due()

    def flush_due(self):
        if time.monotonic() - self._last_frame >= TINY_INTERVAL:
            self.flush()

    def holds(self):
        return self.stdout.held > 0 or self.stderr.held > 0

    def flush(self):
        for stream in self.streams:
            if stream.held:
                self._write(stream)

    def _write(self, stream):
        length, stream.held = stream.held, 0
        kept = min(length, self._left)
        room = self._journal.room()
        if room is not None and kept + HEADER_SIZE > room:
            kept = max(0, room - HEADER_SIZE)
        self._left -= kept
        if kept < length:
            stream.dropped += length - kept
            self.over_budget = True
            self._left = 0
        if kept:
            self._journal.frame_in_place(stream.kind, stream.buffer, kept)
            self._frames += 1
            self._bytes += kept
        self._last_frame = time.monotonic()

    def keep_no_more(self):
        """The journal cannot take any: what still comes is only counted."""
        self._left = 0

    def drain(self):
        """After the last process is gone: what is still in the pipes. They hold no more than their size."""
        for stream in self.streams:
            while stream.open and stream.fill():
                self.flush()
        self.flush()

    def write_gaps(self):
        for stream in self.streams:
            if stream.dropped:
                self._journal.record(journal_format.GAP, {"stream": stream.name, "bytes": stream.dropped})


class Feeder:
    """Gives the task its stdin, then end of file, without ever waiting for a task that does not read."""

    def __init__(self, fd, data):
        self.fd = fd
        self._rest = memoryview(data)

    def feed(self):
        """Writes what fits; returns whether more is left to write."""
        try:
            while len(self._rest):
                self._rest = self._rest[os.write(self.fd, self._rest) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # The task closed its stdin; what it did not want is not an error.
            pass
        self.close()
        return False

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
