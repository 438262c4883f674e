"""The command that writes an atlas of an embedded collection."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony2vec.cli import lazy
from symphony2vec.cli.output import printable

if TYPE_CHECKING:
    from symphony2vec.atlas import Atlas

MAX_SILENT = 20  # recordings listed as without sound; the page gives the reason at every dot


@click.command("atlas")
@click.argument("collection", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "folder", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
    help="The folder to write. An existing atlas is replaced; any other folder must be empty.",
)  # fmt: skip
@click.option(
    "--sound", type=click.Choice(["mp3", "none"]), default="mp3", show_default=True,
    help="mp3: every dot plays its clip (about 45 kB each); none: a page without sound.",
)  # fmt: skip
def atlas(collection: Path, folder: Path, sound: str) -> None:
    """Make a page on which every clip is a dot that plays its ten seconds.

    COLLECTION is a parquet file of `symphony2vec embed`. Similar clips lie near each other: UMAP of their vectors, with
    a fixed seed. Dots are coloured by composer; they can be searched, and filtered by composer, work, movement and
    recording. The folder needs neither network nor Python, only a static web server. After an interruption, run the
    command again to resume.

    \b
    Example
      symphony2vec atlas music.parquet -o atlas
      python -m http.server --bind 127.0.0.1 --directory atlas 8000
    """
    click.echo("\n".join(_summarise(lazy.atlas.make(collection, folder, sound == "mp3"))))


def _summarise(atlas: Atlas) -> list[str]:
    """Return lines that describe the atlas and how to open it."""
    clips, count = atlas.collection.table, len(atlas.sound_bytes)
    composers = clips.loc[clips["composer"] != "", "composer"].nunique()
    lines = [
        f"{_count(len(clips), 'clip')} of {_count(clips['path'].nunique(), 'recording')}, "
        f"{_count(composers, 'composer')}, by {atlas.collection.facts.get('name', 'an unnamed model')}",
        f"places     {atlas.projected_by}",
        f"sound      of {_count(count, 'clip')}"
        + (f", {sum(atlas.sound_bytes) / count / 1000:.0f} kB each" if count else ""),
        *_list_silent(atlas),
        f"written    {atlas.folder} ({atlas.bytes / 1e6:.0f} MB)",
    ]
    if not atlas.draws_without_webgpu:
        lines.append(
            "note       this version of embedding-atlas draws no dots in browsers without WebGPU; version 0.22.0 does"
        )
    serve = f"python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(atlas.folder))} 8000"
    return [*lines, "Browsers open it from a web server, not from disk:", f"  {serve}", "  http://127.0.0.1:8000/"]


def _list_silent(atlas: Atlas) -> list[str]:
    lines = []
    for path, reasons in list(atlas.silent.items())[:MAX_SILENT]:
        for reason, clips in Counter(reasons).items():
            lines.append(f"no sound   {printable(path)}: {reason} ({_count(clips, 'clip')})")
    rest = len(atlas.silent) - MAX_SILENT
    return [*lines, f"no sound   and of {_count(rest, 'recording')} more"] if rest > 0 else lines


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
