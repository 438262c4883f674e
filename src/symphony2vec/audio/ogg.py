"""The links of an Ogg file: whole streams that follow each other, as radio stations and `cat` write them."""

from __future__ import annotations

from symphony2vec.audio.ranges import Bytes, Range
from symphony2vec.errors import Unusable

CONTINUED, FIRST, LAST = 1, 2, 4  # marks of a page
CUT = "cut off: the last page of its Ogg stream is missing"


def links(data: Bytes) -> list[Range]:
    """The byte ranges of the links of an Ogg file, one for each set of streams that begin together.

    Raises:
        Unusable: the end of a link is missing.
    """
    size = len(data)
    starts: list[int] = []
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
        # A page that was cut off reaches into what follows it.
        at = end if end == size or data[end : end + 4] == b"OggS" else data.find(b"OggS", at + 27)
    if not starts or not complete:
        raise Unusable(CUT)
    return list(zip(starts, [*starts[1:], size], strict=True))
