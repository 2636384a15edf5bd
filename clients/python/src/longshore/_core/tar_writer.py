"""The tar headers that the TypeScript client writes too, so that one project has one digest."""

from __future__ import annotations

# 1980, the first year that zip files can name: programs that zip their own project fail on anything earlier.
FIXED_TIME = 315_532_800
BLOCK = 512
END = bytes(2 * BLOCK)

_FILE, _FOLDER, _EXTENDED = b"0", b"5", b"x"


def header_of(name: str, *, is_folder: bool, executable: bool, size: int = 0) -> bytes:
    """Header of an entry, with an extended one before it where the name needs that: the form of tar-stream 3."""
    mode = 0o755 if executable else 0o644
    kind = _FOLDER if is_folder else _FILE
    split = _split(name)
    if split is not None:
        return _header(*split, mode, size, kind)
    record = _record(f" path={name}\n".encode())
    extended = _header(b"PaxHeader", b"", mode, len(record), _EXTENDED)
    return extended + record + padding(len(record)) + _header(b"PaxHeader", b"", mode, size, kind)


def padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _split(name: str) -> tuple[bytes, bytes] | None:
    """Name and prefix, where both fit and are ASCII."""
    if not name.isascii():
        return None
    parts: list[str] = []
    while len(name) > 100:
        first, slash, name = name.partition("/")
        if not slash:
            return None
        parts.append(first)
    prefix = "/".join(parts)
    return None if len(prefix) > 155 else (name.encode(), prefix.encode())


def _record(body: bytes) -> bytes:
    """A record begins with its own length, whose digits count too."""
    digits = len(str(len(body)))
    if len(body) + digits >= 10**digits:
        digits += 1
    return str(len(body) + digits).encode() + body


def _octal(value: int, digits: int) -> bytes:
    return b"%0*o " % (digits, value)


def _size(size: int) -> bytes:
    return _octal(size, 11) if size < 8**11 else b"\x80" + size.to_bytes(11, "big")


def _header(name: bytes, prefix: bytes, mode: int, size: int, kind: bytes) -> bytes:
    fields = (
        (0, name),
        (100, _octal(mode, 6)),
        (108, _octal(0, 6)),
        (116, _octal(0, 6)),
        (124, _size(size)),
        (136, _octal(FIXED_TIME, 11)),
        (156, kind),
        (257, b"ustar\x0000"),
        (329, _octal(0, 6)),
        (337, _octal(0, 6)),
        (345, prefix),
    )
    block = bytearray(BLOCK)
    for offset, value in fields:
        block[offset : offset + len(value)] = value
    # The checksum counts itself as spaces.
    checksum = _octal(sum(block) + 8 * ord(" "), 6)
    block[148 : 148 + len(checksum)] = checksum
    return bytes(block)
