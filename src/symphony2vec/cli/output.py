"""What the commands of corpora print: the findings of an import, and lists of bounded length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from symphony2vec.corpus.recordings import ImportResult, Survey
    from symphony2vec.corpus.titles import UnidentifiedRecording

MOST_LINES = 20  # of each list; the rest is counted, and unplaced.csv lists all
FEWEST = 3  # works, or movements, of a composer: one each for training, validation and test


def print_survey(survey: Survey) -> None:
    """Print what is known about the recordings in a folder."""
    print_composers((recording.composer, recording.work) for recording in survey.recordings)
    counts = Counter(recording.source for recording in survey.recordings)
    sources = [f"{source} {counts[source]}" for source in ("table", "tags", "folders") if counts[source]]
    click.echo(f"\nIdentified by: {', '.join(sources) or 'nothing'}")
    print_list("Merged spellings:", survey.spellings)
    print_list("Please check:", survey.hints)
    unidentified = [recording for recording in survey.unidentified if recording not in survey.duplicates]
    print_list(f"Not identified ({len(unidentified)}):", map(_describe, unidentified))
    print_list(f"Duplicates, not used ({len(survey.duplicates)}):", map(_describe, survey.duplicates))
    if survey.other_files:
        other_files = survey.other_files.most_common(MOST_LINES)
        click.echo(f"\nOther files, ignored: {', '.join(f'{count} {printable(name)}' for name, count in other_files)}")


def print_result(result: ImportResult, survey: Survey, name: str) -> None:
    """Print what an import into the corpus `name` did beyond the survey."""
    duplicates = [recording for recording in result.duplicates if recording not in survey.duplicates]
    unreadable = [
        recording
        for recording in result.unidentified
        if recording not in survey.unidentified and recording not in duplicates
    ]
    print_list("Could not be read:", map(_describe, unreadable))
    print_list(f"Duplicates, not used ({len(duplicates)}):", map(_describe, duplicates))
    click.echo(f"\nSince the previous import: {result.added} new, {result.changed} changed, {result.removed} removed.")
    if result.unidentified:
        click.echo(
            f"Not used: {len(result.unidentified)}, listed in data/{name}/unplaced.csv; "
            "copy the list, complete it and pass it with --csv."
        )


def print_composers(titles: Iterable[tuple[str, str]]) -> None:
    """Print the composers with their counts of works and movements; names come last, as their widths differ."""
    works: dict[str, list[str]] = {}
    for composer, work in titles:
        works.setdefault(composer, []).append(work)
    click.echo(f"{'works':>6} {'movements':>10}  composer")
    for composer, names in sorted(works.items()):
        click.echo(f"{len(set(names)):6} {len(names):10}  {printable(composer)}")
    total = sum(len(set(names)) for names in works.values())
    click.echo(f"{total:6} {sum(map(len, works.values())):10}  all {len(works)} composers")
    few_works = [composer for composer, names in sorted(works.items()) if len(set(names)) < FEWEST]
    print_list(
        "Fewer than 3 works, split by movement unless clips.fallback is none:",
        [composer for composer in few_works if len(works[composer]) >= FEWEST],
    )
    print_list(
        "Fewer than 3 movements, too few for any split (see clips.small_composers):",
        [composer for composer in few_works if len(works[composer]) < FEWEST],
    )


def print_list(title: str, lines: Iterable[str]) -> None:
    """Print a title and the first lines of a list; nothing for an empty list."""
    lines = list(lines)
    if not lines:
        return
    click.echo(f"\n{title}")
    for line in lines[:MOST_LINES]:
        click.echo(f"  {printable(line)}")
    if len(lines) > MOST_LINES:
        click.echo(f"  ... and {len(lines) - MOST_LINES} more")


def _describe(recording: UnidentifiedRecording) -> str:
    start = "" if recording.start is None else f" at {recording.start:.2f} s"
    return f"{recording.path}{start}: {recording.reason}"


def printable(text: str) -> str:
    """Return a text for the terminal, with line breaks and control characters of file names escaped."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
