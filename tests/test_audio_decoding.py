"""Files whose header is wrong, the formats of FFmpeg, and channels that cancel each other."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr

import sounds
from sounds import RATE_HZ, encode, mp3, stereo, tone, write_sound
from symphony2vec.audio import stage as audio
from symphony2vec.corpus import catalogue, library
from symphony2vec.corpus.catalogue import Movement
from symphony2vec.decoding import ffmpeg, flac, mpeg, ranges
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable
from symphony2vec.params import Params
from symphony2vec.project import Project, read_table

MODEL_HZ = 22050
DURATION_S = 8.0


def decoded_s(path: Path) -> float:
    wave, _ = audio.decode(path, MODEL_HZ)
    return len(wave) / MODEL_HZ


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def decode_with_libsndfile(path: Path) -> np.ndarray:
    """Decode a healthy file with libsndfile alone: the mean of its channels, resampled."""
    wave, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    stream = soxr.ResampleStream(rate_hz, MODEL_HZ, 1, dtype="float32")
    mono = (wave[:, 0] + wave[:, 1]) * np.float32(0.5) if wave.shape[1] == 2 else wave.mean(axis=1)
    blocks = [mono[first : first + decoding.BLOCK_FRAMES] for first in range(0, len(mono), decoding.BLOCK_FRAMES)]
    parts = [stream.resample_chunk(block) for block in blocks]
    return np.concatenate([*parts, stream.resample_chunk(np.zeros(0, np.float32), last=True)])


# Healthy files


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.wav", "ULAW"), ("a.wav", "IMA_ADPCM"),
        ("a.flac", "PCM_16"), ("a.flac", "PCM_24"), ("a.ogg", "VORBIS"), ("a.ogg", "OPUS"), ("a.mp3", None),
        ("a.aiff", "PCM_16"), ("a.aiff", "PCM_24"), ("a.w64", "PCM_16"), ("a.rf64", "PCM_16"), ("a.caf", "PCM_16"),
    ],
)  # fmt: skip
def test_healthy_files_decode_as_with_libsndfile_alone(name: str, subtype: str | None, tmp_path: Path) -> None:
    rate_hz = 48000 if subtype == "OPUS" else RATE_HZ
    path = write_sound(tmp_path / name, stereo(7.3, rate_hz=rate_hz), rate_hz, subtype)
    wave, facts = audio.decode(path, MODEL_HZ)
    np.testing.assert_array_equal(wave, decode_with_libsndfile(path))
    assert facts == {"source_rate_hz": rate_hz, "source_channels": 2, "note": ""}


@pytest.mark.parametrize("tail", [sounds.ID3V1, sounds.apev2(bytes(3000)), sounds.apev2(bytes(90_000)) + sounds.ID3V1])
@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.wav"])
def test_trailing_tags_are_not_decoded(name: str, tail: bytes, tmp_path: Path) -> None:
    path = write_sound(tmp_path / name, stereo(3.0))
    expected, _ = audio.decode(path, MODEL_HZ)
    wave, facts = audio.decode(put(path, path.read_bytes() + tail), MODEL_HZ)
    np.testing.assert_array_equal(wave, expected)
    assert facts["note"] == ""


def test_a_wav_with_chunks_on_both_sides_of_its_samples_is_healthy(tmp_path: Path) -> None:
    healthy = write_sound(tmp_path / "a.wav", stereo(2.0)).read_bytes()
    expected, _ = audio.decode(tmp_path / "a.wav", MODEL_HZ)
    chunk = b"LIST" + struct.pack("<I", 9) + b"INFOICMT\0" + b"\0"
    at = healthy.find(b"data")
    for changed in (healthy + chunk, healthy[:at] + chunk + healthy[at:], healthy + b"id3 \x0a\0\0\0" + bytes(10)):
        wave, facts = audio.decode(put(tmp_path / "b.wav", changed), MODEL_HZ)
        np.testing.assert_array_equal(wave, expected)
        assert facts["note"] == ""


# Lengths


Damage = Callable[[Path], bytes]
FLAC = "flac"


def _flac(path: Path, seed: int = 1, duration_s: float = DURATION_S) -> bytes:
    return write_sound(path.with_suffix(".flac"), stereo(duration_s, seed)).read_bytes()


def _wav(path: Path, subtype: str = "PCM_16", seed: int = 1) -> bytes:
    return write_sound(path.with_suffix(".wav"), stereo(DURATION_S, seed), subtype=subtype).read_bytes()


def _mp3(path: Path, xing: bool = True, seed: int = 1, kbit: int = 0, fade: bool = False) -> bytes:
    wave = stereo(DURATION_S, seed)
    if fade:  # a soft beginning, of a low bit rate, from which the rest is guessed
        wave[: len(wave) // 2] *= np.float32(1e-4)
    return mp3(path.with_suffix(".mp3"), wave, xing, kbit).read_bytes()


def _ogg(path: Path, seed: int = 1, rate_hz: int = RATE_HZ, subtype: str = "VORBIS") -> bytes:
    return write_sound(path.with_suffix(".ogg"), stereo(DURATION_S, seed, rate_hz), rate_hz, subtype).read_bytes()


def _m4a(path: Path, codec: str = "aac", seed: int = 1) -> bytes:
    return encode(path.with_suffix(".m4a"), stereo(DURATION_S, seed), codec).read_bytes()


def _twice_wav(path: Path) -> bytes:
    """A WAV with two chunks of samples."""
    data = _wav(path)
    at = data.find(b"data")
    return data + data[at:]


def _w64(path: Path, size: int) -> bytes:
    data = bytearray(write_sound(path.with_suffix(".w64"), stereo(DURATION_S)).read_bytes())
    at = data.find(b"data\xf3\xac\xd3\x11")
    data[at + 16 : at + 24] = struct.pack("<Q", size)
    return bytes(data)


def _rf64(path: Path, magic: bytes, size: int | None) -> bytes:
    data = bytearray(write_sound(path.with_suffix(".rf64"), stereo(DURATION_S)).read_bytes())
    data[:4] = magic
    if size is not None:
        at = data.find(b"ds64")
        data[at + 16 : at + 24] = struct.pack("<Q", size)
    return bytes(data)


def _aiff(path: Path, size: int, subtype: str = "PCM_16") -> bytes:
    data = write_sound(path.with_suffix(".aiff"), stereo(DURATION_S), subtype=subtype).read_bytes()
    return sounds.with_size(data, size, b"SSND", ">")


def _caf(path: Path, size: int | None = None, subtype: str = "PCM_16", seed: int = 1) -> bytes:
    """A CAF; with a size, one whose header gives that many bytes of samples."""
    data = write_sound(path.with_suffix(".caf"), stereo(DURATION_S, seed), subtype=subtype).read_bytes()
    return data if size is None else _caf_of(data, size)


def _caf_of(data: bytes, size: int) -> bytes:
    changed = bytearray(data)
    at = changed.find(b"data")
    changed[at + 4 : at + 12] = struct.pack(">q", size + 4)
    return bytes(changed)


def _alac_caf(path: Path) -> bytes:
    return encode(path.with_suffix(".caf"), stereo(DURATION_S), "alac").read_bytes()


def _without(data: bytes, begin: float, share: float) -> bytes:
    """The data without a share of it, from another share on."""
    first = int(len(data) * begin)
    return data[:first] + data[first + int(len(data) * share) :]


def _with_zeros(data: bytes, begin: float, share: float) -> bytes:
    first, count = int(len(data) * begin), int(len(data) * share)
    return data[:first] + bytes(count) + data[first + count :]


def _pages(data: bytes) -> list[bytes]:
    return [b"OggS" + page for page in data.split(b"OggS")[1:]]


QUARTER = round(DURATION_S * RATE_HZ) // 4 * 4
MISLABELLED: dict[str, tuple[str, Damage, float]] = {
    # MP3
    "no Xing header, variable rate": ("mp3", lambda p: _mp3(p, xing=False), 1),
    "no Xing header, soft beginning": ("mp3", lambda p: _mp3(p, xing=False, fade=True), 1),
    "no Xing header, constant rate": ("mp3", lambda p: _mp3(p, xing=False, kbit=192), 1),
    "Xing counts a quarter": ("mp3", lambda p: sounds.with_frames(d := _mp3(p), sounds.read_frame_count(d) // 4), 1),
    "Xing counts three times": ("mp3", lambda p: sounds.with_frames(d := _mp3(p), sounds.read_frame_count(d) * 3), 1),
    "Xing counts none": ("mp3", lambda p: sounds.with_frames(_mp3(p), 0), 1),
    "joined MP3": ("mp3", lambda p: _mp3(p) + _mp3(p, seed=2), 2),
    "joined MP3 without headers": ("mp3", lambda p: _mp3(p, xing=False) + _mp3(p, xing=False, seed=2), 2),
    "joined MP3, one header": ("mp3", lambda p: _mp3(p) + _mp3(p, xing=False, seed=2), 2),
    "joined MP3, tags between": (
        "mp3", lambda p: _mp3(p) + sounds.ID3V1 + sounds.id3v2(b"\xff\xfb\x90\x44" * 9000) + _mp3(p, seed=2), 2,
    ),
    "MP3 with a tag in it": (
        "mp3", lambda p: _mp3(p, xing=False) + sounds.id3v2(bytes(70_000)) + _mp3(p, xing=False), 2,
    ),
    "MP3 with junk before it": ("mp3", lambda p: bytes(5000) + _mp3(p, xing=False), 1),
    # FLAC
    "FLAC from a pipe": ("flac", lambda p: sounds.with_total(_flac(p), 0), 1),
    "FLAC that declares less": ("flac", lambda p: sounds.with_total(_flac(p), RATE_HZ), 1),
    "joined FLAC": ("flac", lambda p: _flac(p) + _flac(p, 2), 2),
    "FLAC joined to itself": ("flac", lambda p: _flac(p) * 2, 2),
    "joined FLAC from pipes": ("flac", lambda p: sounds.with_total(_flac(p), 0) + sounds.with_total(_flac(p, 2), 0), 2),
    "joined FLAC, a tag between": ("flac", lambda p: _flac(p) + sounds.id3v2(bytes(999)) + _flac(p, 2), 2),
    # WAV and its kind
    "WAV of a quarter": ("wav", lambda p: sounds.with_size(d := _wav(p), sounds.read_size(d) // 4), 1),
    "WAV of a quarter, a trailing chunk": (
        "wav", lambda p: sounds.with_size(d := _wav(p), sounds.read_size(d) // 4) + b"LIST\x04\0\0\0INFO", 1,
    ),
    "WAV of an odd size": ("wav", lambda p: sounds.with_size(_wav(p), 4001), 1),
    "WAV of size 0": ("wav", lambda p: sounds.with_size(_wav(p), 0), 1),
    "WAV of all ones": ("wav", lambda p: sounds.with_size(_wav(p), 0xFFFF_FFFF), 1),
    "WAV of the largest size": ("wav", lambda p: sounds.with_size(_wav(p), 0x7FFF_FFFF), 1),
    "WAV of 24 bits, too short": ("wav", lambda p: sounds.with_size(_wav(p, "PCM_24"), 60_000), 1),
    "WAV of floats, too short": ("wav", lambda p: sounds.with_size(_wav(p, "FLOAT"), 80_000), 1),
    "WAV with two chunks of samples": ("wav", _twice_wav, 2),
    "joined WAV": ("wav", lambda p: _wav(p) + _wav(p, seed=2), 2),
    "W64 that declares less": ("w64", lambda p: _w64(p, 24 + 4 * RATE_HZ), 1),
    "RF64 that declares less": ("wav", lambda p: _rf64(p, b"RF64", 4 * RATE_HZ), 1),
    "BW64": ("wav", lambda p: _rf64(p, b"BW64", None), 1),
    "BW64 that declares less": ("wav", lambda p: _rf64(p, b"BW64", 4 * RATE_HZ), 1),
    "AIFF that declares less": ("aiff", lambda p: _aiff(p, 8 + 4 * RATE_HZ), 1),
    "AIFF of 24 bits that declares less": ("aiff", lambda p: _aiff(p, 8 + 6 * RATE_HZ, "PCM_24"), 1),
    # CAF
    "CAF that declares less": ("caf", lambda p: _caf(p, 4 * RATE_HZ), 1),
    "CAF of 24 bits that declares less": ("caf", lambda p: _caf(p, 6 * RATE_HZ, "PCM_24"), 1),
    "CAF of floats that declares less": ("caf", lambda p: _caf(p, 8 * RATE_HZ, "FLOAT"), 1),
    "CAF of size 0": ("caf", lambda p: _caf(p, 0), 1),
    "CAF of unknown size": ("caf", lambda p: _caf(p, -5), 1),
    "joined CAF": ("caf", lambda p: _caf(p) + _caf(p, seed=2), 2),
    "joined CAF with ALAC": ("caf", lambda p: _alac_caf(p) * 2, 2),
    # Ogg
    "chained Vorbis": ("ogg", lambda p: _ogg(p) + _ogg(p, 2), 2),
    "chained Vorbis of two rates": ("ogg", lambda p: _ogg(p) + _ogg(p, 2, 48000), 2),
    "chained Opus": ("opus", lambda p: _ogg(p, 1, 48000, "OPUS") + _ogg(p, 2, 48000, "OPUS"), 2),
    "Opus after Vorbis": ("ogg", lambda p: _ogg(p) + _ogg(p, 2, 48000, "OPUS"), 2),
    # MP4 and raw AAC
    "joined M4A": ("m4a", lambda p: _m4a(p) + _m4a(p, seed=2), 2),
    "joined AAC": ("aac", lambda p: _adts(p) + _adts(p, 2), 2),
}  # fmt: skip


def _adts(path: Path, seed: int = 1) -> bytes:
    return encode(path.with_suffix(".aac"), stereo(DURATION_S, seed), "aac", "adts").read_bytes()


@pytest.mark.parametrize("case", MISLABELLED)
def test_files_with_a_wrong_header_are_decoded_to_the_end(case: str, tmp_path: Path) -> None:
    suffix, make, times = MISLABELLED[case]
    data = make(tmp_path / "part")
    path = put(tmp_path / f"case.{suffix}", data)
    wave, _ = audio.decode(path, MODEL_HZ)
    assert len(wave) / MODEL_HZ == pytest.approx(times * DURATION_S, abs=0.12)
    for number in range(times):  # music up to the end, not silence or noise
        loud = wave[round((number + 0.1) * DURATION_S * MODEL_HZ) : round((number + 0.95) * DURATION_S * MODEL_HZ)]
        loud = loud[len(loud) // 2 :] if "soft" in case else loud
        pieces = np.array_split(loud, 8)
        assert all(0.05 < np.sqrt(np.mean(piece**2)) < 0.2 for piece in pieces)


@pytest.mark.parametrize("case", ["FLAC that declares less", "FLAC from a pipe", "WAV of a quarter", "WAV of size 0",
                                  "WAV of 24 bits, too short", "AIFF that declares less", "W64 that declares less",
                                  "RF64 that declares less", "WAV of floats, too short"])  # fmt: skip
def test_a_wrong_length_in_the_header_does_not_change_the_samples(case: str, tmp_path: Path) -> None:
    suffix, make, _ = MISLABELLED[case]
    subtype = "PCM_24" if "24" in case else "FLOAT" if "floats" in case else None
    expected = decode_with_libsndfile(write_sound(tmp_path / f"healthy.{suffix}", stereo(DURATION_S), subtype=subtype))
    wave, facts = audio.decode(put(tmp_path / f"case.{suffix}", make(tmp_path / "part")), MODEL_HZ)
    np.testing.assert_array_equal(wave, expected)
    assert "file contains 8.0 s" in facts["note"]


def test_samples_that_lie_beyond_4_gigabytes_are_found_by_the_wrapped_size() -> None:
    from symphony2vec.decoding import pcm

    buffer = io.BytesIO()
    soundfile.write(buffer, stereo(1.0), RATE_HZ, format="WAV")
    head = buffer.getvalue()[:44]

    class Long(bytes):
        """A file of 4 GB and a bit, whose samples are all 0x01, and a trailing chunk."""

    size = (1 << 32) + 4000
    tail = b"LIST\x04\0\0\0INFO"

    class Bytes:
        def __getitem__(self, place: slice) -> bytes:
            begin, stop = place.start or 0, min(place.stop, 44 + size + len(tail))
            known_bytes = {
                **dict(enumerate(sounds.with_size(head, 4000))),
                **{44 + size + n: b for n, b in enumerate(tail)},
            }
            return bytes(known_bytes.get(at, 1) for at in range(begin, stop))

        def rfind(self, pattern: bytes, begin: int, end: int) -> int:
            return -1

    samples, _ = pcm.locate_samples(Bytes(), 0, 44 + size + len(tail))  # type: ignore[arg-type]
    assert samples is not None
    assert samples.ranges == [(44, 44 + size)]


def _cut(data: bytes, share: float = 0.5) -> bytes:
    return data[: int(len(data) * share)]


def _mp2(path: Path) -> bytes:
    return encode(path.with_suffix(".mp2"), stereo(DURATION_S), "mp2", "mp2", kbit=192).read_bytes()


def _ac3(path: Path, codec: str = "ac3") -> bytes:
    return encode(path.with_suffix(f".{codec}"), stereo(DURATION_S), codec, codec, kbit=192).read_bytes()


def _old(path: Path, name: str) -> bytes:
    """Return a 16-bit file of one of libsndfile's old formats."""
    file = path.with_suffix(f".{name.lower()}")
    wave = stereo(DURATION_S)
    soundfile.write(file, wave[:, 0] if name in ("SVX", "SDS") else wave, RATE_HZ, format=name, subtype="PCM_16")
    return file.read_bytes()


def _with_frames(data: bytes, frames: int) -> bytes:
    """Return an AVR file whose header declares so many frames."""
    return data[:26] + struct.pack(">I", frames) + data[30:]


TRUNCATED: dict[str, tuple[str, Damage, str]] = {
    "MP3": ("mp3", lambda p: _cut(_mp3(p)), r"^truncated: 4\.0 of 8\.0 s can be decoded$"),
    "FLAC": ("flac", lambda p: _cut(_flac(p)), "damaged: flac decoder lost sync|^truncated: "),
    "FLAC from a pipe": ("flac", lambda p: _cut(sounds.with_total(_flac(p), 0)), "^truncated: the last frame is inc"),
    "FLAC that declares more": (
        "flac", lambda p: sounds.with_total(_flac(p), 30 * RATE_HZ), r"^truncated: 8\.0 of 30\.0 s are present$",
    ),
    "a second FLAC": ("flac", lambda p: _flac(p) + _cut(_flac(p, 2)), "damaged|^truncated"),
    "WAV": ("wav", lambda p: _cut(_wav(p)), "^truncated: 50% of the audio declared in the header is present$"),
    "a second WAV": ("wav", lambda p: _wav(p) + _cut(_wav(p)), "^truncated: 50%|^truncated: 4.0"),
    "Ogg": ("ogg", lambda p: _cut(_ogg(p)), "^truncated: the last page of the Ogg stream is missing$"),
    "the first of two Ogg": ("ogg", lambda p: _cut(_ogg(p)) + _ogg(p, 2), "^truncated: the last page"),
    "the second of two Ogg": ("ogg", lambda p: _ogg(p) + _cut(_ogg(p, 2)), "^truncated: the last page"),
    "the second of two MP3": ("mp3", lambda p: _mp3(p) + _cut(_mp3(p, seed=2)), "^truncated: "),
    "M4A": ("m4a", lambda p: _cut(_m4a(p)), "^truncated: .* bytes of the MP4 file are present$"),
    "M4A without index": ("m4a", lambda p: (d := _m4a(p))[: d.find(b"moov") - 4], r"^truncated: the index .*\(moov\)"),
    "WMA": ("wma", lambda p: _cut(encode(p.with_suffix(".wma"), stereo(8.0), "wmav2", kbit=192).read_bytes()), "^trun"),
    "WavPack": ("wv", lambda p: _cut(encode(p.with_suffix(".wv"), stereo(8.0), "wavpack").read_bytes()), "^truncated:"),
    "TTA": ("tta", lambda p: _cut(encode(p.with_suffix(".tta"), stereo(8.0), "tta").read_bytes()), "^truncated:"),
    "Matroska": ("mka", lambda p: _cut(encode(p.with_suffix(".mka"), stereo(8.0), "aac").read_bytes()), "^truncated: "),
    "CAF": ("caf", lambda p: _cut(_caf(p)), "^truncated: 50% of the audio declared in the header is present$"),
    "CAF with ALAC": ("caf", lambda p: _cut(_alac_caf(p)), "^truncated: 50%|^not readable as audio"),
    "a second CAF": ("caf", lambda p: _caf(p) + _cut(_caf(p)), "^truncated: 50%"),
    "CAF with ALAC that declares less": ("caf", lambda p: _caf_of(_alac_caf(p), 9999), "^the length in its header"),
    "W64": ("w64", lambda p: _cut(write_sound(p.with_suffix(".w64"), stereo(8.0)).read_bytes()), "^truncated: 50%"),
    "RF64": ("wav", lambda p: _cut(_rf64(p, b"RF64", None)), "^truncated: 50% of the audio declared in the header"),
    "AU": ("au", lambda p: _cut(write_sound(p.with_suffix(".au"), stereo(8.0)).read_bytes()), "^truncated: 50% of the"),
    "VOC": ("voc", lambda p: _cut(write_sound(p.with_suffix(".voc"), stereo(8.0)).read_bytes()), "^truncated: less"),
    "joined AU": ("au", lambda p: write_sound(p.with_suffix(".au"), stereo(8.0)).read_bytes() * 2, "^header declares"),
    "Vorbis with a gap": ("ogg", lambda p: _without(_ogg(p), 0.5, 0.2), "^damaged: .* pages of the Ogg stream are mi"),
    "Opus with a gap": (
        "opus", lambda p: _without(_ogg(p, 1, 48000, "OPUS"), 0.5, 0.2), "^damaged: .* pages of the Ogg stream are mi",
    ),
    "Opus without a page": (
        "opus", lambda p: b"".join((d := _pages(_ogg(p, 1, 48000, "OPUS")))[:-3] + d[-2:]), "^damaged: 1 of ",
    ),
    "Opus with zeros": (
        "opus", lambda p: _with_zeros(_ogg(p, 1, 48000, "OPUS"), 0.5, 0.01), "^damaged: . of .* missing or damaged$",
    ),
    "joined WMA": ("wma", lambda p: encode(p.with_suffix(".wma"), stereo(8.0), "wmav2", kbit=192).read_bytes() * 2,
                   "^another recording follows the first in the same file; split the file$"),
    "MP2": ("mp2", lambda p: _cut(_mp2(p))[:-100], "^truncated: the last frame is incomplete$"),
    "AC-3": ("ac3", lambda p: _cut(_ac3(p))[:-100], "^truncated: the last frame is incomplete$"),
    "E-AC-3": ("eac3", lambda p: _cut(_ac3(p, "eac3"))[:-100], "^truncated: the last frame is incomplete$"),
    **{
        name: (name.lower(), lambda p, name=name: _cut(_old(p, name)), "^truncated: 50% of the audio declared")
        for name in ("AVR", "NIST", "SVX", "MPC2K", "MAT5")
    },
    "AVR that declares less": ("avr", lambda p: _with_frames(_old(p, "AVR"), 9999), "^header declares 39996 b"),
    **{
        f"joined {name}": (name.lower(), lambda p, name=name: _old(p, name) * 2, "^another recording follows|^header d")
        for name in ("AVR", "NIST", "PAF", "PVF", "IRCAM", "MAT5", "VOC", "SDS")
    },
    "joined WavPack": ("wv", lambda p: encode(p.with_suffix(".wv"), stereo(8.0), "wavpack").read_bytes() * 2,
                       "^another recording follows the first in the same file; split the file$"),
    "joined TTA": ("tta", lambda p: encode(p.with_suffix(".tta"), stereo(8.0), "tta").read_bytes() * 2,
                   "^another recording follows the first in the same file; split the file$"),
    "ADPCM of a quarter": (
        "wav", lambda p: sounds.with_size(_wav(p, "IMA_ADPCM"), 20480), "^the length in its header is wrong and",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TRUNCATED)
def test_truncated_and_damaged_files_are_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    suffix, make, reason = TRUNCATED[case]
    path = put(tmp_path / f"case.{suffix}", make(tmp_path / "part"))
    with pytest.raises(Unusable, match=reason):
        audio.decode(path, MODEL_HZ)


@pytest.mark.parametrize("name", ["AVR", "NIST", "SVX", "MPC2K", "MAT5", "PAF", "PVF", "IRCAM", "SDS"])
def test_complete_files_of_old_formats_are_read_to_the_end(name: str, tmp_path: Path) -> None:
    assert decoded_s(put(tmp_path / f"a.{name.lower()}", _old(tmp_path / "b", name))) == pytest.approx(
        DURATION_S, abs=1e-3
    )


@pytest.mark.parametrize(("suffix", "make"), [("mp2", _mp2), ("ac3", _ac3)])
def test_complete_and_joined_frame_streams_are_read_to_the_end(suffix: str, make: Damage, tmp_path: Path) -> None:
    data = make(tmp_path / "b")
    for count in (1, 2):
        assert decoded_s(put(tmp_path / f"a.{suffix}", data * count + sounds.ID3V1)) == pytest.approx(
            count * DURATION_S, abs=0.1
        )


def test_an_mp3_without_a_frame_count_that_ends_within_a_frame_gets_a_note(tmp_path: Path) -> None:
    _, facts = audio.decode(put(tmp_path / "a.mp3", _mp3(tmp_path / "b", xing=False, kbit=192)[:-100]), MODEL_HZ)
    assert facts["note"] == "incomplete last frame: the file may be truncated"


@pytest.mark.slow
def test_a_lost_page_of_a_long_ogg_gets_a_note(tmp_path: Path) -> None:
    pages = _pages(write_sound(tmp_path / "a.ogg", stereo(60.0, 1, 48000), 48000, "OPUS").read_bytes())
    assert len(pages) > 40
    begins_late = put(tmp_path / "late.opus", b"".join(pages[:2] + pages[10:]))
    _, facts = audio.decode(begins_late, MODEL_HZ)
    assert facts["note"] == ""  # a recorded station: nothing is missing within the sound
    path = put(tmp_path / "many.opus", b"".join(pages) * 3)
    healthy, facts = audio.decode(path, MODEL_HZ)
    assert facts["note"] == "3 recordings joined in one file"
    put(path, b"".join(pages[:20] + pages[21:]) + b"".join(pages) * 2)
    wave, facts = audio.decode(path, MODEL_HZ)
    lost = f"1 of {3 * len(pages)} pages of the Ogg stream are missing or damaged"
    assert facts["note"] == f"3 recordings joined in one file; {lost}"
    assert len(wave) == pytest.approx(len(healthy), abs=2 * MODEL_HZ)


def test_raw_aac_that_ends_within_a_frame_gets_a_note(tmp_path: Path) -> None:
    wave, facts = audio.decode(put(tmp_path / "a.aac", _cut(_adts(tmp_path / "b"))), MODEL_HZ)
    assert len(wave) / MODEL_HZ == pytest.approx(4.0, abs=0.2)
    assert facts["note"] == "incomplete last packet was dropped"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "wav", "m4a", "wma", "wv", "tta", "mka", "aac"])
def test_corrupted_bytes_raise_nothing_but_unusable(suffix: str, seed: int, tmp_path: Path) -> None:
    encoders = {"m4a": "aac", "wma": "wmav2", "wv": "wavpack", "tta": "tta", "mka": "aac"}
    make: dict[str, Damage] = {"mp3": _mp3, "flac": _flac, "ogg": _ogg, "wav": _wav, "aac": _adts}
    path = tmp_path / f"a.{suffix}"
    if suffix in encoders:
        data = bytearray(encode(path, stereo(DURATION_S), encoders[suffix], kbit=128).read_bytes())
    else:
        data = bytearray(make[suffix](tmp_path / "part"))
    rng = np.random.default_rng(seed)
    for _ in range(4):
        at = int(rng.integers(0, len(data)))
        data[at : at + 200] = rng.bytes(len(data[at : at + 200]))
    put(path, bytes(data))
    with contextlib.suppress(Unusable):
        wave, _ = audio.decode(path, MODEL_HZ)
        assert np.isfinite(wave).all()


def test_an_edit_list_excludes_encoder_delay_but_not_music(tmp_path: Path) -> None:
    data = bytearray(_m4a(tmp_path / "a", "alac"))
    at = data.find(b"elst")
    assert at > 0
    media_s, facts = decoded_s(tmp_path / "a.m4a"), audio.decode(tmp_path / "a.m4a", MODEL_HZ)[1]
    assert (round(media_s, 2), facts["note"]) == (DURATION_S, "")
    edited = struct.unpack(">I", data[at + 12 : at + 16])[0]
    data[at + 12 : at + 16] = struct.pack(">I", edited // 4)
    wave, facts = audio.decode(put(tmp_path / "edited.m4a", bytes(data)), MODEL_HZ)
    assert len(wave) / MODEL_HZ == pytest.approx(DURATION_S, abs=0.1)
    assert facts["note"] == "edit list selects 2.0 s, file contains 8.0 s"


# Formats of FFmpeg


FORMATS: dict[str, tuple[str, str | None, int, int]] = {
    "a.m4a": ("aac", None, RATE_HZ, 192),
    "lossless.m4a": ("alac", None, RATE_HZ, 0),
    "a.mp4": ("aac", "mp4", RATE_HZ, 192),
    "a.m4b": ("aac", "ipod", RATE_HZ, 192),
    "a.alac": ("alac", "ipod", RATE_HZ, 0),
    "a.aac": ("aac", "adts", RATE_HZ, 192),
    "a.opus": ("libopus", None, 48000, 128),
    "a.wma": ("wmav2", "asf", RATE_HZ, 192),
    "a.wv": ("wavpack", None, RATE_HZ, 0),
    "a.tta": ("tta", None, RATE_HZ, 0),
    "a.mka": ("aac", "matroska", RATE_HZ, 192),
    "flac.mka": ("flac", "matroska", RATE_HZ, 0),
    "a.webm": ("libopus", "webm", 48000, 128),
    "a.oga": ("flac", "ogg", RATE_HZ, 0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_case_sound_6_formats_of_collections_are_read(name: str, tmp_path: Path) -> None:
    codec, container, rate_hz, kbit = FORMATS[name]
    wave = stereo(DURATION_S, 5, rate_hz)
    mono, facts = audio.decode(encode(tmp_path / name, wave, codec, container, rate_hz, kbit), MODEL_HZ)
    assert facts == {"source_rate_hz": rate_hz, "source_channels": 2, "note": ""}
    assert len(mono) / MODEL_HZ == pytest.approx(DURATION_S, abs=0.06)
    expected = soxr.resample(wave.mean(axis=1), rate_hz, MODEL_HZ)
    lossless = codec in ("alac", "wavpack", "tta", "flac")
    # WMA begins a frame late, as no player cuts off what its encoder put before the sound
    shifts = range(-3000, 3000) if codec == "wmav2" or name == "a.aac" else range(-25, 26)
    middle = slice(MODEL_HZ, 2 * MODEL_HZ)
    errors = [np.abs(mono[MODEL_HZ + s : 2 * MODEL_HZ + s] - expected[middle]).mean() for s in shifts]
    assert min(errors) < (1e-4 if lossless else 2e-2)
    if lossless:
        assert len(mono) == len(expected)
    assert library.SUFFIXES.count(Path(name).suffix) == 1


def test_files_without_audio_are_refused_in_one_line(tmp_path: Path) -> None:
    heads = {
        "a.m4a": b"\0\0\0\x18ftypM4A \0\0\0\0" + bytes(100), "a.wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
        "a.wv": b"wvpk" + bytes(60), "a.ape": b"MAC " + bytes(60), "a.mka": b"\x1a\x45\xdf\xa3" + bytes(60),
        "list.m4a": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "concat.m4a": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "a.dsf": b"DSD " + bytes(80), "a.tta": b"TTA1" + bytes(30), "a.aac": b"\xff\xf1" + bytes(50),
    }  # fmt: skip
    for name, head in heads.items():
        with pytest.raises(Unusable, match=r"^(not readable as audio|truncated|contains no)") as reason:
            audio.decode(put(tmp_path / name, head), MODEL_HZ)
        assert "\n" not in str(reason.value), name


def test_a_playlist_is_not_a_container() -> None:
    for head in (b"#EXTM3U\n", b"ffconcat version 1.0", b"<?xml version", b"[playlist]", b"http://", b"PK\x03\x04"):
        assert ffmpeg.detect_container(head + bytes(100)) == ""


def test_protected_files_are_refused(tmp_path: Path) -> None:
    data = _m4a(tmp_path / "a")
    assert data.count(b"mp4a") >= 1
    at = data.find(b"stsd")
    place = data.find(b"mp4a", at)
    protected = data[:place] + b"drms" + data[place + 4 :]
    with pytest.raises(Unusable, match=r"^protected against copying \(DRM\)$"):
        audio.decode(put(tmp_path / "b.m4a", protected), MODEL_HZ)


def test_dsd_is_read(tmp_path: Path) -> None:
    """A DSF of one channel: a sine, as a one-bit stream of a first-order modulator."""
    rate_hz, duration_s = 2_822_400, 1.0
    t = np.arange(int(rate_hz * duration_s)) / rate_hz
    steps = np.cumsum(0.5 * np.sin(2 * np.pi * 440 * t) + 0.5)  # density of ones: pulses where the sum passes a whole
    bits = np.diff(np.floor(steps), prepend=0.0).astype(np.uint8) & 1
    blocks = np.packbits(bits, bitorder="little")
    blocks = np.pad(blocks, (0, -len(blocks) % 4096), constant_values=0x69)
    fmt = b"fmt " + struct.pack("<QIIIIIIQII", 52, 1, 0, 1, 1, rate_hz, 1, len(bits), 4096, 0)
    body = b"data" + struct.pack("<Q", 12 + len(blocks)) + blocks.tobytes()
    head = b"DSD " + struct.pack("<QQQ", 28, 28 + len(fmt) + len(body), 0)
    wave, facts = audio.decode(put(tmp_path / "a.dsf", head + fmt + body), MODEL_HZ)
    assert facts["source_rate_hz"] == 352_800
    assert len(wave) / MODEL_HZ == pytest.approx(duration_s, abs=0.02)
    spectrum = np.abs(np.fft.rfft((wave - wave.mean()) * np.hanning(len(wave))))
    assert spectrum.argmax() * MODEL_HZ / len(wave) == pytest.approx(440.0, abs=2.0)


# Channels


def hiss(samples: int, seed: int, level_db: float = -66.0) -> np.ndarray:
    wave = 10 ** (level_db / 20) * np.random.default_rng(seed).standard_normal(samples)
    return np.asarray(wave, dtype=np.float32)


def inverted(wave: np.ndarray, gain: float = 1.0, level_db: float = -66.0) -> np.ndarray:
    return np.stack([wave + hiss(len(wave), 1, level_db), -gain * wave + hiss(len(wave), 2, level_db)], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.mp3", "a.ogg", "a.m4a"])
@pytest.mark.parametrize("gain", [1.0, 0.8, 1.2])
def test_case_sound_4_of_channels_that_cancel_the_louder_one_is_used(name: str, gain: float, tmp_path: Path) -> None:
    wave = tone(20, 3)
    path, both = tmp_path / name, inverted(wave, gain)
    if name.endswith("m4a"):
        encode(path, both, "aac", kbit=192)
    else:
        write_sound(path, both)
    mono, facts = audio.decode(path, MODEL_HZ)
    channel = 2 if gain > 1 else 1
    assert facts["note"] == f"channels cancel each other in 100% of the recording; using channel {channel} of 2"
    expected = max(gain, 1.0) * 0.2 / np.sqrt(2)
    assert np.sqrt(np.mean(mono**2)) == pytest.approx(expected, rel=0.05)


def test_channels_that_cancel_in_one_movement_of_a_file_are_detected(tmp_path: Path) -> None:
    wave = tone(60, 3)
    both = np.stack([wave, wave], axis=1) + np.stack([hiss(len(wave), 1), hiss(len(wave), 2)], axis=1)
    both[40 * RATE_HZ :, 1] *= -1
    mono, facts = audio.decode(write_sound(tmp_path / "a.flac", both), MODEL_HZ)
    assert "channels cancel each other in 3" in facts["note"]
    assert np.sqrt(np.mean(mono[-10 * MODEL_HZ :] ** 2)) == pytest.approx(0.2 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("kind", ["a hall", "half as loud", "a shift"])
def test_an_inverted_channel_is_detected_if_the_cancellation_is_partial(kind: str, tmp_path: Path) -> None:
    wave = tone(60, 3)
    other = {
        "a hall": -wave + 0.5 * (tone(60, 11) - tone(60, 12)) / np.float32(np.sqrt(2)),
        "half as loud": -0.5 * wave,
        "a shift": -np.roll(wave, 11),
    }[kind]
    both = np.stack([wave + (0.3 * tone(60, 9) if kind == "a hall" else 0), other], axis=1).astype(np.float32)
    mono, facts = audio.decode(write_sound(tmp_path / "a.wav", both, subtype="FLOAT"), MODEL_HZ)
    assert facts["note"].startswith("channels cancel each other")
    channel = int(facts["note"].rpartition("; using channel ")[2][0]) - 1
    assert np.sqrt(np.mean(mono**2)) == pytest.approx(np.sqrt(np.mean(both[:, channel] ** 2)), rel=0.02)


def orchestra(kind: str) -> np.ndarray:
    """Stereo as real recordings have it, (N, 2): 30 s."""
    rng = np.random.default_rng(7)
    samples = 30 * RATE_HZ
    parts = [tone(30, seed) for seed in range(6)]
    if kind == "uncorrelated":
        return np.stack([sum(parts[:3]), sum(parts[3:])], axis=1) / 3
    if kind == "one channel silent":
        return np.stack([parts[0], np.zeros(samples, np.float32)], axis=1)
    if kind == "spaced pair":  # each part arrives at its own time and level, with a tail of its own on each side
        tail = np.exp(-np.arange(RATE_HZ) / (0.3 * RATE_HZ)) * rng.standard_normal((2, RATE_HZ)) * 0.02
        delays = rng.integers(0, 60, (6, 2))
        sides = [sum(np.roll(part, delays[n, side]) for n, part in enumerate(parts)) / 6 for side in range(2)]
        spectra = [np.fft.rfft(sides[s], samples * 2) * np.fft.rfft(tail[s], samples * 2) for s in range(2)]
        return np.stack([sides[s] + np.fft.irfft(spectra[s])[:samples] for s in range(2)], 1).astype(np.float32)
    if kind == "widened":  # the side signal raised by 6 dB
        middle, side = sum(parts[:4]) / 4, sum(parts[4:]) / 4
        return np.stack([middle + 2 * side, middle - 2 * side], axis=1).astype(np.float32)
    if kind == "mono":
        return np.stack([parts[0], parts[0]], axis=1)
    if kind == "noise":
        return rng.standard_normal((samples, 2)).astype(np.float32) * 0.1
    if kind == "six channels":
        return np.stack([*parts], axis=1)
    silence = np.zeros((samples, 2), np.float32)  # music with pauses of out-of-phase noise at -60 dB
    silence[: samples // 3] = parts[0][: samples // 3, None]
    silence[samples // 3 :] = inverted(hiss(samples, 9, -70.0), 1.0, -100.0)[samples // 3 :]
    return silence


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "uncorrelated",
        "one channel silent",
        "spaced pair",
        "widened",
        "mono",
        "noise",
        "six channels",
        "pauses",
    ],
)
def test_real_stereo_is_reduced_to_the_mean(kind: str, tmp_path: Path) -> None:
    wave = orchestra(kind)
    mono, facts = audio.decode(write_sound(tmp_path / "a.wav", wave, subtype="FLOAT"), MODEL_HZ)
    assert facts["note"] == ""
    np.testing.assert_allclose(mono, soxr.resample(wave.mean(axis=1), RATE_HZ, MODEL_HZ), atol=2e-5)


# The same in every command


def movement(path: str) -> Movement:
    return Movement(
        **{"composer": "Holst", "work": path, "movement": "1", "path": path, "kind": "recording"}, licence="", origin=""
    )


def write_sound_cases(folder: Path) -> dict[str, float]:
    """Write a file of every kind on which the commands must agree, and return their durations in seconds."""
    both = stereo(60)
    put(folder / "1-no-xing.mp3", mp3(folder / "m.mp3", both, xing=False).read_bytes())
    wav = write_sound(folder / "60s.wav", both).read_bytes()
    put(folder / "2-short-data-size.wav", sounds.with_size(wav, sounds.read_size(wav) // 4))
    put(folder / "3-unknown-length.flac", sounds.with_total(write_sound(folder / "f.flac", both).read_bytes(), 0))
    write_sound(folder / "4-inverted-channel.flac", inverted(tone(20, 3)))
    encode(folder / "6-itunes.m4a", both, "aac", kbit=128)
    encode(folder / "6-lossless.m4a", both, "alac")
    encode(folder / "6-opus.opus", stereo(60, rate_hz=48000), "libopus", None, 48000, 128)
    for name in ("m.mp3", "60s.wav", "f.flac"):
        (folder / name).unlink()
    return {path.name: 20.0 if path.name.startswith("4") else 60.0 for path in folder.iterdir()}


@pytest.mark.slow
def test_case_sound_1_2_3_4_and_6_in_the_stage_audio(project: Project, changed: Callable[..., Params]) -> None:
    corpus = project.corpus("small")
    corpus.mkdir(parents=True)
    lengths = write_sound_cases(corpus)
    soundfile.write(corpus / "soft.wav", tone(5) * np.float32(0.005), RATE_HZ, subtype="PCM_24")
    catalogue.write(corpus, [movement(name) for name in (*lengths, "soft.wav")])
    audio.run(project, changed(corpus__name="small"))
    assert not len(pd.read_csv(project.out("audio", "rejected.csv")))
    table = read_table(project.movements, "audio").set_index("work")
    for name, duration_s in lengths.items():
        assert table.loc[name, "duration_s"] == pytest.approx(duration_s, abs=0.15), name
    notes = table["note"].to_dict()
    assert notes["1-no-xing.mp3"] in ("", "header declares no length, file contains 60.0 s")
    assert notes["2-short-data-size.wav"] == "header declares 15.0 s, file contains 60.0 s"
    assert notes["3-unknown-length.flac"] == "header declares no length, file contains 60.0 s"
    assert (
        notes["4-inverted-channel.flac"] == "channels cancel each other in 100% of the recording; using channel 1 of 2"
    )
    assert table.loc["4-inverted-channel.flac", "gain_db"] < 10
    assert notes["6-itunes.m4a"] == notes["6-lossless.m4a"] == notes["6-opus.opus"] == ""
    assert notes["soft.wav"].startswith("very quiet: amplified by ")
    assert table.loc["soft.wav", "gain_db"] > 30


@pytest.fixture(scope="module")
def embedder(trained: Any) -> Any:
    from symphony2vec.embedder import Embedder

    return Embedder.load(trained.package())


@pytest.mark.slow
def test_case_sound_1_2_3_4_and_6_in_embed(embedder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from symphony2vec.collection import building

    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    music = tmp_path / "music"
    music.mkdir()
    lengths = write_sound_cases(music)
    collection = building.write(
        [music], tmp_path / "x.parquet", building.EmbeddingRequest.for_model(embedder, "clips", None)
    )
    assert not len(collection.rejected)
    ends_s = collection.table.groupby("path")["end_s"].max()
    for name, duration_s in lengths.items():
        assert ends_s[str(music / name)] == pytest.approx(duration_s, abs=embedder.duration_s / 2 + 0.2), name
    assert "using channel 1 of 2" in collection.notes[str(music / "4-inverted-channel.flac")]
    assert "15.0 s" in collection.notes[str(music / "2-short-data-size.wav")]
    expected = embedder.embed(tone(20, 3), RATE_HZ).vectors
    actual = embedder.embed_file(music / "4-inverted-channel.flac")
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual.vectors, expected[: len(actual.vectors)], atol=0.15 * scale)


@pytest.mark.slow
def test_case_sound_1_2_3_4_and_6_in_the_served_model(trained: Any, tmp_path: Path) -> None:
    import mlflow

    loaded = mlflow.pyfunc.load_model(str(trained.package()))
    lengths = write_sound_cases(tmp_path)
    for name, duration_s in lengths.items():
        encoded = base64.b64encode((tmp_path / name).read_bytes()).decode()
        (answer,) = loaded.predict(pd.DataFrame([{"audio": encoded}]))
        assert answer["ends_s"][-1] == pytest.approx(duration_s, abs=1.2), name
        assert ("note" in answer) == (name[0] in "1234"), name


def test_channels_of_an_array_that_cancel_are_not_mixed(embedder: Any) -> None:
    wave = tone(5, 3, MODEL_HZ)
    embedding = embedder.embed(np.stack([wave, -wave], axis=1), MODEL_HZ)
    np.testing.assert_array_equal(embedding.vectors, embedder.embed(wave, MODEL_HZ).vectors)
    assert embedding.note == "channels cancel each other in 100% of the recording; using channel 1 of 2"


def test_formats_of_ffmpeg_have_sound_in_the_atlas(tmp_path: Path) -> None:
    from symphony2vec.atlas import sounds as clips

    encode(tmp_path / "a.m4a", stereo(6.0), "aac", kbit=128)
    target = tmp_path / "clip.mp3"
    reasons = clips.cut(clips.Job(tmp_path / "a.m4a", (clips.Cut(2.0, 5.0, target),)))
    assert reasons == {}
    assert soundfile.info(target).duration == pytest.approx(3.0, abs=0.1)


# Parts


def test_the_frame_count_of_an_mp3_is_that_of_its_encoder(tmp_path: Path) -> None:
    for kbit in (0, 128, 320):
        data = mp3(tmp_path / "a.mp3", stereo(3.0), kbit=kbit).read_bytes()
        (stream,) = mpeg.find_streams(sounds.id3v2(b"\xff\xfb\x90\x64" * 500) + data + sounds.ID3V1)
        assert stream.frames == stream.declared_frames == sounds.read_frame_count(data)
        assert stream.actual_bytes == stream.declared_bytes


def test_the_last_frame_of_a_flac_gives_its_length(tmp_path: Path) -> None:
    for samples in (1, 4095, 4096, 4097, 100_001):
        data = write_sound(tmp_path / "a.flac", stereo(3.0)[:samples]).read_bytes()
        assert flac.measure_length(data, 0, len(data)) == flac.StreamLength(RATE_HZ, samples, samples)
        assert flac.measure_length(data[:-3], 0, len(data) - 3).actual_samples is None


def test_ranges_read_as_one_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    path = put(tmp_path / "x", data)
    with path.open("rb", buffering=0) as file:
        view = ranges.RangeReader(file, [(10, 300), (300, 300), (5000, 7000)])
        expected = data[10:300] + data[5000:7000]
        assert view.read() == expected
        for at in (0, 5, 289, 290, 291, 2289):
            view.seek(at)
            assert view.read(7) == expected[at : at + 7]
        assert view.seek(-3, io.SEEK_END) == len(expected) - 3


def test_a_search_finds_patterns_across_two_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_WINDOW_BYTES", 16)
    data = bytearray(100)
    data[14:18] = b"ABCD"
    data[60:64] = b"ABCD"
    with put(tmp_path / "x", bytes(data)).open("rb", buffering=0) as file:
        file_bytes = ranges.FileBytes(file)
        for begin in range(0, 70):
            assert file_bytes.find(b"ABCD", begin) == data.find(b"ABCD", begin)
            assert file_bytes.rfind(b"ABCD", 0, begin + 4) == data.rfind(b"ABCD", 0, begin + 4)
        assert [file_bytes[at : at + 5] for at in range(98)] == [bytes(data[at : at + 5]) for at in range(98)]
        assert (file_bytes[14], len(file_bytes)) == (ord("A"), 100)
