"""Files of notation become partitura's parts: MusicXML, plain or compressed, and Humdrum kern."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

from symphony2vec.errors import Unusable

MUSICXML = (".musicxml", ".mxl", ".xml")
KERN = (".krn", ".kern")
LARGEST_BYTES = 200_000_000  # of a score, unpacked; a long opera has 100 MB
BEAT_UNITS_Q = {"breve": 8.0, "whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25, "32nd": 0.125}


def parts_of(path: Path) -> list[Any]:
    """The parts of a score that hold notes, as partitura reads them, each with its `instrument_sound`."""
    import partitura

    suffix = path.suffix.lower()
    sounds: dict[str, str] = {}
    if suffix not in MUSICXML + KERN:
        raise Unusable(f"'{suffix}' is no kind of score that can be read; {' '.join(MUSICXML + KERN)} are")
    if suffix in KERN:
        _refuse_size(path.stat().st_size)
        score = partitura.load_kern(str(path))
    else:
        prepared, sounds = _prepared(_musicxml(path))
        score = partitura.load_musicxml(io.BytesIO(prepared))
    parts = [part for part in score.parts if part.first_point is not None and len(part.notes_tied)]
    if not parts:
        percussion = any(next(iter(p.iter_all(partitura.score.UnpitchedNote)), None) for p in score.parts)
        raise Unusable("the score holds no pitched note" + (" (percussion alone)" if percussion else ""))
    for part in parts:
        part.instrument_sound = sounds.get(part.id, "")
    return parts


def _musicxml(path: Path) -> bytes:
    """The XML of a plain or compressed (zip) MusicXML file."""
    if not zipfile.is_zipfile(path):
        _refuse_size(path.stat().st_size)
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:

        def unpacked(name: str) -> bytes:
            _refuse_size(archive.getinfo(name).file_size)
            return archive.read(name)

        root = _tree(unpacked("META-INF/container.xml")).find(".//{*}rootfile")
        return unpacked(root.get("full-path"))


def _prepared(xml: bytes) -> tuple[bytes, dict[str, str]]:
    """The XML in a form that partitura reads, and the instrument-sound by part.

    Repeats, never played, go: partitura refuses a score with one that opens at the last bar line. Percussion gets a
    place on its staff, without which it refuses it too. A metronome mark becomes a tempo. Octaves of a transposing
    instrument, which it does not read, are added to the semitones, which it does.
    """
    tree = _tree(xml)
    for sign in [*tree.iter("repeat"), *tree.iter("ending")]:
        sign.getparent().remove(sign)
    for percussion in tree.iter("unpitched"):
        if percussion.find("display-step") is None:
            for tag, text in (("display-step", "B"), ("display-octave", "4")):
                place = percussion.makeelement(tag)
                place.text = text
                percussion.append(place)
    for transposition in tree.iter("transpose"):
        _add_octaves(transposition)
    for mark in tree.iter("metronome"):
        tempo = _quarters_per_minute(mark)
        direction = next(mark.iterancestors("direction"), None)
        if tempo and direction is not None and direction.find("sound[@tempo]") is None:
            direction.append(direction.makeelement("sound", tempo=str(tempo)))
    sounds = {part.get("id"): part.findtext(".//instrument-sound") or "" for part in tree.iter("score-part")}
    written = io.BytesIO()
    tree.write(written)
    return written.getvalue(), sounds


def _add_octaves(transposition: Any) -> None:
    octaves, semitones = (transposition.findtext(tag) or "0" for tag in ("octave-change", "chromatic"))
    chromatic = transposition.find("chromatic")
    if chromatic is None:
        chromatic = transposition.makeelement("chromatic")
        transposition.append(chromatic)
    with contextlib.suppress(ValueError):  # what is no number stays as it is, and the reader passes it by
        chromatic.text = str(int(semitones) + 12 * int(octaves))


def _quarters_per_minute(metronome: Any) -> float | None:
    unit_q = BEAT_UNITS_Q.get(metronome.findtext("beat-unit") or "")
    rate = re.search(r"\d+(\.\d+)?", metronome.findtext("per-minute") or "")
    dots = len(metronome.findall("beat-unit-dot"))
    return float(rate[0]) * unit_q * (2.0 - 0.5**dots) if unit_q and rate else None


def _tree(xml: bytes) -> Any:
    """An XML document; nothing outside it is read, and lxml sets bounds to its entities and its depth."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    return etree.ElementTree(etree.fromstring(xml, parser))


def _refuse_size(size_bytes: int) -> None:
    if size_bytes > LARGEST_BYTES:
        raise Unusable(f"the score is {size_bytes / 1e6:.0f} MB unpacked; the limit is {LARGEST_BYTES / 1e6:.0f} MB")
