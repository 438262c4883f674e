"""Random access to the bytes of a file, and byte ranges of it read as if they were a file."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, BinaryIO, overload

Range = tuple[int, int]  # first byte, first byte after it

_WINDOW_BYTES = 1 << 20


class FileBytes:
    """The bytes of an open file, read on demand: supports slices, single bytes and searches.

    A memory map would do the same, but kills the process if the disk fails or the file is truncated while mapped.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self._size = os.fstat(self._descriptor).st_size
        self._begin, self._window = 0, b""

    def __len__(self) -> int:
        """Return the size of the file in bytes."""
        return self._size

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> bytes: ...

    def __getitem__(self, place: int | slice) -> int | bytes:
        """Return one byte, or the bytes of a slice; indices are non-negative and slices have no step."""
        if isinstance(place, int):
            return self[place : place + 1][0]
        begin, end = place.start or 0, self._size if place.stop is None else place.stop
        offset = begin - self._begin
        if offset < 0 or end > self._begin + len(self._window):
            end = min(end, self._size)
            if end - begin > _WINDOW_BYTES:
                return self._read(begin, end - begin)
            if offset < 0 or end > self._begin + len(self._window):
                self._begin, self._window = begin, self._read(begin, _WINDOW_BYTES)
            offset = begin - self._begin
        return self._window[offset : offset + max(0, end - begin)]

    def _read(self, begin: int, size: int) -> bytes:
        pieces = []
        while size > 0 and (piece := os.pread(self._descriptor, size, begin)):
            pieces.append(piece)
            begin, size = begin + len(piece), size - len(piece)
        return b"".join(pieces)

    def find(self, pattern: bytes, begin: int = 0, end: int | None = None) -> int:
        """Return the first position of a pattern within [begin, end), or -1 if it does not occur."""
        end = self._size if end is None else min(end, self._size)
        while begin + len(pattern) <= end:
            stop = min(begin + _WINDOW_BYTES, end)
            at = self[begin:stop].find(pattern)
            if at >= 0:
                return begin + at
            if stop == end:
                return -1
            begin = stop - len(pattern) + 1
        return -1

    def rfind(self, pattern: bytes, begin: int, end: int) -> int:
        """Return the last position of a pattern within [begin, end), or -1 if it does not occur."""
        end = min(end, self._size)
        while begin + len(pattern) <= end:
            start = max(begin, end - _WINDOW_BYTES)
            at = self[start:end].rfind(pattern)
            if at >= 0:
                return start + at
            if start == begin:
                return -1
            end = start + len(pattern) - 1
        return -1


class RangeReader(io.RawIOBase):
    """A read-only file-like view of byte ranges of an open file, concatenated."""

    def __init__(self, file: BinaryIO, ranges: Sequence[Range]) -> None:
        self._file, self._ranges = file, [(begin, end) for begin, end in ranges if end > begin]
        self._starts = [0, *accumulate(end - begin for begin, end in self._ranges)]
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position within the view, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position within the view and return it; positions outside are clamped to the nearest end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = min(max(0, origin + offset), self._starts[-1])
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with the bytes that remain in the view and return how many were read."""
        view = memoryview(buffer).cast("B")
        filled = 0
        for (begin, end), start in zip(self._ranges, self._starts, strict=False):
            offset = self._position - start
            if filled == len(view) or not 0 <= offset < end - begin:
                continue
            self._file.seek(begin + offset)
            while filled < len(view) and begin + offset < end:
                piece = self._file.read(min(len(view) - filled, end - begin - offset))
                if not piece:
                    return filled
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
                offset += len(piece)
                self._position += len(piece)
        return filled


Bytes = FileBytes | bytes


def find_content_end(data: Bytes, begin: int, end: int) -> int:
    """Return the end of `data[begin:end]` before trailing tags (ID3v1, APEv2 and Lyrics3, in any order).

    Examples:
        >>> find_content_end(b"audio" + b"TAG" + bytes(125), 0, 133)
        5
    """
    while size := _trailing_tag_bytes(data, begin, end):
        end -= size
    return end


def _trailing_tag_bytes(data: Bytes, begin: int, end: int) -> int:
    """Return the size of the tag that ends at `end`; 0 if there is none."""
    available = end - begin
    if available >= 128 and data[end - 128 : end - 125] == b"TAG":
        return 128
    if available >= 32 and data[end - 32 : end - 24] == b"APETAGEX":
        has_header = data[end - 9] & 0x80
        size = int.from_bytes(data[end - 20 : end - 16], "little") + (32 if has_header else 0)
        return size if 32 <= size <= available else 0
    if available >= 15 and data[end - 9 : end] == b"LYRICS200" and data[end - 15 : end - 9].isdigit():
        size = int(data[end - 15 : end - 9]) + 15
        return size if size <= available else 0
    return 0


def read_id3v2_size(data: Bytes, at: int) -> int:
    """Return the size in bytes of the ID3v2 tag that begins at `at`; 0 if none does."""
    head = data[at : at + 10]
    if len(head) < 10 or head[:3] != b"ID3" or head[3] > 4 or any(byte & 0x80 for byte in head[6:10]):
        return 0
    size = (head[6] << 21) | (head[7] << 14) | (head[8] << 7) | head[9]
    return size + (20 if head[5] & 0x10 else 10)
