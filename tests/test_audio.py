"""The stage `audio`: rejected files and the reasons, relations between levels and rates, interrupted runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pyloudnorm
import pytest
import soundfile

from symphony2vec import synthesis
from symphony2vec.audio import loudness
from symphony2vec.audio import stage as audio
from symphony2vec.corpus import catalogue
from symphony2vec.corpus.catalogue import Movement
from symphony2vec.decoding import recording as decoding
from symphony2vec.errors import Unusable, UserError
from symphony2vec.params import Params
from symphony2vec.project import Project

Changed = Callable[..., Params]
RATE_HZ = 22050
TARGET = audio.LoudnessTarget(loudness_lufs=-23.0, peak_dbfs=-1.0, silence_db=60.0)
SCORE = (
    '<score-partwise><part-list><score-part id="P1"><part-name>Violin</part-name></score-part></part-list>'
    '<part id="P1"><measure number="1"><attributes><divisions>1</divisions></attributes>{}</measure></part>'
    "</score-partwise>"
)
NOTE = "<note><pitch><step>A</step><octave>4</octave></pitch><duration>1</duration><voice>1</voice></note>"


def sine(duration_s: float = 1.0, rate_hz: int = RATE_HZ, frequency_hz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(int(duration_s * rate_hz)) / rate_hz)).astype(np.float32)


def noise(duration_s: float = 2.0, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(duration_s * RATE_HZ))).astype(np.float32)


def movement(path: str, **changes: str) -> Movement:
    kind = "score" if path.endswith(("xml", ".mxl", ".krn")) else "recording"
    fields = {"composer": "Holst", "work": path, "movement": "1", "path": path, "kind": kind}
    return Movement(**{**fields, "licence": "", "origin": "", **changes})


@pytest.fixture
def small(changed: Changed) -> Params:
    return changed(corpus__name="small")


@pytest.fixture
def corpus(project: Project) -> Path:
    folder = project.corpus("small")
    folder.mkdir(parents=True)
    return folder


def write_corpus(folder: Path, names: Iterable[str]) -> None:
    """Write a recording of noise for each name that does not exist, and a catalogue of all names."""
    names = list(names)
    for seed, name in enumerate(names):
        if not (folder / name).exists():
            soundfile.write(folder / name, noise(1.0, seed), RATE_HZ)
    catalogue.write(folder, [movement(name) for name in names])


def read_reasons(project: Project) -> dict[str, str]:
    table = pd.read_csv(project.out("audio", "rejected.csv"), keep_default_na=False)
    return dict(zip(table["path"], table["reason"], strict=True))


def list_flacs(project: Project) -> dict[str, Path]:
    """Return all FLACs, including hidden ones, by their name without the key."""
    folder = project.out("audio")
    return {path.name.rsplit("-", 1)[0]: path for path in folder.iterdir() if path.suffix == ".flac"}


# Unusable files


def write_unusable_files(folder: Path) -> dict[str, str]:
    """Write one recording or score of every unusable kind, and return a pattern of the reason of each."""
    for kind in ("wav", "flac", "mp3", "ogg", "aiff"):
        soundfile.write(folder / f"complete.{kind}", noise(4.0), RATE_HZ)
        data = (folder / f"complete.{kind}").read_bytes()
        (folder / f"cut.{kind}").write_bytes(data[: len(data) // 2])
        (folder / f"header.{kind}").write_bytes(data[:44])
        (folder / f"complete.{kind}").unlink()
    (folder / "empty.wav").touch()
    (folder / "text.flac").write_text("no sound\n" * 100)
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    soundfile.write(folder / "silent.wav", np.zeros(RATE_HZ), RATE_HZ)
    soundfile.write(folder / "faint.wav", sine() * 2e-4, RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "one.wav", np.full(1, 0.5), RATE_HZ)
    soundfile.write(folder / "brief.wav", sine(0.39), RATE_HZ)
    soundfile.write(folder / "nan.wav", np.full(RATE_HZ, np.nan), RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "infinite.wav", np.append(sine(), np.inf), RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "huge.wav", sine() * 1e37, RATE_HZ, subtype="FLOAT")
    soundfile.write(folder / "slow.wav", sine(), 1)
    (folder / "text.musicxml").write_text("no score")
    (folder / "cut.mxl").write_bytes(b"PK\x03\x04")
    (folder / "rests.xml").write_text(SCORE.format("<note><rest/><duration>4</duration></note>"))
    (folder / "five-hours.xml").write_text(SCORE.format(NOTE.replace(">1</dur", ">30000</dur")))
    return {
        "cut.wav": "^truncated: 50% of the audio declared in the header is present$",
        "cut.aiff": "^truncated: 50% of the audio declared in the header is present$",
        "cut.flac": "damaged: flac decoder lost sync|^truncated: ",
        "cut.mp3": r"^truncated: [12]\.\d of 4\.0 s can be decoded$",
        "cut.ogg": "^truncated: the last page of the Ogg stream is missing$",
        "header.wav": "^contains no samples: the file is empty, or truncated near its start$",
        "header.aiff": "^(not readable as audio|contains no samples)",
        "header.flac": "^not readable as audio, or damaged: ",
        "header.mp3": "^not readable as audio, or damaged: ",
        "header.ogg": "^truncated: the last page of the Ogg stream is missing$",
        "empty.wav": "^the file is empty$",
        "text.flac": "^not readable as audio, or damaged: Format not recognised$",
        "folder.wav": "^cannot be opened: Is a directory$",
        "pipe.wav": "^cannot be opened: not a regular file$",
        "missing.wav": "^cannot be opened: No such file or directory$",
        "missing.xml": "^cannot be opened: No such file or directory$",
        "silent.wav": "^silent$",
        "faint.wav": "^silent: its loudness is below -70 LUFS$",
        "one.wav": r"^too short: 0\.000 s of sound; at least 0\.4 s are needed$",
        "brief.wav": r"^too short: 0\.3\d\d s of sound",
        "nan.wav": r"^contains samples that are not numbers \(NaN or infinite\)$",
        "infinite.wav": r"^contains samples that are not numbers \(NaN or infinite\)$",
        "huge.wav": r"^its samples reach 3\.\de\+36 times full scale$",
        "slow.wav": r"^lasts 6\.1 hours; the limit is 4 hours: split it into movements$",
        "text.musicxml": "^not a readable score: XMLSyntaxError",
        "cut.mxl": "^not a readable score: ",
        "rests.xml": "^the score contains no pitched note$",
        "five-hours.xml": "^the score would last 5 hours; the limit is 4$",
    }


def write_usable_files(folder: Path) -> list[str]:
    """Write one recording or score of every unusual kind that can be used, and return their names."""
    wave = noise()
    soundfile.write(folder / "8-bit.wav", wave, RATE_HZ, subtype="PCM_U8")
    soundfile.write(folder / "24-bit.wav", wave, RATE_HZ, subtype="PCM_24")
    soundfile.write(folder / "float.wav", wave * 30_000, RATE_HZ, subtype="FLOAT")  # without its scale
    soundfile.write(folder / "8-kHz.wav", wave, 8000)
    soundfile.write(folder / "96-kHz.wav", wave, 96000)
    soundfile.write(folder / "six-channels.wav", np.stack([wave] * 6, axis=1), RATE_HZ)
    soundfile.write(folder / "opposed.wav", np.stack([wave, -wave], axis=1), RATE_HZ)
    soundfile.write(folder / "mp3-named.flac", wave, RATE_HZ, format="MP3")
    soundfile.write(folder / "complete.ogg", wave, RATE_HZ)
    soundfile.write(folder / "trailing.ogg", wave, RATE_HZ)
    with (folder / "trailing.ogg").open("ab") as file:
        file.write(b"TAG" + bytes(125))  # ID3v1, as careless taggers add it
    (folder / "score.xml").write_text(SCORE.format(NOTE * 4))
    names = (
        "8-bit.wav 24-bit.wav float.wav 8-kHz.wav 96-kHz.wav six-channels.wav opposed.wav mp3-named.flac complete.ogg"
    )
    return [*names.split(), "trailing.ogg", "score.xml"]


def test_unusable_files_are_rejected_with_the_reason_and_the_others_are_processed(
    project: Project, corpus: Path, small: Params
) -> None:
    expected, usable = write_unusable_files(corpus), write_usable_files(corpus)
    soundfile.write(corpus / "changed.wav", noise(), RATE_HZ)
    checked = [movement(name, sha256="0" * 64) for name in ("changed.wav", "gone.wav")]
    expected["changed.wav"] = "^the file has changed since it was catalogued; run `symphony2vec corpus` again$"
    expected["gone.wav"] = "^cannot be opened: No such file or directory$"
    rows = [movement(name) for name in (*expected, *usable) if name not in ("changed.wav", "gone.wav")]
    catalogue.write(corpus, [*rows, *checked])
    before = {path for path in project.root.rglob("*") if "out" not in path.parts}

    audio.run(project, small)

    actual = read_reasons(project)
    assert actual.keys() == expected.keys()
    assert {path: reason for path, reason in actual.items() if not re.search(expected[path], reason)} == {}
    assert not any("\n" in reason for reason in actual.values())
    table = pd.read_csv(project.movements)
    assert set(table["work"]) == set(usable)
    assert (table["gain_db"].abs() < 120).all()
    channels = dict(zip(table["work"], table["source_channels"], strict=True))
    assert (channels["six-channels.wav"], channels["8-bit.wav"]) == (6, 1)
    lengths = dict(zip(table["work"], table["duration_s"], strict=True))
    assert lengths["8-kHz.wav"] == pytest.approx(2 * RATE_HZ / 8000, abs=0.05)
    assert lengths["96-kHz.wav"] == pytest.approx(2 * RATE_HZ / 96000, abs=0.05)
    assert {path for path in project.root.rglob("*") if "out" not in path.parts} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_rejected(project: Project, corpus: Path, small: Params) -> None:
    write_corpus(corpus, ["locked.wav", "open.wav"])
    (corpus / "locked.wav").chmod(0)
    audio.run(project, small)
    assert read_reasons(project) == {"locked.wav": "cannot be opened: Permission denied"}


def test_invalid_rows_are_rejected_and_the_others_are_processed(project: Project, corpus: Path, small: Params) -> None:
    soundfile.write(project.root / "outside.wav", noise(), RATE_HZ)
    rows = [movement("a.wav"), movement("a.wav", work="again"), movement("../../outside.wav", work="escape")]
    write_corpus(corpus, ["a.wav", "b.wav"])
    catalogue.write(corpus, [*rows, movement("b.wav"), movement("c.wav", composer="")])
    audio.run(project, small)
    actual = read_reasons(project)
    assert "leads outside the corpus folder" in actual["../../outside.wav"]
    assert "no composer" in actual["c.wav"]
    assert "is already in row" in actual["a.wav"]
    assert set(pd.read_csv(project.movements)["work"]) == {"a.wav", "b.wav"}


def test_if_nothing_can_be_used_the_error_names_the_table(project: Project, corpus: Path, small: Params) -> None:
    (corpus / "text.flac").write_text("no sound")
    catalogue.write(corpus, [movement("text.flac"), movement("missing.wav")])
    with pytest.raises(UserError, match=r"no movement of the catalogue can be used; .*rejected\.csv"):
        audio.run(project, small)
    assert len(read_reasons(project)) == 2
    assert not project.movements.exists()


def test_an_empty_corpus_is_an_error(project: Project, corpus: Path, small: Params) -> None:
    with pytest.raises(UserError, match=r"catalogue\.csv is missing"):
        audio.run(project, small)
    catalogue.write(corpus, [])
    with pytest.raises(UserError, match="contains no movement"):
        audio.run(project, small)


@pytest.mark.parametrize(
    ("title", "start"),
    [
        ("Чайковский", "0123"),
        ("交響曲第五番", "0123"),
        ("Dvořák: Größe / «9»\\..\0\n", "dvorak-groe-9"),
        ("../../etc/passwd", "etc-passwd"),
        ("x" * 5000, "x" * 60),
        ("CON", "con"),
        ("-rf", "rf"),
    ],
)
def test_every_title_gives_a_valid_file_name(title: str, start: str, tmp_path: Path) -> None:
    name = audio.make_file_stem(movement("a.wav", composer=title, work="", movement=""), "0123456789abcdef")
    assert name.startswith(start)
    assert name.endswith("0123456789abcdef")
    assert name.isascii()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    (tmp_path / f"{name}.flac").touch()


# Level and rate


@pytest.mark.parametrize("gain", [0.03, 0.5, 7.0, 1000.0])
def test_the_result_does_not_depend_on_the_gain_of_the_input(gain: float) -> None:
    wave = noise() * np.linspace(0.1, 1.0, 2 * RATE_HZ, dtype=np.float32)
    plain, plain_levels = audio.normalize_loudness(wave, RATE_HZ, TARGET)
    gained, levels = audio.normalize_loudness(wave * np.float32(gain), RATE_HZ, TARGET)
    assert np.abs(plain - gained).max() < 2.0**-15
    assert levels["gain_db"] == pytest.approx(plain_levels["gain_db"] - 20 * np.log10(gain), abs=0.011)
    assert levels["loudness_lufs"] == pytest.approx(plain_levels["loudness_lufs"] + 20 * np.log10(gain), abs=0.011)


def test_different_movements_are_normalized_to_one_loudness() -> None:
    for wave in (noise(), sine(3.0), noise(5.0, 1) * 0.01, sine(1.0, frequency_hz=3000.0)):
        normalized, _ = audio.normalize_loudness(wave, RATE_HZ, TARGET)
        assert normalized.dtype == np.float32
        assert pyloudnorm.Meter(RATE_HZ).integrated_loudness(normalized) == pytest.approx(-23.0, abs=0.02)


def test_the_peak_stays_below_its_ceiling_and_nothing_is_clipped() -> None:
    wave = noise() * 0.01
    wave[RATE_HZ] = 0.9
    normalized, levels = audio.normalize_loudness(wave, RATE_HZ, audio.LoudnessTarget(-5.0, -3.0, 60.0))
    assert 20 * np.log10(np.abs(normalized).max()) == pytest.approx(-3.0, abs=1e-4)
    assert np.allclose(normalized / wave, normalized[0] / wave[0], rtol=1e-4)
    assert levels["gain_db"] == pytest.approx(-3.0 - 20 * np.log10(0.9), abs=0.01)


def test_silence_is_trimmed_at_the_ends_and_kept_in_between() -> None:
    gap = np.zeros(RATE_HZ, np.float32)
    wave = np.concatenate([gap, sine(), gap, sine(), gap, gap])
    normalized, _ = audio.normalize_loudness(wave, RATE_HZ, TARGET)
    assert len(normalized) == pytest.approx(3 * RATE_HZ, abs=2 * 2048)
    noisy = wave + 1e-5 * noise(6.0)
    assert len(loudness.trim_silence(noisy, 60.0)) == pytest.approx(3 * RATE_HZ, abs=2 * 2048)
    assert len(loudness.trim_silence(noisy, 160.0)) == pytest.approx(len(wave), abs=512)


@pytest.mark.parametrize("samples", [1, 511, 512, 513, 2048, 10_000, 30_001])
def test_trimming_agrees_with_librosa(samples: int) -> None:
    wave = (np.random.default_rng(samples).standard_normal(samples) * np.hanning(samples + 2)[1:-1] ** 6).astype("f4")
    for silence_db in (10.0, 40.0, 60.0):
        assert np.array_equal(loudness.trim_silence(wave, silence_db), librosa.effects.trim(wave, top_db=silence_db)[0])


@pytest.mark.parametrize("samples", [int(np.ceil(0.4 * RATE_HZ)), RATE_HZ, 5 * RATE_HZ + 1234, 7 * RATE_HZ - 1])
def test_the_loudness_of_every_block_equals_pyloudnorm_to_the_last_bit(samples: int) -> None:
    wave = np.random.default_rng(samples).standard_normal(samples) * np.linspace(0.0, 0.5, samples) ** 3
    wave[RATE_HZ : 2 * RATE_HZ] = 0.0
    meter = pyloudnorm.Meter(RATE_HZ)
    meter.integrated_loudness(wave)
    weighted = wave
    for weighting in meter._filters.values():
        weighted = weighting.apply_filter(weighted)
    assert np.array_equal(loudness._measure_blocks(np.square(weighted), RATE_HZ), meter.blockwise_loudness)


def test_loudness_measured_in_segments_agrees_with_one_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.concatenate([noise(3.0), noise(4.0, 1) * 0.03, np.zeros(RATE_HZ, np.float32), sine(3.3)])
    expected = pyloudnorm.Meter(RATE_HZ).integrated_loudness(wave.astype(np.float64))
    assert loudness.integrated_loudness(wave, RATE_HZ) == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(loudness, "SEGMENT_S", 2)
    assert loudness.integrated_loudness(wave, RATE_HZ) == pytest.approx(expected, abs=0.01)


def test_normalization_refuses_invalid_waveforms() -> None:
    with pytest.raises(Unusable, match=r"100% of its samples are not numbers \(NaN or infinite\)"):
        audio.normalize_loudness(np.full(RATE_HZ, np.nan, np.float32), RATE_HZ, TARGET)
    for samples, reason in ((0, "contains 0 samples"), (1, "contains 1 sample$"), (2, "silent")):
        with pytest.raises(Unusable, match=reason):
            audio.normalize_loudness(np.zeros(samples, np.float32), RATE_HZ, TARGET)


@pytest.mark.parametrize("rate_hz", [8000, 44100, 96000])
def test_a_sine_keeps_its_frequency_and_length_at_every_rate(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "sine.wav", sine(2.0, rate_hz), rate_hz)
    wave, facts = audio.decode(tmp_path / "sine.wav", RATE_HZ)
    assert len(wave) == pytest.approx(2 * RATE_HZ, abs=1)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    assert spectrum.argmax() * RATE_HZ / len(wave) == pytest.approx(440.0, abs=0.5)
    assert np.abs(wave).max() == pytest.approx(0.3, abs=0.02)
    assert facts == {"source_rate_hz": rate_hz, "source_channels": 1, "note": ""}


def test_mono_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    left, right = noise(1.0, 1), noise(1.0, 2)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), RATE_HZ, subtype="FLOAT")
    wave, _ = audio.decode(tmp_path / "stereo.wav", RATE_HZ)
    assert np.abs(wave - (left + right) / 2).max() < 1e-6


def test_the_block_size_does_not_change_the_waveform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "long.wav", noise(3.0), 44100)
    expected, _ = audio.decode(tmp_path / "long.wav", RATE_HZ)
    monkeypatch.setattr(decoding, "BLOCK_FRAMES", 1000)
    wave, _ = audio.decode(tmp_path / "long.wav", RATE_HZ)
    assert np.abs(expected - wave).max() < 1e-6


def test_a_score_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    path = tmp_path / "score.xml"
    path.write_text(SCORE.format(NOTE * 4))
    soundfont = synthesis.find_soundfont(synthesis.BUILT_IN_SOUNDFONT)
    performance = synthesis.Performance("TimGM6mb", soundfont, synthesis.Interpretation())
    first, second = (audio.render_score(path, RATE_HZ, performance)[0] for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert first.ndim == 1


# Repeated and interrupted runs


def test_a_second_run_writes_only_new_files_and_removes_stale_ones(
    project: Project, corpus: Path, small: Params, changed: Changed
) -> None:
    write_corpus(corpus, ["a.wav", "b.wav", "c.wav"])
    audio.run(project, small)
    first = {name: path.stat().st_mtime_ns for name, path in list_flacs(project).items()}
    table = project.movements.read_bytes()

    audio.run(project, small)
    assert {name: path.stat().st_mtime_ns for name, path in list_flacs(project).items()} == first
    assert project.movements.read_bytes() == table

    (project.out("audio") / ".0123.99.partial.flac").write_bytes(b"half a file")
    write_corpus(corpus, ["b.wav", "c.wav", "d.wav"])
    audio.run(project, small)
    third = {name: path.stat().st_mtime_ns for name, path in list_flacs(project).items()}
    assert third.keys() == {"holst-b-wav-1", "holst-c-wav-1", "holst-d-wav-1"}
    assert all(third[name] == first[name] for name in ("holst-b-wav-1", "holst-c-wav-1"))

    quieter = changed(corpus__name="small", audio__loudness_lufs=-30.0)
    names = {path.name for path in list_flacs(project).values()}
    audio.run(project, quieter)
    assert names.isdisjoint(path.name for path in list_flacs(project).values())
    assert len(list_flacs(project)) == 3


def test_settings_of_the_synthesis_do_not_concern_recordings(
    project: Project, corpus: Path, small: Params, changed: Changed
) -> None:
    (corpus / "score.xml").write_text(SCORE.format(NOTE * 4))
    write_corpus(corpus, ["score.xml", "a.wav"])
    audio.run(project, small)
    before = list_flacs(project)
    audio.run(project, changed(corpus__name="small", audio__beats_per_minute=120.0))
    after = list_flacs(project)
    assert before["holst-a-wav-1"] == after["holst-a-wav-1"]
    assert before["holst-score-xml-1"] != after["holst-score-xml-1"]


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_partial_file_and_the_next_one_resumes(
    project: Project, corpus: Path, changed: Changed
) -> None:
    names = [f"{number}.wav" for number in range(40)]
    for seed, name in enumerate(names):
        soundfile.write(corpus / name, noise(60.0, seed), RATE_HZ)
    write_corpus(corpus, names)
    project.params.write_text(project.params.read_text().replace("name: starter", "name: small"))
    command = [str(Path(sys.executable).parent / "symphony2vec"), "--project", str(project.root), "audio"]
    # a process that a shell started in the background ignores SIGINT, and so would its children
    popen_options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **popen_options)
    deadline = time.monotonic() + 60
    while not list(project.out("audio").glob("[!.]*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, messages = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "interrupted; run the same command again to continue" in messages
    assert "Traceback" not in messages
    assert not project.movements.exists()
    written = {path: path.stat().st_mtime_ns for path in project.out("audio").glob("[!.]*.flac")}
    assert 0 < len(written) < len(names)
    assert all(soundfile.info(path).duration == pytest.approx(60.0, abs=0.1) for path in written)

    audio.run(project, changed(corpus__name="small"))
    assert all(
        path.stat().st_mtime_ns == mtime_ns for path, mtime_ns in written.items() if path.with_suffix(".json").exists()
    )
    resumed = {path.name: path.read_bytes() for path in project.out("audio").iterdir()}
    assert not [name for name in resumed if "partial" in name]
    assert len(list_flacs(project)) == len(names)

    for path in project.out("audio").iterdir():
        path.unlink()
    audio.run(project, changed(corpus__name="small"))
    fresh = {path.name: path.read_bytes() for path in project.out("audio").iterdir()}
    assert fresh.keys() == resumed.keys()
    assert [name for name in fresh if fresh[name] != resumed[name]] == []


def test_a_long_file_is_decoded_once_for_all_its_movements(
    project: Project, corpus: Path, small: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(corpus / "side.wav", noise(9.0), RATE_HZ)
    soundfile.write(corpus / "other.wav", noise(2.0, 1), RATE_HZ)
    bounds = [(0.0, 3.0), (3.0, 6.5), (6.5, None), (20.0, 30.0)]
    rows = [
        Movement("Holst", "Side", str(i), "side.wav", "recording", "", "", start=start, end=end)
        for i, (start, end) in enumerate(bounds)
    ]
    catalogue.write(corpus, [*rows, movement("other.wav")])
    calls: list[str] = []

    def decode(path: Path, rate_hz: int) -> tuple[np.ndarray, dict[str, object]]:
        calls.append(path.name)
        return decoding.decode(path, rate_hz)

    monkeypatch.setattr(audio, "decode", decode)
    monkeypatch.setattr(
        "symphony2vec.parallel.spread", lambda function, tasks, *_, **__: enumerate(map(function, tasks))
    )
    audio.run(project, small)
    assert sorted(calls) == ["other.wav", "side.wav"]
    assert "should lie from 20.00 s to 30.00 s" in read_reasons(project)["side.wav"]
    for row in rows[:3]:
        (job,) = audio.make_jobs(corpus, row, tmp_path, audio.make_recipe(small))
        audio.write_flac(job)
        assert job.target.read_bytes() == (project.out("audio") / job.target.name).read_bytes()
