"""PID 1 of a sandbox: waits for one spec on stdin, runs it as another uid, writes the journal, ends. See ../CONTRACT.md."""

import sys

from sandbox import Sandbox

sys.exit(Sandbox(sys.argv[1]).serve())
