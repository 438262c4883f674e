"""What a file holds, whatever its header says: the recordings in it and what reads each of them.

Nearly every file is one recording with a right header, which libsndfile reads as it is. Where the container shows that
the header promises less than there is, or nothing, or that files were joined, the bytes that hold sound are named
instead. A file that holds less than its header promises is left to the decoder, which finds it cut off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO

import soundfile

from symphony2vec.decoding import ac3, caf, ffmpeg, flac, mpeg, ogg, pcm
from symphony2vec.decoding.ranges import FileBytes, Range, Ranges
from symphony2vec.errors import Unusable

_WHOLE = 0.99  # of what a header promises: some encoders round
_ASF_HEAD_BYTES = 24  # of an object: its GUID and size
_LAST_FRAME = "cut off: its last frame is incomplete"
_EDIT_S = 1.0  # an edit list that leaves out more than the samples before and after the sound


@dataclass(frozen=True)
class Part:
    """One recording within a file.

    ranges: its bytes; None for the whole file.
    coding: of samples without a header; container: for FFmpeg alone. Without either libsndfile comes first.
    is_counted: whether the length in its header can be relied on to tell that the file is cut off.
    whole_media: whether the edit list of an MP4 file is passed over.
    """

    ranges: list[Range] | None = None
    coding: pcm.Coding | None = None
    container: str = ""
    is_counted: bool = True
    whole_media: bool = False


@dataclass(frozen=True)
class Contents:
    """The recordings of a file in their order, and what is worth saying about them."""

    parts: list[Part]
    notes: list[str] = field(default_factory=list)


def examine(file: BinaryIO, data: FileBytes) -> Contents:
    """Find the recordings of an open file, of which `data` are the bytes.

    Raises:
        Unusable: one of several recordings is cut off, or what the header leaves out cannot be read.
    """
    if pcm.is_pcm_container(data[:16]):
        return _of_pcm(data)
    container = ffmpeg.container(data)
    if container == "caf":
        return _of_caf(data)
    if container == "ogg":
        return _of_ogg(data)
    if container == "flac":
        return _of_flac(data)
    if container == "mp3":
        return _of_mpeg(file, data)
    if container == "ac3" and ac3.is_cut_off(data):
        raise Unusable(_LAST_FRAME)
    if container == "asf":
        return _of_asf(data)
    return _of_mov(file, data) if container == "mov" else Contents([Part()])


def _joined(parts: list[Part], notes: list[str]) -> Contents:
    notes = list(filter(None, dict.fromkeys(notes)))
    return Contents(parts, [f"{len(parts)} recordings joined in one file", *notes] if len(parts) > 1 else notes)


def _of_pcm(data: FileBytes) -> Contents:
    parts, notes = [], []
    at, end = 0, len(data)
    while at < end:
        samples, following = pcm.locate(data, at, end)
        if samples is not None:
            parts.append(Part(samples.ranges, samples.coding))
            notes.append(samples.note)
        else:
            parts.append(Part() if (at, following) == (0, end) else Part([(at, following)]))
        at = following
    return _joined(parts, notes)


def _of_caf(data: FileBytes) -> Contents:
    parts, notes = [], []
    at, end = 0, len(data)
    while at < end:
        samples = caf.locate(data, at)
        is_whole = samples == caf.Samples(0, end)
        parts.append(Part() if is_whole else Part([(samples.begin, samples.end)], samples.coding))
        notes.append(samples.note)
        at = samples.end if samples.coding is None else end
    return _joined(parts, notes)


def _of_ogg(data: FileBytes) -> Contents:
    links, note = ogg.links(data)
    return _joined([Part([link]) for link in links] if len(links) > 1 else [Part()], [note] if note else [])


def _of_flac(data: FileBytes) -> Contents:
    parts, notes = [], []
    streams = flac.streams(data)
    for begin, end in streams:
        length = flac.length(data, begin, end)
        ranges = [(begin, end)]
        if length.promised == 0 or (length.held is not None and length.held > length.promised):
            if length.held is None:
                raise Unusable("cut off: its last frame is incomplete or damaged")
            claim = f"{length.promised / length.rate_hz:.1f} s" if length.promised else "no length"
            notes.append(f"its header gives {claim}; {length.held / length.rate_hz:.1f} s are there")
            parts.append(Part(ranges, container="flac", is_counted=False))
        elif length.held is not None and length.held < _WHOLE * length.promised:
            rate_hz = length.rate_hz
            raise Unusable(f"cut off: {length.held / rate_hz:.1f} of {length.promised / rate_hz:.1f} s are there")
        else:
            parts.append(Part(ranges) if len(streams) > 1 else Part())
    return _joined(parts or [Part()], notes)


def _of_mpeg(file: BinaryIO, data: FileBytes) -> Contents:
    streams = mpeg.streams(data)
    if len(streams) > 1:
        return _joined([_of_joined_mpeg(stream) for stream in streams], [])
    if not streams:
        return Contents([Part()])
    stream = streams[0]
    frames_s = stream.frame_samples / stream.rate_hz
    bare = Part(stream.ranges, container="mp3", is_counted=False)
    if not stream.promised:
        if stream.is_cut_off and stream.is_layer_2:
            raise Unusable(_LAST_FRAME)
        notes = ["its last frame is incomplete: it may be cut off"] if stream.is_cut_off else []
        # Without a count libsndfile guesses from the first frame's bit rate, and gives no more than its guess.
        if _guessed_s(file) >= stream.frames * frames_s:
            return Contents([Part(is_counted=False)], notes)
        return Contents([bare], [f"its header gives no length; {stream.frames * frames_s:.1f} s are there", *notes])
    if stream.frames > stream.promised + 1 or (stream.frames < stream.promised * _WHOLE and _has_all_bytes(stream)):
        claims = f"its header gives {stream.promised * frames_s:.1f} s; {stream.frames * frames_s:.1f} s are there"
        return Contents([bare], [claims])
    return Contents([Part()])


def _of_joined_mpeg(stream: mpeg.Stream) -> Part:
    promised = stream.promised or 0
    if stream.frames < promised * _WHOLE and not _has_all_bytes(stream):
        raise Unusable(f"cut off: {stream.frames} of {promised} frames of one of its parts are there")
    has_right_header = stream.header is not None and abs(promised - stream.frames) <= 1
    ranges = [stream.header, *stream.ranges] if has_right_header and stream.header else stream.ranges
    return Part(ranges, container="mp3", is_counted=False)


def _has_all_bytes(stream: mpeg.Stream) -> bool:
    return bool(stream.promised_bytes) and stream.held_bytes >= _WHOLE * (stream.promised_bytes or 0)


def _guessed_s(file: BinaryIO) -> float:
    """The length in seconds that libsndfile guesses of an MP3 file."""

    file.seek(0)
    try:
        with soundfile.SoundFile(file.fileno(), closefd=False) as sound:
            return float(sound.frames / sound.samplerate)
    except soundfile.LibsndfileError:
        return 0.0


def _of_asf(data: FileBytes) -> Contents:
    """Joined WMA files are refused: FFmpeg guesses the length of both from the bit rate and calls them cut off."""
    at = 0
    while at + _ASF_HEAD_BYTES <= len(data):
        if at and data[at : at + 16] == ffmpeg.ASF:
            raise Unusable("another recording follows the first in the same file; split it")
        size = int.from_bytes(data[at + 16 : at + 24], "little")
        if size < _ASF_HEAD_BYTES:  # the program that wrote it could not know the size
            break
        at += size
    return Contents([Part()])


def _of_mov(file: BinaryIO, data: FileBytes) -> Contents:
    """Joined MP4 files are read one by one; an edit list may leave out what encoders add, and no more than that."""
    starts, at, end, has_index = [], 0, len(data), False
    while at + 8 <= end:
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"ftyp":
            starts.append(at)
        size = int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size
        if at + size > end and name in (b"moov", b"mdat", b"moof"):
            raise Unusable(f"cut off: {end} of {at + size} bytes of its MP4 file are there")
        has_index = has_index or name == b"moov"
        if size < 8:
            break
        at += size
    if not has_index:
        raise Unusable("cut off: the index of its MP4 file (moov) is missing")
    bounds = [0, *starts[1:], end]
    parts, notes = [], []
    for begin, stop in pairwise(bounds):
        played_s, media_s = ffmpeg.mov_lengths(Ranges(file, [(begin, stop)]))
        is_edited = media_s > played_s + _EDIT_S
        if is_edited:
            notes.append(f"its edit list leaves {played_s:.1f} s; {media_s:.1f} s are there")
        ranges = [(begin, stop)] if len(bounds) > 2 else None
        parts.append(Part(ranges, container="mov", whole_media=is_edited))
    return _joined(parts, notes)
