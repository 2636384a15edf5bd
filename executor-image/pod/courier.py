"""The second container of a pod: keeps the pod until its server has everything, and carries bytes between the two.

`wait IDLE LIFE` is its PID 1. `serve` is started once per connection of the server and speaks over stdin and stdout:

  request   u32 length, JSON {"op", ...}; "input" and "begin" are followed by pieces, each u32 length and bytes, and u32 0;
            "unpack" is followed by files, each u32 length, JSON {"path", "executable"} and such pieces, and u32 0
  answer    u32 length, JSON, and as many bytes as its "bytes" says; {"error"} instead where something is wrong

Whoever creates `begun` owns the pipe to the runner, so that a runner gets one spec or the end of file, never both."""

import errno
import os
import select
import signal
import sys
import time
from json import dumps, loads

DATA = "/longshore/data"
# Volumes of the pod's that the runner's container sees read-only.
FOLDERS = {"environment": "/longshore/environment", "tools": "/longshore/tools"}
STDIN, STDOUT = 0, 1
MOST_REQUEST = 64 << 10
MOST_PIECE = 1 << 20
MOST_READ = 4 << 20
LEAST_PAUSE, MOST_PAUSE = 0.002, 0.05


class Refused(Exception):
    pass


def wait(idle_seconds, life_seconds):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(idle_seconds)
    if hang_up():
        return
    time.sleep(max(0, life_seconds - idle_seconds))


def claim():
    try:
        os.close(os.open(DATA + "/begun", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return True
    except FileExistsError:
        return False


def open_pipe():
    try:
        pipe = os.open(DATA + "/spec", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise Refused("the runner has ended")
        raise
    os.set_blocking(pipe, True)
    return pipe


def hang_up():
    """The runner reads end of file and ends; false when it has its spec already."""
    if not claim():
        return False
    try:
        os.close(open_pipe())
    except Refused:
        # It ended by itself.
        pass
    return True


def read_exactly(length):
    parts = []
    while length > 0:
        part = os.read(STDIN, min(length, 1 << 20))
        if not part:
            # The server hung up, in the middle of a message or between two.
            os._exit(0)
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def read_length(most):
    length = int.from_bytes(read_exactly(4), "big")
    if length > most:
        raise Refused("a message of %d bytes, more than %d" % (length, most))
    return length


def pieces():
    while True:
        length = read_length(MOST_PIECE)
        if length == 0:
            return
        yield read_exactly(length)


def write_all(fd, data):
    view = memoryview(data)
    while len(view) > 0:
        view = view[os.write(fd, view) :]


def answer(value, data=b""):
    head = dumps(value).encode("ascii")
    write_all(STDOUT, len(head).to_bytes(4, "big") + head + data)


def take_input(_):
    total = 0
    fd = os.open(DATA + "/input", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
    try:
        for piece in pieces():
            write_all(fd, piece)
            total += len(piece)
    finally:
        os.close(fd)
    answer({"input_bytes": total})


def unpack(request):
    root = FOLDERS[request["folder"]]
    os.umask(0o022)
    os.chmod(root, 0o755)
    count = 0
    while True:
        length = read_length(MOST_REQUEST)
        if length == 0:
            break
        file = loads(read_exactly(length))
        write_file(root, file["path"], 0o755 if file["executable"] else 0o644)
        count += 1
    answer({"files": count})


def write_file(root, path, mode):
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise Refused("no path %r" % path)
    target = root + "/" + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # One that is there is kept, and filled: another container may have it mounted.
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        for piece in pieces():
            write_all(fd, piece)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def begin(_):
    message = b"".join(pieces())
    if not claim():
        raise Refused("it has its spec already, or was told to end")
    pipe = open_pipe()
    try:
        write_all(pipe, message)
    except BrokenPipeError:
        raise Refused("the runner ended while it was given its spec")
    finally:
        os.close(pipe)
    answer({"begun": True})


def stop(_):
    answer({"hung_up": hang_up()})


def read(request):
    """Waits for the file to grow beyond `offset`, at most wait_ms, or until the server says something else."""
    name = request["file"]
    if name not in ("journal", "artifacts"):
        raise Refused("no file %r" % name)
    offset, length = request["offset"], min(request["length"], MOST_READ)
    give_up = time.monotonic() + request["wait_ms"] / 1000
    pause = LEAST_PAUSE
    fd = os.open("%s/%s" % (DATA, name), os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while True:
            data = os.pread(fd, length, offset)
            left = give_up - time.monotonic()
            if data or left <= 0 or select.select([STDIN], [], [], min(pause, left))[0]:
                break
            pause = min(2 * pause, MOST_PAUSE)
        answer({"bytes": len(data), "size": os.fstat(fd).st_size}, data)
    finally:
        os.close(fd)


OPERATIONS = {"input": take_input, "unpack": unpack, "begin": begin, "stop": stop, "read": read}


def serve():
    while True:
        try:
            request = loads(read_exactly(read_length(MOST_REQUEST)))
            OPERATIONS[request["op"]](request)
        except BrokenPipeError:
            return
        except (Refused, OSError, KeyError, ValueError) as problem:
            # What is left of the request cannot be told from the next one: this connection ends.
            answer({"error": str(problem) or type(problem).__name__})
            return


if sys.argv[1] == "wait":
    wait(float(sys.argv[2]), float(sys.argv[3]))
else:
    serve()
