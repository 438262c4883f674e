"""Byte ranges of one file, read as if they were a file of their own."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, BinaryIO, overload

Range = tuple[int, int]  # first byte, first byte after it


_WINDOW_BYTES = 1 << 20


class FileBytes:
    """The bytes of an open file, read where they are asked for: a slice, one byte, or a search.

    A memory map would do the same, but kills the process where the disk fails or the file is cut while it is mapped.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self._size = os.fstat(self._descriptor).st_size
        self._begin, self._window = 0, b""

    def __len__(self) -> int:
        """The size of the file in bytes."""
        return self._size

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> bytes: ...

    def __getitem__(self, place: int | slice) -> int | bytes:
        """A byte, or the bytes of a slice without a step; both count from the start."""
        if isinstance(place, int):
            return self[place : place + 1][0]
        begin, end = place.start or 0, self._size if place.stop is None else place.stop
        inside = begin - self._begin
        if inside < 0 or end > self._begin + len(self._window):
            if end > self._size:
                end = self._size
            if end - begin > _WINDOW_BYTES:
                return self._read(begin, end - begin)
            if inside < 0 or end > self._begin + len(self._window):
                self._begin, self._window = begin, self._read(begin, _WINDOW_BYTES)
            inside = begin - self._begin
        return self._window[inside : inside + max(0, end - begin)]

    def _read(self, begin: int, size: int) -> bytes:
        pieces = []
        while size > 0 and (piece := os.pread(self._descriptor, size, begin)):
            pieces.append(piece)
            begin, size = begin + len(piece), size - len(piece)
        return b"".join(pieces)

    def find(self, pattern: bytes, begin: int = 0, end: int | None = None) -> int:
        """The first place of a pattern that lies whole within begin and end; -1 where it is not there."""
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
        """The last place of a pattern that lies whole within begin and end; -1 where it is not there."""
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


class Ranges(io.RawIOBase):
    """A read-only view of the given byte ranges of an open file, one after the other."""

    def __init__(self, file: BinaryIO, ranges: Sequence[Range]) -> None:
        self._file, self._ranges = file, [(begin, end) for begin, end in ranges if end > begin]
        self._starts = [0, *accumulate(end - begin for begin, end in self._ranges)]
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position within the view, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position within the view and return it; positions outside are moved to its nearest end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = min(max(0, origin + offset), self._starts[-1])
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the view reaches and return the number of bytes."""
        view = memoryview(buffer).cast("B")
        filled = 0
        for (begin, end), start in zip(self._ranges, self._starts, strict=False):
            inside = self._position - start
            if filled == len(view) or not 0 <= inside < end - begin:
                continue
            self._file.seek(begin + inside)
            while filled < len(view) and begin + inside < end:
                count = min(len(view) - filled, end - begin - inside)
                piece = self._file.read(count)
                if not piece:
                    return filled
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
                inside += len(piece)
                self._position += len(piece)
        return filled


Bytes = FileBytes | bytes


def without_tags(data: Bytes, begin: int, end: int) -> int:
    """The end of `data[begin:end]` without the tags that taggers append: ID3v1, Lyrics3, APEv2, in any order."""
    while True:
        if end - begin >= 128 and data[end - 128 : end - 125] == b"TAG":
            end -= 128
        elif end - begin >= 32 and data[end - 32 : end - 24] == b"APETAGEX":
            size = int.from_bytes(data[end - 20 : end - 16], "little")
            has_header = data[end - 9] & 0x80
            size += 32 if has_header else 0
            if not 32 <= size <= end - begin:
                return end
            end -= size
        elif end - begin >= 15 and data[end - 9 : end] == b"LYRICS200" and data[end - 15 : end - 9].isdigit():
            size = int(data[end - 15 : end - 9]) + 15
            if size > end - begin:
                return end
            end -= size
        else:
            return end


def id3v2_size(data: Bytes, at: int) -> int:
    """The size in bytes of the ID3v2 tag that begins at `at`; 0 where none does."""
    head = data[at : at + 10]
    if len(head) < 10 or head[:3] != b"ID3" or head[3] > 4 or any(byte & 0x80 for byte in head[6:10]):
        return 0
    size = (head[6] << 21) | (head[7] << 14) | (head[8] << 7) | head[9]
    return size + (20 if head[5] & 0x10 else 10)
