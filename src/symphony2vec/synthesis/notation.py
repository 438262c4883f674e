"""Read score files: MusicXML, plain or compressed, and Humdrum kern."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

from lxml import etree

from symphony2vec.errors import Unusable
from symphony2vec.synthesis import kern, musicxml
from symphony2vec.synthesis.part import Part, unreadable

MUSICXML = (".musicxml", ".mxl", ".xml")
KERN = (".krn", ".kern")
# Of zipfile: damaged data, and no such entry, compression method or password.
ZIP_ERRORS = (EOFError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError)
MAX_BYTES = 200_000_000  # of an unpacked score; a long opera has 100 MB


def read_score(path: Path) -> tuple[list[Part], Any]:
    """Read a score.

    Returns:
        The parts that contain pitched notes, and the root of the XML document, None for Humdrum.

    Raises:
        Unusable: the file is not a readable score, or contains no such part.
    """
    suffix = path.suffix.lower()
    if suffix not in MUSICXML + KERN:
        raise Unusable(f"'{suffix}' is not a supported score format; expected {' '.join(MUSICXML + KERN)}")
    root = None
    if suffix in KERN:
        _check_size(path.stat().st_size)
        parts, percussion = kern.read_parts(path)
    else:
        root = parse_xml(path)
        parts, percussion = musicxml.read_parts(root)
    if not parts:
        raise Unusable("the score contains no pitched note" + (" (only percussion)" if percussion else ""))
    return parts, root


def parse_xml(path: Path) -> Any:
    """Return the root element of a MusicXML file, plain or compressed.

    Raises:
        Unusable: the file cannot be opened, is damaged or too large, or is not XML.
    """
    try:
        return _parse(_read_xml(path))
    except (etree.LxmlError, OSError, *ZIP_ERRORS) as error:
        raise unreadable(error) from error


def _read_xml(path: Path) -> bytes:
    """Return the XML of a plain or compressed (zip) MusicXML file."""
    if not zipfile.is_zipfile(path):
        _check_size(path.stat().st_size)
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:

        def read_entry(name: str) -> bytes:
            _check_size(archive.getinfo(name).file_size)
            return archive.read(name)

        rootfile = _parse(read_entry("META-INF/container.xml")).find(".//{*}rootfile")
        if rootfile is None or not rootfile.get("full-path"):
            raise Unusable("not a readable score: META-INF/container.xml refers to no score")
        return read_entry(rootfile.get("full-path"))


def _parse(xml: bytes) -> Any:
    """Return the root of an XML document; external entities are not read, and lxml limits expansion and depth."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    return etree.fromstring(xml, parser)


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise Unusable(f"the score is {size_bytes / 1e6:.0f} MB unpacked; the limit is {MAX_BYTES / 1e6:.0f} MB")
