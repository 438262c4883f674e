"""Find the links of a chained Ogg file and check that its pages are complete (RFC 3533)."""

from __future__ import annotations

import zlib

from symphony2vec.decoding.ranges import Bytes, Range
from symphony2vec.errors import Unusable

FIRST, LAST = 2, 4  # header flags of a page
TRUNCATED = "truncated: the last page of the Ogg stream is missing"
_MAX_LOST_SHARE = 0.01  # of all pages; with more the file counts as damaged
_NO_POSITION = (1 << 64) - 1  # granule position of a page on which no packet ends
_BIT_REVERSAL = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_links(data: Bytes) -> tuple[list[Range], str]:
    """Return the byte ranges of the links of a chained Ogg file, and a note on lost pages ("" if none are lost).

    Decoders skip missing and damaged pages, or fill them with silence; therefore pages are counted here.

    Raises:
        Unusable: the end of a link is missing, or too many pages are.
    """
    size = len(data)
    starts: list[int] = []
    pages = _PageCounter()
    at, is_complete, in_headers = 0, False, False
    while at >= 0 and at + 27 <= size:
        if data[at : at + 4] != b"OggS":
            at = data.find(b"OggS", at + 1)
            continue
        flags, segments = data[at + 5], data[at + 26]
        end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
        if end > size:
            is_complete = False
            break
        if flags & FIRST and not in_headers:
            if starts and not is_complete:
                raise Unusable(f"{TRUNCATED}, before another stream that follows it")
            starts.append(at)
        in_headers = bool(flags & FIRST)
        is_complete = bool(flags & LAST)
        pages.add(data[at:end])
        # A truncated page appears to reach into what follows it.
        at = end if end == size or data[end : end + 4] == b"OggS" else data.find(b"OggS", at + 27)
    if not starts or not is_complete:
        raise Unusable(TRUNCATED)
    return list(zip(starts, [*starts[1:], size], strict=True)), pages.describe_losses()


class _PageCounter:
    """Counts intact pages, and those that are missing or damaged."""

    def __init__(self) -> None:
        self.intact = self.lost = 0
        # By serial number of the stream: the number of its last page, and whether audio has begun.
        self._last_pages: dict[bytes, tuple[int, bool]] = {}

    def add(self, page: bytes) -> None:
        """Count a page, and the pages missing before it according to its sequence number."""
        if _compute_checksum(page) != page[22:26]:  # leaves a gap before the next page, unless it is the last one
            self.lost += bool(page[5] & LAST)
            return
        self.intact += 1
        serial, number = page[14:18], int.from_bytes(page[18:22], "little")
        last_number, has_audio = self._last_pages.get(serial, (number, False))
        # Stream recorders and cutters may start at any page after the headers.
        if has_audio and not page[5] & FIRST:
            self.lost += max(0, number - last_number - 1)
        has_position = int.from_bytes(page[6:14], "little") not in (0, _NO_POSITION)
        self._last_pages[serial] = number, has_position or has_audio

    def describe_losses(self) -> str:
        """Return a note on lost pages; "" if none are lost.

        Raises:
            Unusable: too many pages are lost.
        """
        if not self.lost:
            return ""
        total = self.lost + self.intact
        note = f"{self.lost} of {total} pages of the Ogg stream are missing or damaged"
        if self.lost > _MAX_LOST_SHARE * total:
            raise Unusable(f"damaged: {note}")
        return note


def _compute_checksum(page: bytes) -> bytes:
    """Return the CRC-32 of a page, whose bit order is the reverse of zlib's."""
    reflected = (page[:22] + bytes(4) + page[26:]).translate(_BIT_REVERSAL)
    crc = zlib.crc32(reflected, 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{crc:032b}"[::-1], 2).to_bytes(4, "little")
