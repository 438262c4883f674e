"""Commands that use a trained model: embed, similar, classify."""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from symphony2vec.cli import lazy
from symphony2vec.cli.backend import backend_option
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("clips", "timestamps", "recording")
MAX_NOTES = 10
MODEL = click.option(
    "--model",
    help="symphony2vec-base; a model's folder; or in a project an alias of its registered model, "
    "models:/symphony2vec/3, runs:/<id>/model, or a run id. [default: champion in a project with runs, "
    "elsewhere symphony2vec-base]",
)


@click.command("embed")
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="A .parquet, .npy or .csv to write.")
@MODEL
@click.option(
    "--form",
    type=click.Choice(FORMS),
    default="clips",
    show_default=True,
    help="What has one vector.",
)
@click.option("--hop", "hop_s", type=float, help="Seconds between timestamps. [default: 0.5]")
@click.option("--add", is_flag=True, help="Keep the output's vectors of recordings that are not named now.")
@backend_option
@click.pass_obj
def embed(
    project: Path, places: tuple[Path, ...], out: Path, model: str | None, form: str, hop_s: float | None, add: bool,
    backend: str | None,
) -> None:  # fmt: skip
    """Embed recordings, files or whole folders, with a trained model.

    Reads flac, wav, aiff, mp3, ogg, m4a (AAC, ALAC), opus, wma, wv, ape and others.

    Writes one row per vector, with the recording's path, times and, from tags or folder names, composer, work and
    movement. Unusable files are listed in OUT.rejected.csv with the reason. Run again, the command embeds only new and
    changed recordings; after an interruption it resumes.

    \b
    Example:  symphony2vec embed ~/Music/Symphonies -o symphonies.parquet
    """
    loaded = lazy.embedder.Embedder.load(model, project)
    request = lazy.building.EmbeddingRequest.for_model(loaded, form, hop_s)
    collection = lazy.building.write(places, out, request, add, backend)
    count, notes, rejected = collection.table["path"].nunique(), collection.notes, collection.rejected
    click.echo(f"{out}: {len(collection.vectors)} vectors of {count} recordings, by {loaded.name} ({loaded.source})")
    for path, note in list(notes.items())[:MAX_NOTES]:
        click.echo(f"{path}: {note}")
    if len(notes) > MAX_NOTES:
        click.echo(f"... and {len(notes) - MAX_NOTES} more with a note")
    if len(rejected):
        first = rejected.iloc[0]
        click.echo(f"{len(rejected)} rejected (see {out}.rejected.csv); the first: {first['path']}: {first['reason']}")


@click.command("similar")
@click.argument("query", type=click.Path(path_type=Path))
@click.option("--in", "source", required=True, type=click.Path(path_type=Path), help="A collection that `embed` wrote.")
@click.option("--at", help="Only the passage of the query at this time, such as 2:30 or 150.")
@click.option("-n", "count", type=click.IntRange(1), default=10, show_default=True, help="How many of each to list.")
@click.option(
    "--same-music",
    is_flag=True,
    help="List recordings of the same music: duplicates and other performances, whose passages come in the same order.",
)
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Also write the passages to this file.")
@click.pass_obj
def similar(
    project: Path, query: Path, source: Path, at: str | None, count: int, same_music: bool, csv: Path | None
) -> None:
    """Find the recordings and passages of a collection that are nearest to a recording.

    The query is embedded by the model of the collection, unless the collection holds it already. It is never listed as
    similar to itself.

    \b
    Example:  symphony2vec similar unknown.flac --in symphonies.parquet --at 2:30
    """
    if same_music and at is not None:
        raise UserError("--same-music compares whole recordings; leave out --at")
    collection = lazy.table.read(source)
    vectors, starts_s, ends_s = _embed_query(project, query, collection)
    if at is not None:
        row = _row_at(_parse_time(at), starts_s, ends_s, query)
        vectors, starts_s = vectors[row : row + 1], starts_s[row : row + 1]
    others = lazy.search.exclude(collection, lazy.building.collection_path(query))
    if not len(others.table):
        raise UserError(f"{source} holds no recording besides the query")
    if same_music:
        _print_same_music(lazy.search.same_music(vectors, others, count), csv)
        return
    near = lazy.search.nearness(vectors, others)
    passages = lazy.search.passages(near, starts_s, others, count)
    _print_recordings(lazy.search.recordings(near, others, count))
    _print_passages(passages)
    if csv is not None:
        lazy.project.write_table(csv, passages)


@click.command("path")
@click.argument("start", type=click.Path(path_type=Path))
@click.argument("end", type=click.Path(path_type=Path))
@click.option("--in", "source", required=True, type=click.Path(path_type=Path), help="A collection that `embed` wrote.")
@click.option("--from", "start_at", default="0", show_default=True, help="The time of the first passage, such as 2:30.")
@click.option("--to", "end_at", default="0", show_default=True, help="The time of the last passage.")
@click.option("-n", "count", type=click.IntRange(1), default=8, show_default=True, help="How many passages between.")
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Also write the passages to this file.")
@click.pass_obj
def path(
    project: Path, start: Path, end: Path, source: Path, start_at: str, end_at: str, count: int, csv: Path | None
) -> None:
    """List passages of a collection that lead from a passage of one recording to that of another, in small steps.

    \b
    Example:  symphony2vec path adagio.flac presto.flac --in symphonies.parquet --from 0:40 --to 1:10
    """
    collection = lazy.table.read(source)
    ends = []
    for recording, at in ((start, start_at), (end, end_at)):
        vectors, starts_s, ends_s = _embed_query(project, recording, collection)
        ends.append(vectors[_row_at(max(_parse_time(at), float(starts_s.min())), starts_s, ends_s, recording)])
    others = lazy.search.exclude(collection, lazy.building.collection_path(start))
    others = lazy.search.exclude(others, lazy.building.collection_path(end))
    if not len(others.table):
        raise UserError(f"{source} holds no recording besides these two")
    table = lazy.search.find_path(ends[0], ends[1], others, count)
    click.echo(f"from {clock(_parse_time(start_at))} of {start}")
    for row in table.to_dict("records"):
        click.echo(f"  {clock(row['start_s'])} to {clock(row['end_s'])} of {_label(row)}")
    click.echo(f"to {clock(_parse_time(end_at))} of {end}")
    if csv is not None:
        lazy.project.write_table(csv, table)


@click.command("contrasts")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-n", "count", type=click.IntRange(2), default=8, show_default=True, help="How many passages to list.")
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Also write the passages to this file.")
def contrasts(source: Path, count: int, csv: Path | None) -> None:
    """List the passages of a collection that differ most from each other.

    \b
    Example:  symphony2vec contrasts symphonies.parquet -n 12
    """
    table = lazy.search.find_contrasts(lazy.table.read(source), count)
    for row in table.to_dict("records"):
        click.echo(f"  {clock(row['start_s'])} to {clock(row['end_s'])} of {_label(row)}")
    if csv is not None:
        lazy.project.write_table(csv, table)


@click.command("classify")
@click.argument("recordings", nargs=-1, required=True, type=click.Path(path_type=Path))
@MODEL
@click.option("--hop", "hop_s", type=float, help="Seconds between predictions. [default: one prediction per clip]")
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Also write the probabilities to this file.")
@click.option("--picture", type=click.Path(path_type=Path), help="Plot the probabilities over time to this PNG.")
@click.pass_obj
def classify(
    project: Path,
    recordings: tuple[Path, ...],
    model: str | None,
    hop_s: float | None,
    csv: Path | None,
    picture: Path | None,
) -> None:
    """Classify the composer of a recording, or of a work in several recordings, with calibrated probabilities.

    A recording is classified by the mean log probability over its passages, which is right more often than a single
    passage. Several recordings are classified one by one and then together, as the movements of one work.

    The model only distinguishes the composers it was trained on: for other music its answer is meaningless.

    \b
    Examples:  symphony2vec classify unknown.flac --picture unknown.png
               symphony2vec classify quartet/*.flac
    """
    if picture is not None and len(recordings) > 1:
        raise UserError("--picture shows one recording; give one, or leave it out")
    loaded = lazy.embedder.Embedder.load(model, project)
    tables = _classify_all(loaded, recordings, hop_s)
    for recording, table in tables.items():
        _print_probabilities(f"{recording}, by {loaded.name} ({loaded.source})", table, loaded.composers)
        click.echo(_timeline(table, loaded.composers))
    whole = lazy.table.join_passages(tables)
    if len(tables) > 1:
        _print_probabilities(f"together, as one work of {len(tables)} recordings", whole, loaded.composers)
    if csv is not None:
        lazy.project.write_table(csv, whole if len(recordings) > 1 else whole.drop(columns="path"))
    if picture is not None:
        title = f"{recordings[0].name}, by {loaded.name}"
        lazy.figures.save(picture, lazy.figures.timeline(whole, loaded.composers, title))


def _classify_all(loaded: Any, recordings: tuple[Path, ...], hop_s: float | None) -> dict[Path, pd.DataFrame]:
    """Return the probabilities of the passages of every recording that can be used; say which cannot."""
    tables: dict[Path, pd.DataFrame] = {}
    for recording in dict.fromkeys(recordings):
        try:
            embedding = loaded.embed_file(recording, "clips" if hop_s is None else "timestamps", hop_s)
        except UserError as error:
            if len(recordings) == 1:
                raise
            click.echo(f"symphony2vec: {error}", err=True)
            continue
        print_note(recording, embedding.note)
        probabilities = loaded.classify(embedding.vectors)
        tables[recording] = lazy.table.passages(embedding.starts_s, embedding.ends_s, probabilities, loaded.composers)
    if not tables:
        raise UserError("none of the recordings can be used")
    return tables


def _print_probabilities(title: str, table: pd.DataFrame, composers: list[str]) -> None:
    """Print the probability of every composer of all passages together, the highest first."""
    click.echo(f"{title}; mean log probability over {len(table)} passages:")
    shares = lazy.head.pool(table[composers].to_numpy())
    for composer, share in sorted(zip(composers, shares, strict=True), key=lambda pair: -pair[1]):
        click.echo(f"  {share:6.1%}  {composer}")


def clock(seconds: float) -> str:
    """Return a time in minutes and seconds, or hours.

    Examples:
        >>> clock(125.0), clock(3725.0)
        ('2:05', '1:02:05')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _embed_query(project: Path, query: Path, collection: Any) -> tuple[Any, Any, Any]:
    """Return the query's vectors with their starts and ends, from the collection if it holds them."""
    facts = collection.facts
    is_query = (collection.table["path"] == lazy.building.collection_path(query)).to_numpy()
    if is_query.any() and lazy.building.is_unchanged(query, collection):
        rows = collection.table[is_query]
        return collection.vectors[is_query], rows["start_s"].to_numpy(), rows["end_s"].to_numpy()
    loaded = lazy.embedder.Embedder.load(facts["model"], project)
    if loaded.fingerprint != facts["fingerprint"]:
        raise UserError(
            f"{facts['model']} is now another model than the one of the collection; embed the collection again with "
            "`symphony2vec embed`"
        )
    embedding = loaded.embed_file(query, facts["form"], facts["hop_s"])
    print_note(query, embedding.note)
    return embedding.vectors, embedding.starts_s, embedding.ends_s


def print_note(recording: Path, note: str) -> None:
    """Print what is unusual about a recording, if anything."""
    if note:
        click.echo(f"{recording}: {note}")


def _row_at(at_s: float, starts_s: Any, ends_s: Any, query: Path) -> int:
    inside = (starts_s <= at_s) & (at_s < ends_s)
    if not inside.any():
        raise UserError(
            f"--at {clock(at_s)}: the sound of {query} lasts from {clock(starts_s.min())} to {clock(ends_s.max())}"
        )
    return int(inside.argmax())


def _parse_time(text: str) -> float:
    parts = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)", text.strip())
    if parts is None:
        raise UserError(f"--at {text}: expected a time such as 2:30, 1:02:30 or 150")
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


def _label(row: Mapping[Hashable, Any]) -> str:
    titles = ", ".join(dict.fromkeys(row[name] for name in ("composer", "work", "movement") if row[name]))
    return f"{titles}  ({row['path']})" if titles else str(row["path"])


def _print_same_music(table: pd.DataFrame, csv: Path | None) -> None:
    click.echo("most likely the same music, first those with the most similar passages in the same order")
    for row in table.to_dict("records"):
        click.echo(f"  {row['similarity']:+.2f}  {_label(row)}")
    if csv is not None:
        lazy.project.write_table(csv, table)


def _print_recordings(table: pd.DataFrame) -> None:
    click.echo("recordings")
    for row in table.to_dict("records"):
        click.echo(f"  {row['similarity']:+.2f}  {_label(row)}")


def _print_passages(table: pd.DataFrame) -> None:
    click.echo("passages")
    for row in table.to_dict("records"):
        times = f"{clock(row['at_s'])} is like {clock(row['start_s'])} to {clock(row['end_s'])} of"
        click.echo(f"  {row['similarity']:+.2f}  {times} {_label(row)}")


def _timeline(table: pd.DataFrame, composers: list[str]) -> str:
    """Return one line per stretch of time with the same most probable composer."""
    predicted = table[composers].to_numpy().argmax(axis=1)
    changes = [0, *(row for row in range(1, len(table)) if predicted[row] != predicted[row - 1]), len(table)]
    lines = []
    for first, after in itertools.pairwise(changes):
        name = composers[predicted[first]]
        mean = table[name].iloc[first:after].mean()
        begin, end = clock(table["start_s"].iloc[first]), clock(table["end_s"].iloc[after - 1])
        lines.append(f"  {begin:>7} to {end:>7}  {mean:6.1%}  {name}")
    return "\n".join(lines)
