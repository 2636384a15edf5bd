"""What a person at a terminal sees."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from .events import LogEvent, TaskEvent
from .options import Progress, ProgressCallback

# Less than this is there before a bar is drawn.
WORTH_A_BAR = 2**20


@contextmanager
def progress_shown(own: ProgressCallback | None, wanted: bool) -> Iterator[ProgressCallback | None]:
    """The caller's own callback, else a bar on standard error where that is a terminal, else nothing."""
    if own is not None or not wanted or not sys.stderr.isatty():
        yield own
        return
    bar = _UploadBar()
    try:
        yield bar
    finally:
        bar.close()


class _UploadBar:
    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._name = ""

    def __call__(self, progress: Progress) -> None:
        if progress.phase != "uploading" or progress.total_bytes - progress.stored_before < WORTH_A_BAR:
            return
        if self._bar is None or self._name != progress.name:
            self.close()
            self._name = progress.name
            self._bar = tqdm(
                desc=f"uploading {progress.name}".rstrip(),
                total=progress.total_bytes,
                initial=progress.bytes,
                unit="B",
                unit_scale=True,
            )
        self._bar.n = progress.bytes  # not update(): after a lost connection it may be less than before
        self._bar.refresh() if progress.done else self._bar.update(0)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def show_output(event: TaskEvent) -> None:
    """Passes a task's output on to this process's own, stream by stream and byte by byte where those take bytes."""
    if not isinstance(event, LogEvent):
        return
    target = sys.stdout if event.stream == "stdout" else sys.stderr
    binary = getattr(target, "buffer", None)
    if binary is None:  # a notebook's, or one that was replaced in a test
        target.write(event.data.decode(errors="replace"))
    else:
        target.flush()
        binary.write(event.data)
    target.flush()
