"""The commands that fill `data/` and check what lies there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony2vec.cli import lazy
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from symphony2vec.corpus.recordings import Survey
    from symphony2vec.corpus.titles import Unplaced
    from symphony2vec.project import Project

SHOWN = 20  # lines of hints and of unplaced files; the rest is counted, and stands in unplaced.csv
FEWEST = 3  # works, or movements, of a composer: one each for training, validation and test


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def corpus() -> None:
    """Fill data/ with music, and check it.

    A corpus is a folder data/NAME/ with a catalogue.csv that names composer, work and movement of every file.
    params.yaml says under corpus.name which one is played; `dvc add data` keeps track of its version.
    """


@corpus.command()
@click.pass_obj
def starter(folder: Path | None) -> None:
    """Fill data/starter with the starter corpus.

    The scores come with the package music21: nothing is fetched. Those that are there already are left alone.

    \b
    Writes  data/starter/catalogue.csv and the scores beside it
    """
    project = _project(folder)
    lazy.starter.fill(project.corpus("starter"))
    _filled(project, "starter")


@corpus.command()
@click.option(
    "--from",
    "from_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Take the scores from a local copy of the repository, or of its folder data; fetch nothing.",
)
@click.option("--url", metavar="URL", help="Fetch from another address, such as a mirror.")
@click.pass_obj
def openscore(folder: Path | None, from_folder: Path | None, url: str | None) -> None:
    """Fill data/openscore with OpenScore Orchestra.

    96 movements by Bach, Beach, Beethoven, Boulanger, Brahms, Bruckner, Haydn and Schubert as MusicXML (CC0),
    from github.com/MarkGotham/Hauptstimme at one commit. git fetches only the scores; each is checked against
    its checksum, and those that are there already are left alone.

    \b
    Examples
      symphony2vec corpus openscore
      symphony2vec corpus openscore --from ~/Hauptstimme
    \b
    Writes  data/openscore/catalogue.csv and the scores beside it
    """
    project = _project(folder)
    lazy.openscore.fill(project.corpus("openscore"), from_folder, url or lazy.openscore.URL)
    _filled(project, "openscore")


@corpus.command("import")
@click.argument("recordings", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option(
    "--by",
    type=click.Choice(["auto", "folders", "tags", "csv"]),
    default="auto",
    show_default=True,
    help="What names the pieces. auto: the tags where they name composer and work, else the folders.",
)
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A table of yours: path (from FOLDER), composer, work, movement, perhaps licence. Its rows go "
    "before tags and folders; with --by csv nothing else is imported.",
)
@click.option(
    "--composer",
    "merges",
    multiple=True,
    metavar="NAME=OTHER",
    help='Take one name of a composer for another, as in "Beethoven=Ludwig van Beethoven". Can be repeated.',
)
@click.option(
    "--work",
    "work_merges",
    multiple=True,
    metavar="COMPOSER:NAME=OTHER",
    help='Take one name of a work for another, as in "Beethoven: Eroica=Symphony No. 3". Can be repeated.',
)
@click.option(
    "--apart",
    "apart",
    multiple=True,
    metavar="COMPOSER:NAME=OTHER",
    help="Keep two works apart that look alike, so that they are not asked about again. Can be repeated.",
)
@click.option("--name", default="recordings", show_default=True, help="The corpus to fill: data/NAME.")
@click.option("--licence", default="unknown", show_default=True, help="The licence of recordings without their own.")
@click.option("--copy", is_flag=True, help="Copy the recordings to data/NAME/audio, so that they are versioned too.")
@click.option(
    "--no-fingerprints",
    is_flag=True,
    help="Do not compare the sounds themselves; recordings whose bytes are the same are still left out.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be imported and write nothing.")
@click.pass_obj
def import_(
    folder: Path | None,
    recordings: Path,
    by: str,
    table: Path | None,
    merges: Sequence[str],
    work_merges: Sequence[str],
    apart: Sequence[str],
    name: str,
    licence: str,
    copy: bool,
    no_fingerprints: bool,
    dry_run: bool,
) -> None:
    """Make a corpus of the recordings in FOLDER: flac, wav, aiff, mp3, ogg, m4a, opus, wma, wv, ape and others.

    \b
    Folders are read as       composer/work/movement.flac
    deeper ones as            composer/work/part/movement.flac; "CD1" and "Disc 2" are skipped
    Tags are read as          composer, work (or album), title, with disc and track before it

    The recordings stay where they are, unless --copy is given. The catalogue holds the checksum of each, so
    that a changed file is noticed. Composers and works get one name each: initials, life dates, spellings,
    languages, catalogue numbers and discs are understood. Names that only look alike are shown, with the option
    that merges them; what was decided is kept in decisions.csv and holds for later imports.

    The first minute of every recording is compared with that of all others, whatever their tags and formats. Of
    those that hold the same sound one stays: not the one on a "Best of", then the one whose work has more recordings;
    of two composers none does, unless --csv names one of them. A cue sheet beside a long file, or inside it, cuts it
    into its tracks.

    A file whose work cannot be known is not guessed at: the same music could come into training and test. It
    is listed in unplaced.csv. Copy that list, fill it in, and pass it with --csv.

    \b
    Examples
      symphony2vec corpus import ~/Music --dry-run
      symphony2vec corpus import ~/Music --by tags --composer "Beethoven=Ludwig van Beethoven"
      symphony2vec corpus import /mnt/archive --csv titles.csv --name archive --copy
    \b
    Writes  data/NAME/catalogue.csv
            data/NAME/unplaced.csv    what could not be placed, and why
            data/NAME/decisions.csv   what --composer, --work and --apart decided
            data/NAME/originals.txt   where the recordings lie, or data/NAME/audio/ with --copy
    """
    project = _project(folder)
    target = _target(project, name)
    given = lazy.decisions.Decisions(
        _merges(merges),
        {(composer, one): other for composer, one, other in _works(work_merges, "--work")},
        set(_works(apart, "--apart")),
    )
    decided = lazy.decisions.read(target).updated(given)
    found = lazy.recordings.survey(recordings, by, table, None, target, decided, not no_fingerprints)
    _show(found)
    if dry_run:
        click.echo("\nNothing was written (--dry-run).")
        return
    filled = lazy.recordings.fill(target, found, licence, copy)
    lazy.decisions.write(target, decided)
    equal = [one for one in filled.repeated if one not in found.repeated]
    late = [one for one in filled.unplaced if one not in found.unplaced and one not in equal]
    _show_lines("Could not be read:", map(_unplaced_line, late))
    _show_lines(f"The same sound twice, left out ({len(equal)}):", map(_unplaced_line, equal))
    click.echo(f"\nSince the last import: {filled.added} new, {filled.changed} changed, {filled.gone} gone.")
    if filled.unplaced:
        click.echo(
            f"Without a place: {len(filled.unplaced)}, listed in data/{name}/unplaced.csv; "
            "copy the list, fill it in and pass it with --csv."
        )
    _filled(project, name)


@corpus.command()
@click.argument("name", required=False)
@click.option("--allow-alike", is_flag=True, help="Pass a corpus in which two names may mean one work or composer.")
@click.pass_context
def check(context: click.Context, name: str | None, allow_alike: bool) -> None:
    """Check a corpus: its catalogue, every file that it names, and that each work has one name.

    NAME is a folder of data/; without it, the one that params.yaml names. Prints every fault with its row
    (the header is row 1) and exits with 1, or prints a table of the composers. Two works of one composer that
    may be one are a fault, too: a split by work would put it on two sides. Writes nothing.

    \b
    Examples
      symphony2vec corpus check
      symphony2vec corpus check openscore
    """
    project = _project(context.obj)
    name = name or lazy.params.read(project.params).corpus.name
    movements, faults = lazy.catalogue.audit(_target(project, name))
    _table((one.composer, one.work) for one in movements)
    if faults:
        rows = len(faults) + len(movements)
        click.echo(f"\n{len(faults)} of {rows} rows of data/{name}/catalogue.csv are at fault:")
        for fault in faults:
            click.echo(f"  {_printable(str(fault))}")
    titles = ((one.composer, one.work, one.movement) for one in movements)
    asked = lazy.identity.questions(titles, lazy.decisions.read(_target(project, name)).answered)
    if asked:
        click.echo(f"\n{len(asked)} pairs of names may mean one work or one composer; import again with these options,")
        click.echo("with --apart in place of --work where they are two, or give them one name in catalogue.csv:")
        for question in asked:
            click.echo(f"  {_printable(str(question))}")
    if faults or (asked and not allow_alike):
        context.exit(1)
    click.echo(f"\ndata/{name}: all {len(movements)} movements are there and unchanged.")


def _project(folder: Path | None) -> Project:
    return lazy.project.Project.around(Path(folder or "."))


def _target(project: Project, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"'{name}' cannot name a corpus; use letters, digits, '.', '_' and '-'")
    return project.corpus(name)


def _merges(pairs: Sequence[str]) -> dict[str, str]:
    merges = {}
    for pair in pairs:
        one, _, other = pair.partition("=")
        if not one.strip() or not other.strip():
            raise UserError(f'--composer "{pair}" must read "NAME=OTHER", as in "Beethoven=Ludwig van Beethoven"')
        merges[lazy.titles.composer_name(one)] = lazy.titles.composer_name(other)
    return merges


def _works(pairs: Sequence[str], option: str) -> list[tuple[str, str, str]]:
    """Composer, name and other name of every "COMPOSER: NAME=OTHER"."""
    named = []
    for pair in pairs:
        composer, _, names = pair.partition(":")
        one, _, other = names.partition("=")
        if not (composer.strip() and one.strip() and other.strip()):
            raise UserError(
                f'{option} "{pair}" must read "COMPOSER: NAME=OTHER", as in "Beethoven: Eroica=Symphony No. 3"'
            )
        named.append((composer.strip(), one.strip(), other.strip()))
    return named


def _show(found: Survey) -> None:
    """What was understood of a folder."""
    _table((one.composer, one.work) for one in found.placed)
    ways = {way: sum(one.by == way for one in found.placed) for way in ("table", "tags", "folders")}
    click.echo("\nPlaced by: " + (", ".join(f"{way} {count}" for way, count in ways.items() if count) or "nothing"))
    _show_lines("Taken as one:", found.merged)
    _show_lines("Look at:", found.hints)
    nowhere = [one for one in found.unplaced if one not in found.repeated]
    _show_lines(f"Could not be placed ({len(nowhere)}):", map(_unplaced_line, nowhere))
    _show_lines(f"The same sound twice, left out ({len(found.repeated)}):", map(_unplaced_line, found.repeated))
    if found.others:
        counts = ", ".join(f"{count} {_printable(suffix)}" for suffix, count in found.others.most_common(SHOWN))
        click.echo(f"\nOther files, left alone: {counts}")


def _table(pieces: Iterable[tuple[str, str]]) -> None:
    """Composers with their works and movements; names stand last, for no width fits all scripts."""
    works: dict[str, list[str]] = {}
    for composer, work in pieces:
        works.setdefault(composer, []).append(work)
    click.echo(f"{'works':>6} {'movements':>10}  composer")
    for composer, named in sorted(works.items()):
        click.echo(f"{len(set(named)):6} {len(named):10}  {_printable(composer)}")
    total = sum(len(set(named)) for named in works.values())
    click.echo(f"{total:6} {sum(map(len, works.values())):10}  all {len(works)} composers")
    few = {composer: named for composer, named in sorted(works.items()) if len(set(named)) < FEWEST}
    split = [composer for composer, named in few.items() if len(named) >= FEWEST]
    _show_lines("Fewer than 3 works, split by movement unless clips.fallback is none:", split)
    _show_lines(
        "Fewer than 3 movements, too few for any split (see clips.small_composers):",
        [composer for composer in few if composer not in split],
    )


def _show_lines(title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if not lines:
        return
    click.echo(f"\n{title}")
    for line in lines[:SHOWN]:
        click.echo(f"  {_printable(line)}")
    if len(lines) > SHOWN:
        click.echo(f"  ... and {len(lines) - SHOWN} more")


def _unplaced_line(one: Unplaced) -> str:
    at = "" if one.start is None else f" at {one.start:.2f} s"
    return f"{one.path}{at}: {one.reason}"


def _printable(text: str) -> str:
    """Text for a terminal: line breaks and control characters of file names are spelt out."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _filled(project: Project, name: str) -> None:
    """What to do after a corpus was filled."""
    movements, _ = lazy.catalogue.read(project.corpus(name))
    click.echo(f"\ndata/{name}/catalogue.csv names {len(movements)} movements. Next:")
    if _played(project) != name:
        click.echo(f"  set corpus.name to {name} in params.yaml")
    click.echo("  dvc add data\n  dvc repro")


def _played(project: Project) -> str | None:
    try:
        return lazy.params.read(project.params).corpus.name
    except UserError:
        return None  # the next command says what is wrong with params.yaml
