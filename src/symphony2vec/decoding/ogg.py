"""The links of an Ogg file: whole streams that follow each other, as radio stations and `cat` write them."""

from __future__ import annotations

import zlib

from symphony2vec.decoding.ranges import Bytes, Range
from symphony2vec.errors import Unusable

CONTINUED, FIRST, LAST = 1, 2, 4  # marks of a page
CUT = "cut off: the last page of its Ogg stream is missing"
_MOST_LOST = 0.01  # of all pages: more than that is a damaged file
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def links(data: Bytes) -> tuple[list[Range], str]:
    """The byte ranges of the links of an Ogg file, one for each set of streams that begin together, and a note.

    Decoders pass over missing and damaged pages, and some fill them with silence; so pages are counted here.

    Raises:
        Unusable: the end of a link is missing, or too many pages are.
    """
    size = len(data)
    starts: list[int] = []
    pages = _Pages()
    at, complete, in_headers = 0, False, False
    while at >= 0 and at + 27 <= size:
        if data[at : at + 4] != b"OggS":
            at = data.find(b"OggS", at + 1)
            continue
        marks, count = data[at + 5], data[at + 26]
        end = at + 27 + count + sum(data[at + 27 : at + 27 + count])
        if end > size:
            complete = False
            break
        if marks & FIRST and not in_headers:
            if starts and not complete:
                raise Unusable(f"{CUT}, before another stream that follows it")
            starts.append(at)
        in_headers = bool(marks & FIRST)
        complete = bool(marks & LAST)
        pages.add(data[at:end])
        # A page that was cut off reaches into what follows it.
        at = end if end == size or data[end : end + 4] == b"OggS" else data.find(b"OggS", at + 27)
    if not starts or not complete:
        raise Unusable(CUT)
    return list(zip(starts, [*starts[1:], size], strict=True)), pages.note()


class _Pages:
    """Counts the pages that can be read, and those that are missing or damaged."""

    def __init__(self) -> None:
        self.read = self.lost = 0
        self._before: dict[
            bytes, tuple[int, bool]
        ] = {}  # by stream: the number of its last page, and whether it sounds

    def add(self, page: bytes) -> None:
        """Count a page, and those whose numbers are left out before it."""
        if _checksum(page) != page[22:26]:  # a damaged page leaves a gap before the next one, unless it is the last
            self.lost += bool(page[5] & LAST)
            return
        self.read += 1
        stream, number = page[14:18], int.from_bytes(page[18:22], "little")
        before, sounds = self._before.get(stream, (number, False))
        # Programs that record a station or cut a stream begin anywhere after its headers.
        if sounds and not page[5] & FIRST:
            self.lost += max(0, number - before - 1)
        self._before[stream] = number, int.from_bytes(page[6:14], "little") not in (0, (1 << 64) - 1) or sounds

    def note(self) -> str:
        """What is said of lost pages; "" where there are none.

        Raises:
            Unusable: there are too many.
        """
        if not self.lost:
            return ""
        counts = f"{self.lost} of {self.lost + self.read} pages of its Ogg stream are missing or damaged"
        if self.lost > _MOST_LOST * (self.lost + self.read):
            raise Unusable(f"damaged: {counts}")
        return counts


def _checksum(page: bytes) -> bytes:
    """The CRC-32 of a page, whose bits run the other way than those of zlib's."""
    turned = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    crc = zlib.crc32(turned, 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{crc:032b}"[::-1], 2).to_bytes(4, "little")
