"""Sound files as other programs write them, valid and with wrong headers, encoded by FFmpeg or edited byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

RATE_HZ = 44100
BLOCK = 4096


def tone(duration_s: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Return a slow melody with a little noise, (N,) float32, different for every seed."""
    rng = np.random.default_rng(seed)
    samples = round(duration_s * rate_hz)
    notes = rng.choice([220, 247, 262, 294, 330, 349, 392, 440], int(duration_s) + 1)
    frequency_hz = np.repeat(notes, rate_hz)[:samples]
    wave = 0.2 * np.sin(2 * np.pi * np.cumsum(frequency_hz) / rate_hz) + 0.002 * rng.standard_normal(samples)
    return np.asarray(wave, dtype=np.float32)


def stereo(duration_s: float, seed: int = 1, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Return two melodies at once, (N, 2) float32."""
    return np.stack([tone(duration_s, seed, rate_hz), tone(duration_s, seed + 1000, rate_hz)], axis=1)


def encode(
    path: Path, wave: np.ndarray, codec: str, container: str | None = None, rate_hz: int = RATE_HZ, kbit: int = 0,
    options: Mapping[str, str] | None = None, container_options: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    """Write samples (N, 2) with one of FFmpeg's encoders."""
    with av.open(str(path), "w", format=container, options=dict(container_options or {})) as output:
        stream = output.add_stream(codec, rate=rate_hz, options=dict(options or {}))
        stream.layout = "stereo"
        if kbit:
            stream.bit_rate = 1000 * kbit
        coding = stream.codec_context
        if codec in ("wavpack", "tta"):
            coding.format = "s16p" if codec == "wavpack" else "s16"
        resampler = av.AudioResampler(format=coding.format, layout=coding.layout, rate=rate_hz)
        for first in range(0, len(wave), BLOCK):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(wave[first : first + BLOCK].T), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, first, Fraction(1, rate_hz)
            for resampled in resampler.resample(frame):
                output.mux(stream.encode(resampled))
        for resampled in resampler.resample(None):
            output.mux(stream.encode(resampled))
        output.mux(stream.encode(None))
    return path


def mp3(path: Path, wave: np.ndarray, xing: bool = True, kbit: int = 0) -> Path:
    """Write an MP3 of variable bit rate, or of `kbit`, with or without the Xing header."""
    options = {} if kbit else {"flags": "+qscale", "global_quality": str(2 * 118)}
    return encode(path, wave, "libmp3lame", None, kbit=kbit, options=options,
                  container_options={} if xing else {"write_xing": "0"})  # fmt: skip


def write_sound(path: Path, wave: np.ndarray, rate_hz: int = RATE_HZ, subtype: str | None = None) -> Path:
    """Write a file with libsndfile in the format of its suffix."""
    kind = {"aif": "AIFF", "oga": "OGG"}.get(path.suffix[1:], path.suffix[1:].upper())
    soundfile.write(path, wave, rate_hz, format=kind, subtype=subtype)
    return path


def with_frames(data: bytes, frames: int) -> bytes:
    """Return an MP3 whose Xing header declares another number of frames."""
    changed = bytearray(data)
    at = max(data.find(b"Info"), data.find(b"Xing"))
    assert at > 0
    changed[at + 8 : at + 12] = struct.pack(">I", frames)
    return bytes(changed)


def read_frame_count(data: bytes) -> int:
    """Return the number of frames in the Xing header of an MP3."""
    at = max(data.find(b"Info"), data.find(b"Xing"))
    return int(struct.unpack(">I", data[at + 8 : at + 12])[0])


def with_total(data: bytes, samples: int) -> bytes:
    """Return a FLAC whose STREAMINFO declares another number of samples; 0 is "unknown", as from a pipe."""
    changed = bytearray(data)
    changed[21] = (changed[21] & 0xF0) | (samples >> 32)
    changed[22:26] = struct.pack(">I", samples & 0xFFFF_FFFF)
    return bytes(changed)


def with_size(data: bytes, size: int, chunk: bytes = b"data", order: str = "<") -> bytes:
    """Return a WAV (or AIFF: SSND, >) whose header declares another size of the samples."""
    changed = bytearray(data)
    at = data.find(chunk)
    changed[at + 4 : at + 8] = struct.pack(f"{order}I", size)
    return bytes(changed)


def read_size(data: bytes, chunk: bytes = b"data", order: str = "<") -> int:
    """Return the size of the samples in the header of a WAV or AIFF."""
    at = data.find(chunk)
    return int(struct.unpack(f"{order}I", data[at + 4 : at + 8])[0])


def id3v2(body: bytes) -> bytes:
    """Return an ID3v2.3 tag with one frame of these bytes, such as a picture."""
    frame = b"PRIV" + struct.pack(">I", len(body)) + b"\0\0" + body
    size = len(frame)
    return b"ID3\x03\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + frame


def apev2(body: bytes) -> bytes:
    """Return an APEv2 tag of one binary item, with header and footer."""
    item = struct.pack("<II", len(body), 2) + b"Cover Art (Front)\0" + body
    fields = struct.pack("<III", 2000, len(item) + 32, 1)
    ends = [b"APETAGEX" + fields + struct.pack("<I", flags) + bytes(8) for flags in (0xA000_0000, 0x8000_0000)]
    return ends[0] + item + ends[1]


ID3V1 = b"TAG" + bytes(125)
