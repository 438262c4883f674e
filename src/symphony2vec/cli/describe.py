"""The command that describes a recording by musical attributes, from linear probes of its vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from symphony2vec.cli import lazy
from symphony2vec.cli.embed import MODEL, clock, print_note

if TYPE_CHECKING:
    import numpy as np

    from symphony2vec.package.attributes import Attribute

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60  # characters of a timeline
MOST_KEYS = 3
PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")


@click.command("describe")
@click.argument("recording", type=click.Path(path_type=Path))
@MODEL
@click.option("--hop", "hop_s", type=float, help="Seconds between the values. [default: one a clip]")
@click.option("--csv", "csv", type=click.Path(path_type=Path), help="Also write the values to this file.")
@click.option("--picture", type=click.Path(path_type=Path), help="Plot the values over time to this PNG.")
@click.pass_obj
def describe(
    project: Path, recording: Path, model: str | None, hop_s: float | None, csv: Path | None, picture: Path | None
) -> None:
    """Show the instruments, texture and pitches of a recording over time, from linear probes.

    Each line is a linear probe of the vector, with its R2 on works that the model was not trained on: 1 is perfect, 0
    is no better than the mean. The key is that whose profile fits the pitch classes best. Values are estimates, not
    transcriptions.

    \b
    Example:  symphony2vec describe symphony.flac --picture symphony.png
    """
    loaded = lazy.embedder.Embedder.load(model, project)
    embedding = loaded.embed_file(recording, "clips" if hop_s is None else "timestamps", hop_s)
    values = loaded.describe(embedding.vectors)
    print_note(recording, embedding.note)
    click.echo(
        f"{recording}, by {loaded.name} ({loaded.source}); R2 on works that it was not trained on, with interval"
    )
    click.echo(f"  {clock(embedding.starts_s[0])} to {clock(embedding.ends_s[-1])}")
    for attribute in loaded.attributes:
        click.echo(_line(attribute, values[attribute.name]))
        if attribute.key_accuracy is not None:
            click.echo(_key_line(values["key"][:, 0].tolist(), attribute.key_accuracy))
    if csv is not None:
        lazy.project.write_table(csv, lazy.table.attributes(embedding.starts_s, embedding.ends_s, values))
    if picture is not None:
        rows = [_row(attribute, values[attribute.name]) for attribute in loaded.attributes]
        title = f"{recording.name}, by {loaded.name}"
        figure = lazy.figures.attributes(embedding.starts_s, embedding.ends_s, rows, PITCHES, title)
        lazy.figures.save(picture, figure)


def _row(attribute: Attribute, values: np.ndarray) -> tuple[str, np.ndarray, float, float]:
    unit = f" ({attribute.unit})" if attribute.unit else ""
    title = f"{attribute.title}{unit}, R² {attribute.r2:.2f}"
    return title, values, attribute.low, attribute.high


def _line(attribute: Attribute, values: np.ndarray) -> str:
    """Return title, mean, timeline and R2 of one attribute; of the pitch classes the name of the strongest instead."""
    reliability = f"R2 {attribute.r2:.2f} ({attribute.r2_low:.2f} to {attribute.r2_high:.2f})"
    if values.shape[1] > 1:
        order = values.mean(axis=0).argsort()[::-1][:4]
        return f"  {attribute.title:26} {', '.join(PITCHES[number] for number in order)} most; {reliability}"
    mean = f"{values.mean():.0%}" if not attribute.unit else f"{values.mean():.3g} {attribute.unit}"
    return f"  {attribute.title:26} {mean:>12}  {sparkline(values[:, 0], attribute.low, attribute.high)}  {reliability}"


def _key_line(keys: list[str], accuracy: tuple[float, float, float]) -> str:
    """Return the most frequent keys, and how often the key of a passage is right."""
    counts = Counter(key for key in keys if key).most_common(MOST_KEYS)
    shares = ", ".join(f"{key} {count / len(keys):.0%}" for key, count in counts) or "none"
    right, low, high = accuracy
    return f"  {'key':26} {shares}; right in {right:.0%} of passages ({low:.0%} to {high:.0%})"


def sparkline(values: Sequence[float] | Any, low: float, high: float) -> str:
    """Return a timeline of at most `WIDTH` characters.

    Examples:
        >>> sparkline([0.0, 0.5, 1.0], 0.0, 1.0)
        '▁▅█'
    """
    count = min(len(values), WIDTH)
    parts = [values[len(values) * place // count : len(values) * (place + 1) // count] for place in range(count)]
    shares = [(sum(part) / len(part) - low) / max(high - low, 1e-9) for part in parts]
    return "".join(BARS[min(int(max(share, 0.0) * len(BARS)), len(BARS) - 1)] for share in shares)
