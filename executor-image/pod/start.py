"""PID 1 of a pod's task container: sets what Kubernetes cannot (limits, a fixed environment, a pipe for stdin) and becomes the runner."""

import os
import resource
import sys
from json import loads

RUNNER = "/longshore/runner"
SPEC = "/longshore/spec"


def main(settings, limits):
    limits = loads(limits)
    for kind, value in (
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["descriptors"]),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))
    # Opened without waiting for a writer: the runner makes itself ready meanwhile, and polls it.
    spec = os.open(SPEC, os.O_RDONLY | os.O_NONBLOCK)
    os.dup2(spec, 0)
    os.close(spec)
    os.chdir("/")
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-E", "-B", RUNNER, settings], limits["env"])


main(sys.argv[1], sys.argv[2])
