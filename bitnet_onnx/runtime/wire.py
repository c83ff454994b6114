"""The wire format of Protocol Buffers: messages are read and written field by field.

Knows no message's fields.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["field", "fields", "pieces", "varint"]


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field; numbers of a fixed width are passed over."""
    for number, value, _ in pieces(message):
        if value is not None:
            yield number, value


def pieces(message: bytes) -> Iterator[tuple[int, int | bytes | None, slice]]:
    """Yield the number and the value of each field, and its place in the message.

    The value of a number of a fixed width is None.
    """
    at = 0
    while at < len(message):
        start = at
        key, at = varint(message, at)
        wire = key & 7
        value: int | bytes | None = None
        if wire == 0:
            value, at = varint(message, at)
        elif wire == 2:
            size, at = varint(message, at)
            value = message[at : at + size]
            at += size
        else:
            at += 8 if wire == 1 else 4
        yield key >> 3, value, slice(start, at)


def varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place after it."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def field(number: int, content: bytes) -> bytes:
    """Return a field of bytes."""
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
