"""The command that makes an atlas of an embedded collection."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony2vec.cli import lazy

if TYPE_CHECKING:
    from symphony2vec.atlas import Atlas

SHOWN = 20  # lines of recordings without sound; the rest is counted, and the page says it of every dot


@click.command("atlas")
@click.argument("collection", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "folder", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
    help="The folder to write. One that holds an atlas is replaced, any other that is not empty is left alone.",
)  # fmt: skip
@click.option(
    "--sound", type=click.Choice(["mp3", "none"]), default="mp3", show_default=True,
    help="mp3: every dot plays its clip (about 45 kB each); none: a page without sound.",
)  # fmt: skip
def atlas(collection: Path, folder: Path, sound: str) -> None:
    """Make a page on which every clip is a dot that plays its ten seconds.

    COLLECTION is a parquet file of `symphony2vec embed`. Like clips lie near each other: UMAP of their vectors, seeded.
    Dots are coloured by composer; one can search, and filter by composer, work, movement and recording. The folder
    needs no network and no Python, only a static web server. Run again after an interruption, it goes on where it
    stopped.

    \b
    Example
      symphony2vec atlas music.parquet -o atlas
      python -m http.server --bind 127.0.0.1 --directory atlas 8000
    """
    for line in _told(lazy.atlas.make(collection, folder, sound == "mp3")):
        click.echo(line)


def _told(made: Atlas) -> list[str]:
    """What was made, and how to open it."""
    clips = made.collection.table
    count = len(made.sound_bytes)
    composers = clips.loc[clips["composer"] != "", "composer"].nunique()
    lines = [
        f"{_counted(len(clips), 'clip')} of {_counted(clips['path'].nunique(), 'recording')}, "
        f"{_counted(composers, 'composer')}, by {made.collection.facts.get('name', 'an unnamed model')}",
        f"places     {made.projected_by}",
        f"sound      of {_counted(count, 'clip')}"
        + (f", {sum(made.sound_bytes) / count / 1000:.0f} kB each" if count else ""),
        *_silent(made),
        f"written    {made.folder} ({made.bytes / 1e6:.0f} MB)",
    ]
    if not made.draws_without_webgpu:
        lines.append(
            "note       this version of embedding-atlas draws no dots in a browser without WebGPU; 0.22.0 does"
        )
    serve = f"python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(made.folder))} 8000"
    return [*lines, "Browsers show it from a server, not from disk:", f"  {serve}", "  http://127.0.0.1:8000/"]


def _silent(made: Atlas) -> list[str]:
    lines = []
    for path, reasons in list(made.silent.items())[:SHOWN]:
        for reason, clips in Counter(reasons).items():
            lines.append(f"no sound   {_printable(path)}: {reason} ({_counted(clips, 'clip')})")
    rest = len(made.silent) - SHOWN
    return [*lines, f"no sound   and of {_counted(rest, 'recording')} more"] if rest > 0 else lines


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
