"""Flat PNG images for the two textures that LIBERO insists on reading from files."""

from __future__ import annotations

import struct
import zlib

Rgb = tuple[int, int, int]


def tile_png(colour: Rgb, joint: Rgb, size: int = 16) -> bytes:
    """A square tile of one colour with a one-pixel joint on two sides (8-bit RGB PNG).

    Args:
        colour: red, green, blue of the tile, 0 to 255.
        joint: the same of the joint; equal to ``colour`` for a plain wall.
        size: pixels a side.
    """
    first = bytes(joint) * size
    other = bytes(joint) + bytes(colour) * (size - 1)
    # Every row starts with its filter type, 0 = none (PNG specification, section 9).
    rows = b"".join(b"\0" + (first if row == 0 else other) for row in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
