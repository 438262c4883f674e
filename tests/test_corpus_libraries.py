"""Whole libraries as Picard and iTunes tag them become splits in which no work lies on two sides.

The generator knows which work every file holds; the check looks the truth up by file and asks the product nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from mutagen import id3

from symphony2vec import params
from symphony2vec.audio import stage as audio
from symphony2vec.cli.corpus import corpus
from symphony2vec.clips import stage as clips
from symphony2vec.corpus import catalogue
from symphony2vec.project import Project, read_table

ROMAN = ("I", "II", "III", "IV")
TEMPI = ("Allegro con brio", "Andante con moto", "Scherzo. Allegro", "Finale. Presto")


@dataclass(frozen=True)
class Symphony:
    """A work, as programs write it: in English with its number in a catalogue, in German, and short."""

    work: str
    english: str
    german: str
    short: str


def symphonies(*rows: tuple[int, str, str, str]) -> list[Symphony]:
    return [
        Symphony(
            f"symphony {number}",
            f"Symphony no. {number} in {key}{catalogued and f', {catalogued}'}",
            f"Sinfonie Nr. {number} {german}{catalogued and f' {catalogued}'}",
            f"Symphony No. {number}",
        )
        for number, key, german, catalogued in rows
    ]


BEETHOVEN = symphonies(
    (3, "E-flat major", "Es-Dur", "op. 55"), (5, "C minor", "c-moll", "op. 67"), (7, "A major", "A-Dur", "op. 92")
)
MOZART = symphonies(
    (39, "E-flat major", "Es-Dur", "K. 543"), (40, "G minor", "g-moll", "K. 550"), (41, "C major", "C-Dur", "K. 551")
)
DVORAK = symphonies(
    (7, "D minor", "d-moll", "op. 70"), (8, "G major", "G-Dur", "op. 88"), (9, "E minor", "e-moll", "op. 95")
)
MAHLER = symphonies((1, "D major", "D-Dur", ""), (4, "G major", "G-Dur", ""), (5, "C-sharp minor", "cis-moll", ""))
UNKNOWN = symphonies(
    (1, "B minor", "h-moll", "op. 3"), (2, "F major", "F-Dur", "op. 9"), (3, "B-flat major", "B-Dur", "op. 12")
)
SPELLINGS: dict[str, tuple[list[Symphony], list[str]]] = {
    "Beethoven": (BEETHOVEN, ["Ludwig van Beethoven", "Beethoven, Ludwig van (1770-1827)", "L. van Beethoven"]),
    "Mozart": (MOZART, ["Wolfgang Amadeus Mozart", "Mozart, Wolfgang Amadeus, 1756-1791", "W. A. Mozart"]),
    "Dvořák": (DVORAK, ["Antonín Dvořák", "Antonin Dvorak", "Dvorak, Antonin"]),
    "Mahler": (MAHLER, ["Gustav Mahler", "Mahler, Gustav (1860–1911)", "MAHLER"]),
    "Ferrán": (UNKNOWN, ["Íñigo Ferrán", "Ferrán, Íñigo", "Iñigo Ferran"]),
}


@dataclass(frozen=True)
class Track:
    """One file: its truth, and what a program writes into it."""

    composer: str
    work: str
    path: str
    tags: dict[str, str]


def picard_tracks() -> Iterator[Track]:
    """As MusicBrainz Picard writes them, with its classical plug-in and without: three albums of every work."""
    for composer, (works, names) in SPELLINGS.items():
        for place, work in enumerate(works):
            for album, conductor in enumerate(("Herbert von Karajan", "Claudio Abbado")):
                for number, (roman, tempo) in enumerate(zip(ROMAN[: 2 + album], TEMPI, strict=False), start=1):
                    title = f"{work.english if album == 0 else work.german}: {roman}. {tempo}"
                    name = names[(place + album + number) % len(names)]
                    tags = {
                        "title": title, "composer": name, "composersort": f"{composer}, X", "artist": conductor,
                        "albumartist": f"{composer}; Berliner Philharmoniker, {conductor}", "conductor": conductor,
                        "album": "Sinfonien" if album else f"Symphonies nos. {place} & {place + 1} (disc 1)",
                        "tracknumber": str(number + 4 * place), "discnumber": str(album + 1), "totaldiscs": "2",
                        "musicbrainz_trackid": f"{composer}-{place}-{album}-{number}", "musicbrainz_workid": "x",
                    }  # fmt: skip
                    if (place + number) % 2:
                        tags |= {
                            "work": work.english,
                            "movementname": tempo,
                            "movement": str(number),
                            "showmovement": "1",
                        }
                        tags["movementtotal"] = "4"
                    folder = f"{conductor}/{tags['album']}/Disc {album + 1}"
                    yield Track(composer, work.work, f"{folder}/{number + 4 * place:02d} {composer}.flac", tags)


def itunes_tracks() -> Iterator[Track]:
    """As iTunes and Apple Music write them: grouping, MVNM and MVIN in a part of the files; discs; compilations."""
    for composer, (works, names) in SPELLINGS.items():
        for place, work in enumerate(works):
            for number, (roman, tempo) in enumerate(zip(ROMAN[:3], TEMPI, strict=False), start=1):
                name = names[(place + number) % len(names)]
                album = f"{composer}: {work.short} [Disc {number % 2 + 1}]"
                tags = {
                    "TCOM": name,
                    "TALB": album,
                    "TPE1": "Berlin Philharmonic",
                    "TRCK": f"{number}/9",
                    "TPOS": "1/2",
                }
                if number == 1:
                    tags |= {"TIT1": work.english, "MVNM": tempo, "MVIN": f"{number}/4"}
                    tags["TIT2"] = f"{work.english}: {roman}. {tempo}"
                else:
                    tags["TIT2"] = f"{work.short} - {roman}. {tempo}"
                yield Track(composer, work.work, f"Music/{name.strip('.')}/{number % 2}-{number:02d} {place}.mp3", tags)
            best = {"TCOM": names[0], "TALB": "100 Best Classics, Vol. 2", "TCMP": "1", "TPE2": "Various Artists"}
            best |= {
                "TIT2": f"{composer}: {work.german} - 2. {TEMPI[1]}",
                "TRCK": str(place + 1),
                "TPE1": "Sir Simon Rattle",
            }
            yield Track(composer, work.work, f"Music/Compilations/100 Best Classics/{place} {composer}.aif", best)


def write(folder: Path, tracks: list[Track]) -> None:
    rng = np.random.default_rng(0)
    for track in tracks:
        file = folder / track.path
        file.parent.mkdir(parents=True, exist_ok=True)
        kind = {".aif": "AIFF"}.get(file.suffix, file.suffix[1:].upper())
        soundfile.write(file, 0.1 * rng.standard_normal(16000), 16000, format=kind)
        opened: Any = mutagen.File(file)
        if file.suffix == ".flac":
            opened.update(track.tags)
        else:
            if opened.tags is None:
                opened.add_tags()
            for name, text in track.tags.items():
                opened.tags.add(getattr(id3, name)(encoding=1, text=text))
        opened.save()


@pytest.mark.parametrize("tracks", [picard_tracks, itunes_tracks])
def test_a_tagged_library_gives_splits_in_which_no_work_lies_on_two_sides(
    tracks: Callable[[], Iterator[Track]],
    project: Project,
    tmp_path_factory: pytest.TempPathFactory,
    changed: Callable[..., params.Params],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYMPHONY2VEC_WORKERS", "1")
    folder = tmp_path_factory.mktemp("library")
    listed = list(tracks())
    truth = {track.path: (track.composer, track.work) for track in listed}
    assert len(truth) == len(listed) >= 40
    assert len({track.composer for track in listed}) == 5
    write(folder, listed)
    result = CliRunner().invoke(corpus, ["import", str(folder)], obj=project.root, catch_exceptions=False)
    assert "may be one" not in result.output
    movements, faults = catalogue.read(project.corpus("recordings"))
    assert not faults
    assert len(movements) == len(listed)
    for kind in (lambda row: row.composer, lambda row: (row.composer, row.work)):
        names: dict[Any, set[Any]] = defaultdict(set)
        for row in movements:
            own = truth[row.path]
            names[own[0] if isinstance(kind(row), str) else own].add(kind(row))
        assert all(len(given) == 1 for given in names.values()), names
    assert CliRunner().invoke(corpus, ["check", "recordings"], obj=project.root).exit_code == 0
    settings = changed(corpus__name="recordings", clips__duration_s=0.5, folds=[f"work-{seed}" for seed in range(4)])
    audio.run(project, settings)
    clips.run(project, settings)
    origin = read_table(project.movements, "audio").set_index("file")["origin"]
    for seed in range(4):
        sides: dict[tuple[str, str], set[str]] = defaultdict(set)
        table = read_table(project.out("clips", "folds", f"work-{seed}.csv"), "clips")
        for file, side in zip(table["file"], table["split"], strict=True):
            sides[truth[origin[file].removeprefix("recording: ")]].add(side)
        assert len(sides) == 15
        assert all(len(lain) == 1 for lain in sides.values()), sides
        assert {side for lain in sides.values() for side in lain} == {"train", "validation", "test"}
