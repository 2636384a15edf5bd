"""System calls that the engine's own filter may let through and no task gets: what reaches beyond the sandbox's namespaces.

AF_VSOCK sockets know no network namespace, so one would reach the hypervisor from a sandbox without a network; io_uring is a
second way into much of the kernel. Newer engines refuse both, Docker 20.10 does not. Other than native system calls (32 bit) are
refused as a whole: they number these differently."""

import os
from struct import pack

AF_VSOCK = 40
EAFNOSUPPORT = 97
ENOSYS = 38
IO_URING_FIRST, IO_URING_LAST = 425, 427
X32_BIT = 0x40000000
# Machine: its AUDIT_ARCH, its number of socket().
NATIVE = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}

LOAD, EQUAL, GREATER, AT_LEAST, RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

try:
    import ctypes
except ImportError:
    # An image with a Python that lacks it: the engine's filter is all there is.
    ctypes = None


def _program(architecture, socket):
    """Jumps count the instructions that are skipped: (if true, if false)."""
    return (
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 0, 9, architecture),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 7, 0, X32_BIT),
        (EQUAL, 2, 0, socket),
        (AT_LEAST, 0, 4, IO_URING_FIRST),
        (GREATER, 3, 4, IO_URING_LAST),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (EQUAL, 0, 1, AF_VSOCK),
        (RETURN, 0, 0, ERRNO | EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | ENOSYS),
    )


def restrict():
    """For this process and all that come from it, irrevocably. Raises OSError when the kernel takes no filter."""
    native = NATIVE.get(os.uname().machine)
    if ctypes is None or native is None:
        return
    instructions = b"".join(pack("=HBBI", *instruction) for instruction in _program(*native))
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = ctypes.create_string_buffer(pack("@HP", len(instructions) // 8, ctypes.addressof(code)))
    for option, *arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program))):
        values = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
        if libc.prctl(option, *values, ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no system call filter: %s" % os.strerror(ctypes.get_errno()))
