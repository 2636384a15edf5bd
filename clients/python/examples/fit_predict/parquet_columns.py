"""The names of a Parquet file's columns, read from its last bytes: enough to refuse wrong data before it is sent.

A sandbox has pandas and pyarrow; whoever submits to it need not.
"""

import os
import struct

MAGIC = b"PAR1"
MOST_FOOTER_BYTES = 64 * 2**20

# Types of Thrift's compact protocol, in which the footer is written.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
# Of a file's metadata the list of schema elements; of an element its name and how many children it has.
SCHEMA, NAME, CHILDREN = 2, 4, 5


class NotParquet(ValueError):
    """The file is no Parquet file, or is cut off."""


def columns(path):
    """Names of the top-level columns, in their order. Raises NotParquet."""
    try:
        elements = _Thrift(_footer(path)).struct().get(SCHEMA, [])
        names, index = [], 1
        while index < len(elements):
            names.append(elements[index][NAME].decode())
            index += _size(elements, index)
        return names
    except (IndexError, KeyError, AttributeError, TypeError, ValueError, struct.error) as error:
        raise NotParquet(f"{path} is no Parquet file: {error}") from error


def _footer(path):
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < 12:
            raise ValueError(f"it has {size} bytes")
        file.seek(size - 8)
        length, magic = struct.unpack("<I4s", file.read(8))
        if magic != MAGIC or length > min(size - 12, MOST_FOOTER_BYTES):
            raise ValueError("it does not end as one")
        file.seek(size - 8 - length)
        return file.read(length)


def _size(elements, index):
    """How many elements a column is made of: itself and, where it is nested, all below it."""
    end = index + 1
    for _ in range(elements[index].get(CHILDREN, 0)):
        end += _size(elements, end)
    return end - index


class _Thrift:
    """Reads structs as dicts of field number and value."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def struct(self):
        fields, number = {}, 0
        while True:
            header = self._byte()
            if header == 0:
                return fields
            kind = header & 0x0F
            number = number + (header >> 4) if header >> 4 else self._zigzag()
            fields[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind)

    def _value(self, kind):
        if kind in (TRUE, FALSE, BYTE):
            return self._byte()
        if kind in (I16, I32, I64):
            return self._zigzag()
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind in (LIST, SET):
            header = self._byte()
            count = header >> 4 if header >> 4 < 15 else self._varint()
            if count > len(self._data):
                raise ValueError("its footer is damaged")
            return [self.struct() if header & 0x0F == STRUCT else self._value(header & 0x0F) for _ in range(count)]
        if kind == STRUCT:
            return self.struct()
        raise ValueError(f"its footer holds the unknown type {kind}")

    def _byte(self):
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, count):
        self._at += count
        if self._at > len(self._data):
            raise ValueError("its footer is cut off")
        return self._data[self._at - count : self._at]

    def _varint(self):
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _zigzag(self):
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
