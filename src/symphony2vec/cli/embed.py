"""Commands that use a trained model: embed, similar, classify."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from symphony2vec.cli import lazy
from symphony2vec.cli.backend import backend_option
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("clips", "timestamps", "recording")
NOTES_SHOWN = 10
MODEL = click.option(
    "--model",
    default="champion",
    show_default=True,
    help="An alias of the registered model, models:/symphony2vec/3, runs:/<id>/model, a run's id, or a model's folder.",
)


@click.command("embed")
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="A .parquet, .npy or .csv to write.")
@MODEL
@click.option("--form", type=click.Choice(FORMS), default="clips", show_default=True, help="One vector a what.")
@click.option("--hop", "hop_s", type=float, help="Seconds between timestamps. [default: 0.5]")
@click.option("--add", is_flag=True, help="Keep what the output holds of recordings that are not named now.")
@backend_option
@click.pass_obj
def embed(
    project: Path, places: tuple[Path, ...], out: Path, model: str, form: str, hop_s: float | None, add: bool,
    backend: str | None,
) -> None:  # fmt: skip
    """Embed recordings, files or whole folders, with a trained model.

    Reads flac, wav, aiff, mp3, ogg, m4a (AAC, ALAC), opus, wma, wv, ape and others.

    Writes one row a vector, with the recording's path, times and, where tags or folders tell, composer, work and
    movement. What cannot be used is listed in OUT.rejected.csv, and the rest goes on. Run again, it embeds what is
    new or changed; interrupted, it goes on where it stopped.

    \b
    Example:  symphony2vec embed ~/Music/Symphonies -o symphonies.parquet
    """
    loaded = lazy.embedder.Embedder.load(model, project)
    asked = lazy.building.EmbeddingRequest.of(loaded, form, hop_s)
    made = lazy.building.write(places, out, asked, add, backend)
    count = made.table["path"].nunique()
    click.echo(f"{out}: {len(made.vectors)} vectors of {count} recordings, by {loaded.name} ({loaded.source})")
    for path, note in list(made.notes.items())[:NOTES_SHOWN]:
        click.echo(f"{path}: {note}")
    if len(made.notes) > NOTES_SHOWN:
        click.echo(f"... and {len(made.notes) - NOTES_SHOWN} more with a note")
    if len(made.rejected):
        first = made.rejected.iloc[0]
        click.echo(
            f"{len(made.rejected)} set aside (see {out}.rejected.csv); the first: {first['path']}: {first['reason']}"
        )


@click.command("similar")
@click.argument("query", type=click.Path(path_type=Path))
@click.option("--in", "where", required=True, type=click.Path(path_type=Path), help="A collection that `embed` wrote.")
@click.option("--at", help="Only the passage of the query at this time, as 2:30 or 150.")
@click.option("-n", "count", type=click.IntRange(1), default=10, show_default=True, help="How many of each to list.")
@click.option("--csv", "listed", type=click.Path(path_type=Path), help="Write the passages to this file as well.")
@click.pass_obj
def similar(project: Path, query: Path, where: Path, at: str | None, count: int, listed: Path | None) -> None:
    """Find the recordings and passages of a collection that are nearest to a recording.

    The query is embedded by the model that made the collection, unless the collection holds it already. It is never
    listed as similar to itself.

    \b
    Example:  symphony2vec similar unknown.flac --in symphonies.parquet --at 2:30
    """
    collection = lazy.table.read(where)
    vectors, starts_s, ends_s, path = _query(project, query, collection)
    if at is not None:
        row = _row_at(_seconds(at), starts_s, ends_s, query)
        vectors, starts_s = vectors[row : row + 1], starts_s[row : row + 1]
    others = lazy.search.without(collection, path)
    if not len(others.table):
        raise UserError(f"{where} holds no other recording than the query")
    near = lazy.search.nearness(vectors, others)
    passages = lazy.search.passages(near, starts_s, others, count)
    _show_recordings(lazy.search.recordings(near, others, count))
    _show_passages(passages)
    if listed is not None:
        lazy.project.write_table(listed, passages)


@click.command("classify")
@click.argument("recording", type=click.Path(path_type=Path))
@MODEL
@click.option("--hop", "hop_s", type=float, help="Ask every so many seconds instead of clip by clip.")
@click.option("--csv", "listed", type=click.Path(path_type=Path), help="Write the probabilities to this file as well.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the probabilities over time into this PNG.")
@click.pass_obj
def classify(
    project: Path, recording: Path, model: str, hop_s: float | None, listed: Path | None, picture: Path | None
) -> None:
    """Name the composer of a recording, with calibrated probabilities over time.

    The model knows only the composers it was trained on: of other music its answer means nothing.

    \b
    Example:  symphony2vec classify unknown.flac --picture unknown.png
    """
    loaded = lazy.embedder.Embedder.load(model, project)
    found = loaded.embed_file(recording, "clips" if hop_s is None else "timestamps", hop_s)
    _show_note(recording, found.note)
    probabilities = loaded.classify(found.vectors)
    table = lazy.table.passages(found.starts_s, found.ends_s, probabilities, loaded.composers)
    whole = table[loaded.composers].mean().sort_values(ascending=False)
    click.echo(f"{recording}, by {loaded.name} ({loaded.source}); mean over {len(table)} passages:")
    for composer, share in whole.items():
        click.echo(f"  {share:6.1%}  {composer}")
    click.echo(_timeline(table, loaded.composers))
    if listed is not None:
        lazy.project.write_table(listed, table)
    if picture is not None:
        lazy.figures.save(
            picture, lazy.figures.timeline(table, loaded.composers, f"{recording.name}, by {loaded.name}")
        )


def clock(seconds: float) -> str:
    """As in 2:05, or 1:02:05."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _query(project: Path, query: Path, collection: Any) -> tuple[Any, Any, Any, str]:
    """The query's vectors, their times, and how its path is written in the collection."""
    facts = collection.facts
    path = lazy.building.written(query)
    own = (collection.table["path"] == path).to_numpy()
    if own.any() and lazy.building.unchanged(query, collection):
        rows = collection.table[own]
        return collection.vectors[own], rows["start_s"].to_numpy(), rows["end_s"].to_numpy(), path
    loaded = lazy.embedder.Embedder.load(facts["model"], project)
    if loaded.fingerprint != facts["fingerprint"]:
        raise UserError(
            f"{facts['model']} is another model now than the one that made the collection; "
            "`symphony2vec embed` makes it anew"
        )
    found = loaded.embed_file(query, facts["form"], facts["hop_s"])
    _show_note(query, found.note)
    return found.vectors, found.starts_s, found.ends_s, path


def _show_note(recording: Path, note: str) -> None:
    if note:
        click.echo(f"{recording}: {note}")


def _row_at(at_s: float, starts_s: Any, ends_s: Any, query: Path) -> int:
    inside = (starts_s <= at_s) & (at_s < ends_s)
    if not inside.any():
        raise UserError(f"--at {clock(at_s)}: {query} was heard from {clock(starts_s.min())} to {clock(ends_s.max())}")
    return int(inside.argmax())


def _seconds(text: str) -> float:
    parts = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", text.strip())
    if parts is None:
        raise UserError(f"--at {text} is no time; wanted is one as 2:30, 1:02:30 or 150")
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


def _titled(row: dict[str, Any]) -> str:
    known = ", ".join(row[name] for name in ("composer", "work", "movement") if row[name])
    return f"{known}  ({row['path']})" if known else str(row["path"])


def _show_recordings(table: pd.DataFrame) -> None:
    click.echo("recordings")
    for row in table.to_dict("records"):
        click.echo(f"  {row['similarity']:+.2f}  {_titled({str(name): value for name, value in row.items()})}")


def _show_passages(table: pd.DataFrame) -> None:
    click.echo("passages")
    for row in table.to_dict("records"):
        times = f"{clock(row['at_s'])} is like {clock(row['start_s'])} to {clock(row['end_s'])} of"
        click.echo(f"  {row['similarity']:+.2f}  {times} {_titled({str(name): value for name, value in row.items()})}")


def _timeline(table: pd.DataFrame, composers: list[str]) -> str:
    """One line a stretch in which the same composer is the likeliest."""
    likeliest = table[composers].to_numpy().argmax(axis=1)
    changes = [0, *(row for row in range(1, len(table)) if likeliest[row] != likeliest[row - 1]), len(table)]
    lines = []
    for first, after in itertools.pairwise(changes):
        name = composers[likeliest[first]]
        mean = table[name].iloc[first:after].mean()
        begin, end = clock(table["start_s"].iloc[first]), clock(table["end_s"].iloc[after - 1])
        lines.append(f"  {begin:>7} to {end:>7}  {mean:6.1%}  {name}")
    return "\n".join(lines)
