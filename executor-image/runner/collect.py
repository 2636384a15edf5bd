"""Collect: the files that match the output globs, as one tar, by a process of the task's uid.

By now every process of the task is dead, but what it left is still hostile: links, FIFOs, sparse files of any length,
names that are not text. Nothing but regular files reached without following a link is ever opened."""

import os
import re
import stat
import time

import identity

BLOCK = 512
CHUNK = 1 << 20
USTAR_MAX_SIZE = 8 << 30
ANYTHING = ("**",)
MAGIC = re.compile(r"[*?\[]")


class OverBudget(Exception):
    """The next file would exceed the byte cap."""


class TooLate(Exception):
    """The deadline of the stage has passed."""


def collect(globs, limits, deadline, output_fd):
    """Returns {"count", "bytes", "error"}. Runs in a helper, as the task's uid."""
    os.chdir(identity.WORKSPACE)
    tar = TarWriter(output_fd, limits.artifact_bytes, deadline)
    error = None
    try:
        for path in Finder(globs, deadline).files():
            tar.add(path)
    except OverBudget:
        error = "the artifacts exceed %d bytes; %d were kept" % (limits.artifact_bytes, tar.count)
    except TooLate:
        error = "collecting took longer than %d ms; %d were kept" % (limits.artifact_ms, tar.count)
    except OSError as problem:
        error = "artifacts could not be kept: %s; %d were" % (problem.strerror, tar.count)
    tar.finish()
    if error is None and tar.skipped:
        error = "%d files were left out: their names are not text, or they could not be read" % tar.skipped
    return {"count": tar.count, "bytes": tar.bytes, "error": error}


class Finder:
    """Walks only where a glob may still match. A glob is a list of name patterns; `**` stands for any number of names."""

    def __init__(self, globs, deadline):
        self._globs = [tuple(part for part in glob.split("/") if part) for glob in globs]
        self._compiled = {}
        self._deadline = deadline

    def files(self):
        stack = [("", frozenset(glob for glob in self._globs if glob))]
        while stack:
            folder, globs = stack.pop()
            if time.monotonic() >= self._deadline:
                raise TooLate
            deeper = []
            for name in self._names(folder, globs):
                rest = self._step(globs, name)
                if not rest:
                    continue
                path = folder + "/" + name if folder else name
                mode = _mode(path)
                if stat.S_ISREG(mode) and () in rest:
                    yield path
                elif stat.S_ISDIR(mode):
                    # A glob that ends at a folder takes what is below it.
                    deeper.append((path, frozenset(glob or ANYTHING for glob in rest)))
            stack.extend(reversed(deeper))

    def _names(self, folder, globs):
        if all(not MAGIC.search(glob[0]) for glob in globs):
            return sorted({glob[0] for glob in globs})
        try:
            return sorted(os.listdir(folder or "."))
        except OSError:
            # The task took its own right to read it, or the path is too long for any system call.
            return []

    def _step(self, globs, name):
        """What is left of each glob after one more name; () is a glob that is used up."""
        rest = set()
        pending = list(globs)
        while pending:
            first, *others = pending.pop()
            others = tuple(others)
            if first == "**":
                rest.add(("**", *others))
                if others:
                    pending.append(others)
                else:
                    rest.add(())
            elif self._pattern(first).fullmatch(name):
                rest.add(others)
        return rest

    def _pattern(self, text):
        if text not in self._compiled:
            self._compiled[text] = re.compile(_translate(text), re.DOTALL)
        return self._compiled[text]


def _translate(glob):
    """`*`, `?` and `[...]` within one name. Runs of stars are one, or matching could take exponential time."""
    out, i = [], 0
    while i < len(glob):
        letter = glob[i]
        i += 1
        if letter == "*":
            if out[-1:] != [".*"]:
                out.append(".*")
        elif letter == "?":
            out.append(".")
        elif letter == "[":
            end = glob.find("]", i + 2 if glob[i : i + 1] in ("!", "^") else i + 1)
            if end < 0:
                out.append(r"\[")
                continue
            body = glob[i:end]
            negated = body[0] in "!^"
            body = re.sub(r"([\\\[\]^&~|])", r"\\\1", body[1:] if negated else body)
            out.append("[%s%s]" % ("^" if negated else "", body))
            i = end + 1
        else:
            out.append(re.escape(letter))
    return "".join(out)


def _mode(path):
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


class TarWriter:
    """ustar with a PAX header where a name or a size does not fit. A file that changes is cut or padded to its header."""

    def __init__(self, fd, budget, deadline):
        self._fd = fd
        self._left = budget
        self._deadline = deadline
        self.count = 0
        self.bytes = 0
        self.skipped = 0

    def add(self, path):
        try:
            name = path.encode("utf-8")
            # A FIFO that took the file's place must not block, a link not be followed.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, UnicodeEncodeError):
            self.skipped += 1
            return
        try:
            state = os.fstat(fd)
            if not stat.S_ISREG(state.st_mode):
                self.skipped += 1
                return
            if state.st_size > self._left:
                raise OverBudget
            start = os.fstat(self._fd).st_size
            try:
                self._write(_headers(name, state))
                self._copy(fd, state.st_size)
            except (OSError, TooLate):
                # Half a file is no artifact; nobody reads the tar before the end frame.
                os.ftruncate(self._fd, start)
                raise
            self._left -= state.st_size
        finally:
            os.close(fd)
        self.count += 1
        self.bytes += state.st_size

    def _copy(self, fd, size):
        left = size
        while left:
            if time.monotonic() >= self._deadline:
                raise TooLate
            data = os.read(fd, min(left, CHUNK)) or bytes(min(left, CHUNK))
            self._write(data)
            left -= len(data)
        self._write(bytes(-size % BLOCK))

    def finish(self):
        self._write(bytes(2 * BLOCK))

    def _write(self, data):
        view = memoryview(data)
        while len(view):
            view = view[os.write(self._fd, view) :]


def _headers(name, state):
    records = b""
    if len(name) > 100:
        records += _record(b"path", name)
    if state.st_size >= USTAR_MAX_SIZE:
        records += _record(b"size", b"%d" % state.st_size)
    mode = 0o755 if state.st_mode & 0o111 else 0o644
    mtime = min(max(0, int(state.st_mtime)), 0o77777777777)
    size = state.st_size if state.st_size < USTAR_MAX_SIZE else 0
    header = _header(name[:100], mode, size, mtime, b"0")
    if records:
        padded = records + bytes(-len(records) % BLOCK)
        return _header(b"pax", 0o644, len(records), mtime, b"x") + padded + header
    return header


def _record(name, value):
    body = b" " + name + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    if len(str(length)) + len(body) != length:
        length += 1
    return b"%d" % length + body


def _header(name, mode, size, mtime, kind):
    fields = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0" % mode,
            b"%07o\0" % 0,
            b"%07o\0" % 0,
            b"%011o\0" % size,
            b"%011o\0" % mtime,
            b" " * 8,
            kind,
            bytes(100),
            b"ustar\x0000",
        )
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]
