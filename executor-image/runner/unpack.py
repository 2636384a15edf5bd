"""Stage in: canonical tars, or a snippet, into the workspace, by a process of the task's uid.

The server wrote these tars itself: ustar, with PAX headers for long paths and large sizes, holding regular files and folders
under relative, normalised names. Anything else in them is refused rather than interpreted."""

import errno
import os

import identity

SNIPPET = identity.WORKSPACE + "/main.py"
BLOCK = 512
CHUNK = 1 << 20
MAX_PAX = 64 << 10
FULL = (errno.ENOSPC, errno.EDQUOT)

FILE_TYPES = (b"0", b"\0")
FOLDER_TYPE = b"5"
PAX_TYPE = b"x"


class Refused(Exception):
    """The archive holds something it may not."""


def stage_in(spec, input_fd):
    """Returns {"files", "bytes"} or {"error", "errno"?}. Runs in a helper, as the task's uid."""
    try:
        os.chdir(identity.WORKSPACE)
        files, size = Unpacker(input_fd, spec.input_bytes).run() if spec.input_bytes else (0, 0)
        if spec.code is not None:
            write_snippet(spec.code)
            files += 1
        os.chdir(identity.WORKSPACE + "/" + spec.working_directory)
    except Refused as problem:
        return {"error": "the project cannot be unpacked: %s" % problem}
    except OSError as problem:
        return {"error": describe(problem, spec), "errno": problem.errno}
    except UnicodeEncodeError:
        return {"error": "the snippet holds characters that UTF-8 cannot encode"}
    return {"files": files, "bytes": size}


def stage_snippet(spec):
    """The same for a snippet alone, fast enough for PID 1 to do it itself: nothing in here waits for anybody."""
    try:
        write_snippet(spec.code)
    except OSError as problem:
        return {"error": describe(problem, spec), "errno": problem.errno}
    except UnicodeEncodeError:
        return {"error": "the snippet holds characters that UTF-8 cannot encode"}
    return {"files": 1, "bytes": len(spec.code)}


def describe(problem, spec):
    if problem.errno in FULL:
        return "the project does not fit into the storage of %d bytes" % spec.limits.storage_bytes
    name = problem.filename
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    if name == identity.WORKSPACE + "/" + spec.working_directory:
        return "working_directory %r is not a folder of the project" % spec.working_directory
    return "the project cannot be unpacked: %s%s" % (problem.strerror, ": %r" % name if name else "")


def write_snippet(code):
    data = memoryview(code.encode("utf-8"))
    # Not waiting: what was preloaded may have made a pipe of that name, with nobody at its other end.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(SNIPPET, flags, 0o644)
    try:
        while len(data):
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


class Unpacker:
    def __init__(self, fd, length):
        self._fd = fd
        self._offset = 0
        self._length = length
        self._chunk = b""
        self._chunk_start = 0
        self._folders = {b""}
        self._files = 0
        self._bytes = 0

    def run(self):
        extra, ended = {}, False
        while self._offset + BLOCK <= self._length:
            header = self._take(BLOCK)
            ended = header == bytes(BLOCK)
            if ended:
                # Another tar may follow: that of the inputs.
                continue
            check_sum(header)
            kind = header[156:157]
            size = extra.get(b"size", octal(header[124:136]))
            if size > self._length - self._offset:
                raise Refused("it ends in the middle of an entry")
            if kind == PAX_TYPE:
                extra = pax_records(self._take_padded(size))
                continue
            path = extra.get(b"path") or name_of(header)
            extra = {}
            if kind == FOLDER_TYPE:
                self._make_folder(checked(path.rstrip(b"/")))
            elif kind in FILE_TYPES:
                self._write_file(checked(path), octal(header[100:108]), size)
            else:
                raise Refused("%r is neither a file nor a folder" % path.decode("utf-8", "replace"))
        if not ended:
            raise Refused("it has no end")
        return self._files, self._bytes

    def _take(self, size):
        start = self._offset - self._chunk_start
        if start < 0 or start + size > len(self._chunk):
            self._chunk = os.pread(self._fd, max(size, CHUNK), self._offset)
            self._chunk_start, start = self._offset, 0
            if len(self._chunk) < size:
                raise Refused("it is shorter than announced")
        self._offset += size
        return self._chunk[start : start + size]

    def _take_padded(self, size):
        if size > MAX_PAX:
            raise Refused("a header of %d bytes" % size)
        return self._take(size + -size % BLOCK)[:size]

    def _make_folder(self, path):
        if path in self._folders:
            return
        parent = path.rpartition(b"/")[0]
        if parent not in self._folders:
            self._make_folder(parent)
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            # Made before the spec came, by something that was preloaded. A link must not lead anywhere else.
            if os.path.islink(path) or not os.path.isdir(path):
                raise
        self._folders.add(path)

    def _write_file(self, path, mode, size):
        self._make_folder(path.rpartition(b"/")[0])
        permissions = 0o444 if not mode & 0o222 else 0o755 if mode & 0o111 else 0o644
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, permissions)
        except FileExistsError:
            raise Refused("%r is there twice" % path.decode("utf-8", "replace")) from None
        end = self._offset + size
        while self._offset < end:
            data = memoryview(self._take(min(end - self._offset, CHUNK)))
            while len(data):
                data = data[os.write(fd, data) :]
        os.close(fd)
        self._offset += -size % BLOCK
        self._files += 1
        self._bytes += size


def check_sum(header):
    if octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
        raise Refused("a header's checksum is wrong")


def octal(field):
    text = field.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise Refused("a header's number is not octal") from None


def name_of(header):
    name = header[:100].rstrip(b"\0")
    prefix = header[345:500].rstrip(b"\0") if header[257:262] == b"ustar" else b""
    return prefix + b"/" + name if prefix else name


def pax_records(data):
    records = {}
    while data:
        length, _, rest = data.partition(b" ")
        if not length.isdigit() or not len(length) + 3 < int(length) <= len(data):
            raise Refused("a PAX header does not parse")
        record, data = rest[: int(length) - len(length) - 2], data[int(length) :]
        name, _, value = record.partition(b"=")
        records[name] = value
    if b"size" in records:
        if not records[b"size"].isdigit():
            raise Refused("a PAX header does not parse")
        records[b"size"] = int(records[b"size"])
    return records


def checked(path):
    parts = path.split(b"/")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise Refused("the name %r is not a relative, normalised path" % path.decode("utf-8", "replace"))
    return path
