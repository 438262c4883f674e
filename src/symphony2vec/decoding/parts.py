"""Determine which recordings a file contains, whatever its header says, and which library reads each of them.

Nearly every file is one recording with a correct header, which libsndfile reads as it is. Where the container shows
that the header declares less than there is, or nothing, or that files were concatenated, the byte ranges of the audio
are given instead. A file with less audio than its header declares is left to the decoder, which detects truncation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import BinaryIO

import soundfile

from symphony2vec.decoding import ac3, caf, ffmpeg, flac, mpeg, ogg, pcm
from symphony2vec.decoding.ranges import FileBytes, Range, RangeReader
from symphony2vec.errors import Unusable

_COMPLETE_SHARE = 0.99  # of the declared length: some encoders round
_ASF_HEAD_BYTES = 24  # GUID and size of an object
_LAST_FRAME = "truncated: the last frame is incomplete"
_MAX_EDIT_S = 1.0  # an edit list that excludes more than this excludes more than encoder delay and padding


@dataclass(frozen=True)
class Part:
    """One recording within a file.

    Attributes:
        ranges: its byte ranges; None for the whole file.
        sample_format: of samples without a header, which libsndfile then reads as raw samples.
        container: the name of the container if FFmpeg is to decode it; "" to try libsndfile first.
        trust_duration: whether the duration in the header can be used to detect truncation.
        ignore_edit_list: whether to decode what the edit list of an MP4 file excludes.
    """

    ranges: list[Range] | None = None
    sample_format: pcm.SampleFormat | None = None
    container: str = ""
    trust_duration: bool = True
    ignore_edit_list: bool = False


@dataclass(frozen=True)
class FileLayout:
    """The recordings of a file in order, and notes on what is unusual about them."""

    parts: list[Part]
    notes: list[str] = field(default_factory=list)


def examine_file(file: BinaryIO, data: FileBytes) -> FileLayout:
    """Locate the recordings of a file.

    Args:
        file: the open file.
        data: its bytes.

    Raises:
        Unusable: a recording is truncated, or the header is wrong and the audio cannot be read without it.
    """
    if pcm.is_pcm_container(data[:16]):
        return _examine_pcm(data)
    container = ffmpeg.detect_container(data)
    if container == "mp3":
        return _examine_mpeg(file, data)
    if container == "mov":
        return _examine_mov(file, data)
    if container == "ac3" and ac3.is_truncated(data):
        raise Unusable(_LAST_FRAME)
    examiners = {"caf": _examine_caf, "ogg": _examine_ogg, "flac": _examine_flac, "asf": _examine_asf}
    return examiners[container](data) if container in examiners else FileLayout([Part()])


def _collect_parts(parts: list[Part], notes: list[str]) -> FileLayout:
    """Return the layout of a file, with its distinct notes and their number of parts if there are several."""
    notes = list(filter(None, dict.fromkeys(notes)))
    return FileLayout(parts, [f"{len(parts)} recordings joined in one file", *notes] if len(parts) > 1 else notes)


def _examine_pcm(data: FileBytes) -> FileLayout:
    parts, notes = [], []
    at, end = 0, len(data)
    while at < end:
        samples, next_file = pcm.locate_samples(data, at, end)
        if samples is not None:
            parts.append(Part(samples.ranges, samples.sample_format))
            notes.append(samples.note)
        else:
            parts.append(Part() if (at, next_file) == (0, end) else Part([(at, next_file)]))
        at = next_file
    return _collect_parts(parts, notes)


def _examine_caf(data: FileBytes) -> FileLayout:
    parts, notes = [], []
    at, end = 0, len(data)
    while at < end:
        recording = caf.locate_recording(data, at)
        is_whole_file = recording == caf.CafRecording(0, end)
        parts.append(Part() if is_whole_file else Part([(recording.begin, recording.end)], recording.sample_format))
        notes.append(recording.note)
        at = recording.end if recording.sample_format is None else end
    return _collect_parts(parts, notes)


def _examine_ogg(data: FileBytes) -> FileLayout:
    links, note = ogg.find_links(data)
    return _collect_parts([Part([link]) for link in links] if len(links) > 1 else [Part()], [note])


def _examine_flac(data: FileBytes) -> FileLayout:
    parts, notes = [], []
    streams = flac.find_streams(data)
    for begin, end in streams:
        length = flac.measure_length(data, begin, end)
        declared, actual, rate_hz = length.declared_samples, length.actual_samples, length.rate_hz
        if declared == 0 or (actual is not None and actual > declared):
            if actual is None:
                raise Unusable(f"{_LAST_FRAME} or damaged")
            declared_length = f"{declared / rate_hz:.1f} s" if declared else "no length"
            notes.append(f"header declares {declared_length}, file contains {actual / rate_hz:.1f} s")
            parts.append(Part([(begin, end)], container="flac", trust_duration=False))
        elif actual is not None and actual < _COMPLETE_SHARE * declared:
            raise Unusable(f"truncated: {actual / rate_hz:.1f} of {declared / rate_hz:.1f} s are present")
        else:
            parts.append(Part([(begin, end)]) if len(streams) > 1 else Part())
    return _collect_parts(parts or [Part()], notes)


def _examine_mpeg(file: BinaryIO, data: FileBytes) -> FileLayout:
    streams = mpeg.find_streams(data)
    if not streams:
        return FileLayout([Part()])
    if len(streams) > 1:
        return _collect_parts([_examine_joined_mpeg(stream) for stream in streams], [])
    (stream,) = streams
    frame_s = stream.frame_samples / stream.rate_hz
    actual_s = stream.frames * frame_s
    without_header = Part(stream.ranges, container="mp3", trust_duration=False)
    if not stream.declared_frames:
        if stream.is_truncated and stream.is_layer_2:
            raise Unusable(_LAST_FRAME)
        notes = ["incomplete last frame: the file may be truncated"] if stream.is_truncated else []
        # Without a count libsndfile estimates it from the first frame's bit rate, and delivers no more than that.
        if _read_estimated_s(file) >= actual_s:
            return FileLayout([Part(trust_duration=False)], notes)
        return FileLayout([without_header], [f"header declares no length, file contains {actual_s:.1f} s", *notes])
    declared = stream.declared_frames
    if stream.frames > declared + 1 or (stream.frames < declared * _COMPLETE_SHARE and _has_declared_bytes(stream)):
        note = f"header declares {declared * frame_s:.1f} s, file contains {actual_s:.1f} s"
        return FileLayout([without_header], [note])
    return FileLayout([Part()])


def _examine_joined_mpeg(stream: mpeg.Stream) -> Part:
    declared = stream.declared_frames or 0
    if stream.frames < declared * _COMPLETE_SHARE and not _has_declared_bytes(stream):
        raise Unusable(f"truncated: {stream.frames} of {declared} frames of one of its recordings are present")
    if stream.header and abs(declared - stream.frames) <= 1:  # the header is right: let the decoder use it
        return Part([stream.header, *stream.ranges], container="mp3", trust_duration=False)
    return Part(stream.ranges, container="mp3", trust_duration=False)


def _has_declared_bytes(stream: mpeg.Stream) -> bool:
    return bool(stream.declared_bytes) and stream.actual_bytes >= _COMPLETE_SHARE * (stream.declared_bytes or 0)


def _read_estimated_s(file: BinaryIO) -> float:
    """Return the duration in seconds that libsndfile estimates for an MP3 file; 0 if it does not read it."""
    file.seek(0)
    try:
        with soundfile.SoundFile(file.fileno(), closefd=False) as sound:
            return float(sound.frames / sound.samplerate)
    except soundfile.LibsndfileError:
        return 0.0


def _examine_asf(data: FileBytes) -> FileLayout:
    """Refuse joined WMA files: FFmpeg estimates their duration from the bit rate and would report truncation."""
    at = 0
    while at + _ASF_HEAD_BYTES <= len(data):
        if at and data[at : at + 16] == ffmpeg.ASF:
            raise Unusable(ffmpeg.SECOND_RECORDING)
        size = int.from_bytes(data[at + 16 : at + 24], "little")
        if size < _ASF_HEAD_BYTES:  # a placeholder of a program that streams
            break
        at += size
    return FileLayout([Part()])


def _examine_mov(file: BinaryIO, data: FileBytes) -> FileLayout:
    """Split joined MP4 files, and ignore edit lists that exclude more than encoder delay and padding."""
    bounds = [0, *_find_mov_starts(data)[1:], len(data)]
    parts, notes = [], []
    for begin, end in pairwise(bounds):
        edited_s, media_s = ffmpeg.read_mov_durations(RangeReader(file, [(begin, end)]))
        is_edited = media_s > edited_s + _MAX_EDIT_S
        if is_edited:
            notes.append(f"edit list selects {edited_s:.1f} s, file contains {media_s:.1f} s")
        ranges = [(begin, end)] if len(bounds) > 2 else None
        parts.append(Part(ranges, container="mov", ignore_edit_list=is_edited))
    return _collect_parts(parts, notes)


def _find_mov_starts(data: FileBytes) -> list[int]:
    """Return where the MP4 files within a file begin (atom ftyp).

    Raises:
        Unusable: the last atom is truncated, or there is no index.
    """
    starts, at, end, has_index = [], 0, len(data), False
    while at + 8 <= end:
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"ftyp":
            starts.append(at)
        size = int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size
        if at + size > end and name in (b"moov", b"mdat", b"moof"):
            raise Unusable(f"truncated: {end} of {at + size} bytes of the MP4 file are present")
        has_index = has_index or name == b"moov"
        if size < 8:
            break
        at += size
    if not has_index:
        raise Unusable("truncated: the index of the MP4 file (moov) is missing")
    return starts
