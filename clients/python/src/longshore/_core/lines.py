"""Output as lines of text."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from .events import LogEvent

# A task may write for hours without ending a line.
LONGEST_LINE = 2**20


class LineJoiner:
    """Joins the bytes of each stream to lines, which come out complete, with their line end, in the order they ended."""

    def __init__(self) -> None:
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._open: dict[str, str] = {}

    def add(self, event: LogEvent) -> Iterator[str]:
        decoder = self._decoders.get(event.stream)
        if decoder is None:
            decoder = self._decoders[event.stream] = codecs.getincrementaldecoder("utf-8")("replace")
        text = self._open.pop(event.stream, "") + decoder.decode(event.data)
        start = 0
        while (end := text.find("\n", start)) >= 0:
            yield text[start : end + 1]
            start = end + 1
        while len(text) - start > LONGEST_LINE:
            yield text[start : start + LONGEST_LINE]
            start += LONGEST_LINE
        if start < len(text):
            self._open[event.stream] = text[start:]

    def rest(self) -> Iterator[str]:
        """What was written without a line end."""
        for stream, decoder in self._decoders.items():
            text = self._open.pop(stream, "") + decoder.decode(b"", True)
            if text:
                yield text
