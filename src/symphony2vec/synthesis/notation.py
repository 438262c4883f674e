"""Files of notation become parts: MusicXML, plain or compressed, and Humdrum kern."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

from lxml import etree

from symphony2vec.errors import Unusable
from symphony2vec.synthesis import kern, musicxml
from symphony2vec.synthesis.part import Part

MUSICXML = (".musicxml", ".mxl", ".xml")
KERN = (".krn", ".kern")
LARGEST_BYTES = 200_000_000  # of a score, unpacked; a long opera has 100 MB


def parts_of(path: Path) -> list[Part]:
    """Read the parts of a score that hold notes with a pitch; raises as `read`."""
    return read(path)[0]


def read(path: Path) -> tuple[list[Part], Any]:
    """Read a score.

    Returns:
        The parts that hold notes with a pitch, and the root of the XML document, None where the file is no XML.

    Raises:
        Unusable: the file is not a readable score, or holds no such part.
    """
    suffix = path.suffix.lower()
    if suffix not in MUSICXML + KERN:
        raise Unusable(f"'{suffix}' is no kind of score that can be read; {' '.join(MUSICXML + KERN)} are")
    root = None
    if suffix in KERN:
        _refuse_size(path.stat().st_size)
        parts, percussion = kern.parts_of(path)
    else:
        root = document(path)
        parts, percussion = musicxml.parts_of(root)
    if not parts:
        raise Unusable("the score holds no pitched note" + (" (percussion alone)" if percussion else ""))
    return parts, root


def document(path: Path) -> Any:
    """The root element of a MusicXML file, plain or compressed.

    Raises:
        Unusable: the file cannot be opened, is damaged, too large, or no XML.
    """

    try:
        return _root(_musicxml(path))
    except (etree.LxmlError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as fault:
        raise unreadable(fault) from fault
    except (KeyError, NotImplementedError, RuntimeError) as fault:  # of zipfile: no such entry, method, or password
        raise unreadable(fault) from fault


def unreadable(fault: Exception) -> Unusable:
    """The reason in one line that a file which a parser has refused cannot be used."""
    lines = str(fault.args[0] if isinstance(fault, KeyError) and fault.args else fault).strip().splitlines()
    return Unusable(f"not a readable score: {type(fault).__name__}{': ' + lines[0][:200] if lines else ''}")


def _musicxml(path: Path) -> bytes:
    """The XML of a plain or compressed (zip) MusicXML file."""
    if not zipfile.is_zipfile(path):
        _refuse_size(path.stat().st_size)
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:

        def unpacked(name: str) -> bytes:
            _refuse_size(archive.getinfo(name).file_size)
            return archive.read(name)

        entry = _root(unpacked("META-INF/container.xml")).find(".//{*}rootfile")
        if entry is None or not entry.get("full-path"):
            raise Unusable("not a readable score: META-INF/container.xml names no score")
        return unpacked(entry.get("full-path"))


def _root(xml: bytes) -> Any:
    """The root of an XML document; nothing outside it is read, and lxml bounds its entities and its depth."""

    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    return etree.fromstring(xml, parser)


def _refuse_size(size_bytes: int) -> None:
    if size_bytes > LARGEST_BYTES:
        raise Unusable(f"the score is {size_bytes / 1e6:.0f} MB unpacked; the limit is {LARGEST_BYTES / 1e6:.0f} MB")
