"""Tar headers in the one form that the server unpacks, and that the TypeScript client writes, too.

One project has one digest that way, and the server keeps it as it came, where it has to write any other tar a second time.
"""

from __future__ import annotations

# 1980, the first year that zip files can name: programs that zip their own project fail on anything earlier.
FIXED_TIME = 315_532_800
BLOCK = 512
END = bytes(2 * BLOCK)

_FILE, _FOLDER, _EXTENDED = b"0", b"5", b"x"
_MAX_NAME_BYTES = 100
_MAX_OCTAL_SIZE = 0o77777777777


def header_of(path: str, *, is_folder: bool, executable: bool, size: int = 0) -> bytes:
    """The header of an entry; before it an extended one that holds what does not fit."""
    name = _cut(path.encode())
    records = b""
    if name != path.encode():
        records += _record(b" path=%s\n" % path.encode())
    if size > _MAX_OCTAL_SIZE:
        records += _record(b" size=%d\n" % size)
    kind = _FOLDER if is_folder else _FILE
    header = _header(name, 0o755 if executable else 0o644, 0 if size > _MAX_OCTAL_SIZE else size, FIXED_TIME, kind)
    if not records:
        return header
    return _header(b"PaxHeader", 0o644, len(records), 0, _EXTENDED) + records + padding(len(records)) + header


def padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _cut(name: bytes) -> bytes:
    """The longest beginning that fits the name field without cutting a character."""
    end = min(len(name), _MAX_NAME_BYTES)
    while end < len(name) and name[end] & 0xC0 == 0x80:
        end -= 1
    return name[:end]


def _record(body: bytes) -> bytes:
    """A record begins with its own length, whose digits count too."""
    digits = len(str(len(body)))
    if len(body) + digits >= 10**digits:
        digits += 1
    return str(len(body) + digits).encode() + body


def _octal(value: int, digits: int) -> bytes:
    return b"%0*o\0" % (digits, value)


def _header(name: bytes, mode: int, size: int, time: int, kind: bytes) -> bytes:
    fields = (
        (0, name),
        (100, _octal(mode, 7)),
        (108, _octal(0, 7)),
        (116, _octal(0, 7)),
        (124, _octal(size, 11)),
        (136, _octal(time, 11)),
        (156, kind),
        (257, b"ustar\x0000"),
    )
    block = bytearray(BLOCK)
    for offset, value in fields:
        block[offset : offset + len(value)] = value
    # The checksum counts itself as spaces.
    checksum = _octal(sum(block) + 8 * ord(" "), 6) + b" "
    block[148 : 148 + len(checksum)] = checksum
    return bytes(block)
