"""The commands that fill `data/` with music and check it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from symphony2vec.cli import lazy
from symphony2vec.cli.output import print_composers, print_list, print_result, print_survey, printable
from symphony2vec.errors import UserError

if TYPE_CHECKING:
    from symphony2vec.corpus.decisions import Decisions
    from symphony2vec.corpus.score_sets import ScoreSet
    from symphony2vec.project import Project


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def corpus() -> None:
    """Fill data/ with music, and check it.

    A corpus is a folder data/NAME/ with a catalogue.csv that contains composer, work and movement of every file.
    corpus.name in params.yaml selects the corpus; `dvc add data` tracks its version.
    """


@corpus.command()
@click.pass_obj
def starter(folder: Path | None) -> None:
    """Fill data/starter with the starter corpus.

    The scores come with the package music21: nothing is downloaded. Scores that already exist are not copied again.

    \b
    Writes  data/starter/catalogue.csv and the scores beside it
    """
    project = _project(folder)
    lazy.starter.fill(project.corpus("starter"))
    _print_next_steps(project, "starter")


FROM = click.option(
    "--from",
    "from_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Take the scores from a local copy of the repository, or of its folder of scores; download nothing.",
)
URL = click.option("--url", default="", metavar="URL", help="Download from another address, such as a mirror.")


@corpus.command()
@FROM
@URL
@click.pass_obj
def openscore(folder: Path | None, from_folder: Path | None, url: str) -> None:
    """Fill data/openscore with OpenScore Orchestra.

    96 movements by Bach, Beach, Beethoven, Boulanger, Brahms, Bruckner, Haydn and Schubert as MusicXML (CC0),
    from github.com/MarkGotham/Hauptstimme at one commit. git fetches only the scores; each is checked against
    its checksum, and scores that already exist are not fetched again.

    \b
    Examples
      symphony2vec corpus openscore
      symphony2vec corpus openscore --from ~/Hauptstimme

    \b
    Writes  data/openscore/catalogue.csv and the scores beside it
    """
    _fill(folder, lazy.score_sets.OPENSCORE, from_folder, url)


@corpus.command()
@FROM
@URL
@click.pass_obj
def quartets(folder: Path | None, from_folder: Path | None, url: str) -> None:
    """Fill data/quartets with OpenScore String Quartets.

    116 works by 47 composers (among them Haydn 28, Mozart 12, Beethoven 10, Saint-Georges 6) as MusicXML (CC0),
    435 movements, from github.com/OpenScore/StringQuartets at one commit. git fetches only the scores; each is
    checked against its checksum, and scores that already exist are not fetched again.

    \b
    Examples
      symphony2vec corpus quartets
      symphony2vec corpus quartets --from ~/StringQuartets

    \b
    Writes  data/quartets/catalogue.csv and the scores beside it
    """
    _fill(folder, lazy.score_sets.QUARTETS, from_folder, url)


@corpus.command()
@FROM
@URL
@click.pass_obj
def polish(folder: Path | None, from_folder: Path | None, url: str) -> None:
    """Fill data/polish with orchestral scores of Polish Heritage in Open Access.

    307 works by 77 composers (among them Stefani 57, Elsner 23, Volckmer 23, Moniuszko 15) as Humdrum kern
    (CC BY 4.0), 991 movements, from github.com/pl-wnifc/humdrum-polish-scores at one commit. git fetches only the
    scores; each is checked against its checksum, and scores that already exist are not fetched again.
    Most are sacred works with voices. Copies of a work are left out, and shelfmarks that are one work are merged.

    \b
    Examples
      symphony2vec corpus polish
      symphony2vec corpus polish --from ~/humdrum-polish-scores

    \b
    Writes  data/polish/catalogue.csv and the scores beside it
    """
    _fill(folder, lazy.score_sets.POLISH, from_folder, url)


def _fill(folder: Path | None, score_set: ScoreSet, from_folder: Path | None, url: str) -> None:
    project = _project(folder)
    lazy.score_sets.fill(project.corpus(score_set.name), score_set, from_folder, url)
    _print_next_steps(project, score_set.name)


@corpus.command("import")
@click.argument("recordings", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option(
    "--by",
    type=click.Choice(["auto", "folders", "tags", "csv"]),
    default="auto",
    show_default=True,
    help="What identifies the recordings. auto: the tags if they name composer and work, else the folders.",
)
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your own table: path (relative to FOLDER), composer, work, movement, and optionally licence. It takes "
    "precedence over tags and folders; with --by csv nothing else is imported.",
)
@click.option(
    "--composer",
    "merges",
    multiple=True,
    metavar="NAME=OTHER",
    help='Replace a name of a composer by another, as in "Beethoven=Ludwig van Beethoven". Can be repeated.',
)
@click.option(
    "--work",
    "work_merges",
    multiple=True,
    metavar="COMPOSER:NAME=OTHER",
    help='Replace a name of a work by another, as in "Beethoven: Eroica=Symphony No. 3". Can be repeated.',
)
@click.option(
    "--apart",
    "distinct_works",
    multiple=True,
    metavar="COMPOSER:NAME=OTHER",
    help="Keep two works with similar names apart, and do not report them again. Can be repeated.",
)
@click.option("--name", default="recordings", show_default=True, help="The corpus to fill: data/NAME.")
@click.option("--licence", default="unknown", show_default=True, help="The licence of recordings without their own.")
@click.option("--copy", is_flag=True, help="Copy the recordings to data/NAME/audio, so that DVC tracks them, too.")
@click.option(
    "--no-fingerprints",
    is_flag=True,
    help="Do not compare the sounds; only files with equal bytes are recognized as duplicates.",
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
    distinct_works: Sequence[str],
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
    Tags are read as          composer, work (or album), title, preceded by disc and track

    The recordings stay where they are, unless --copy is given. The catalogue contains the checksum of each, so
    that changes are noticed. Composers and works get one name each: initials, life dates, spellings,
    languages, catalogue numbers and discs are understood. Similar names are listed with the option that merges
    them; decisions are stored in decisions.csv and apply to later imports.

    The first minute of every recording is compared with that of all others, whatever their tags and formats. Of
    several recordings with the same sound one is kept: not one on a "Best of", else one whose work has more
    recordings; if the composers differ, none is kept unless --csv decides. A cue sheet beside a long file, or inside
    it, divides it into its tracks.

    A file whose work is unknown is not used, because with a wrong guess the same music could be in both training and
    test. It is listed in unplaced.csv. Copy that list, complete it, and pass it with --csv.

    \b
    Examples
      symphony2vec corpus import ~/Music --dry-run
      symphony2vec corpus import ~/Music --by tags --composer "Beethoven=Ludwig van Beethoven"
      symphony2vec corpus import /mnt/archive --csv titles.csv --name archive --copy
    \b
    Writes  data/NAME/catalogue.csv
            data/NAME/unplaced.csv    recordings that are not used, and why
            data/NAME/decisions.csv   the decisions of --composer, --work and --apart
            data/NAME/originals.txt   where the recordings are, or data/NAME/audio/ with --copy
    """
    project = _project(folder)
    target = _corpus_folder(project, name)
    decisions = lazy.decisions.read(target).merge(_parse_decisions(merges, work_merges, distinct_works))
    survey = lazy.recordings.survey(recordings, by, table, None, target, decisions, not no_fingerprints)
    print_survey(survey)
    if dry_run:
        click.echo("\nNothing was written (--dry-run).")
        return
    result = lazy.recordings.fill(target, survey, licence, copy)
    lazy.decisions.write(target, decisions)
    print_result(result, survey, name)
    _print_next_steps(project, name)


@corpus.command("recordings")
@click.argument("name", metavar="[SET]", required=False)
@click.argument("downloaded", type=click.Path(path_type=Path), metavar="[FOLDER]", required=False)
@click.pass_obj
def recordings_(folder: Path | None, name: str | None, downloaded: Path | None) -> None:
    """Make a corpus of a free set of recordings that you have downloaded to FOLDER.

    Without arguments the sets are listed, with their licences and addresses. Composers, works and movements come
    from the list of the set or from its file names. The recordings stay where they are; recordings with the same
    sound are used once.

    \b
    Examples
      symphony2vec corpus recordings
      symphony2vec corpus recordings musicnet ~/Downloads/musicnet
    \b
    Writes  data/SET/catalogue.csv, unplaced.csv and originals.txt, as `symphony2vec corpus import` does
    """
    sets = lazy.recording_sets.SETS
    if name is None:
        for recording_set in sets.values():
            click.echo(f"{recording_set.name}: {recording_set.content}\n  licence: {recording_set.licence}")
            click.echo(f"  get {recording_set.files} from {recording_set.address}")
        return
    if name not in sets:
        raise UserError(f"there is no set '{name}'; there is {', '.join(sets)}")
    if downloaded is None:
        raise UserError(f"pass the folder to which you unpacked it: symphony2vec corpus recordings {name} FOLDER")
    project = _project(folder)
    target = project.corpus(name)
    survey, notes = lazy.recording_sets.survey_set(sets[name], downloaded, target, lazy.decisions.read(target))
    print_survey(survey)
    print_list("Notes:", notes)
    print_result(lazy.recordings.fill(target, survey, sets[name].licence), survey, name)
    _print_next_steps(project, name)


@corpus.command()
@click.argument("name", required=False)
@click.option("--allow-alike", is_flag=True, help="Accept a corpus in which two names may mean one work or composer.")
@click.pass_context
def check(context: click.Context, name: str | None, allow_alike: bool) -> None:
    """Check a corpus: its catalogue, every file in it, and that each work has one name.

    NAME is a folder of data/; by default the one that params.yaml selects. Prints a table of the composers, and
    every fault with its row (the header is row 1). Exits with 1 if there are faults, or if two works of one
    composer may be the same: a split by work would put it into two splits. Writes nothing.

    \b
    Examples
      symphony2vec corpus check
      symphony2vec corpus check openscore
    """
    project = _project(context.obj)
    name = name or lazy.params.read(project.params).corpus.name
    folder = _corpus_folder(project, name)
    movements, faults = lazy.catalogue.audit(folder)
    print_composers((movement.composer, movement.work) for movement in movements)
    if faults:
        rows = len(faults) + len(movements)
        click.echo(f"\n{len(faults)} of {rows} rows of data/{name}/catalogue.csv have faults:")
        for fault in faults:
            click.echo(f"  {printable(str(fault))}")
    titles = ((movement.composer, movement.work, movement.movement) for movement in movements)
    pairs = lazy.similarity.find_similar_names(titles, lazy.decisions.read(folder).distinct_keys)
    if pairs:
        click.echo(f"\n{len(pairs)} pairs of names may mean one work or one composer. Import again with these options,")
        click.echo("or with --apart instead of --work if they are different, or edit the names in catalogue.csv:")
        for pair in pairs:
            click.echo(f"  {printable(str(pair))}")
    if faults or (pairs and not allow_alike):
        context.exit(1)
    click.echo(f"\ndata/{name}: all {len(movements)} movements exist and are unchanged.")


def _project(folder: Path | None) -> Project:
    return lazy.project.Project.around(Path(folder or "."))


def _corpus_folder(project: Project, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"'{name}' is not a valid name of a corpus; use letters, digits, '.', '_' and '-'")
    return project.corpus(name)


def _parse_decisions(merges: Sequence[str], work_merges: Sequence[str], distinct_works: Sequence[str]) -> Decisions:
    """Return the decisions of the options --composer, --work and --apart."""
    return lazy.decisions.Decisions(
        _parse_composer_merges(merges),
        {(composer, name): other for composer, name, other in _parse_work_pairs(work_merges, "--work")},
        set(_parse_work_pairs(distinct_works, "--apart")),
    )


def _parse_composer_merges(pairs: Sequence[str]) -> dict[str, str]:
    """Return the replacement by name from options "NAME=OTHER"."""
    merges = {}
    for pair in pairs:
        name, _, other = pair.partition("=")
        if not name.strip() or not other.strip():
            raise UserError(f'--composer "{pair}" must read "NAME=OTHER", as in "Beethoven=Ludwig van Beethoven"')
        merges[lazy.titles.tidy_composer(name)] = lazy.titles.tidy_composer(other)
    return merges


def _parse_work_pairs(pairs: Sequence[str], option: str) -> list[tuple[str, str, str]]:
    """Return composer, name and other name from options "COMPOSER: NAME=OTHER"."""
    works = []
    for pair in pairs:
        composer, _, names = pair.partition(":")
        name, _, other = names.partition("=")
        if not (composer.strip() and name.strip() and other.strip()):
            raise UserError(
                f'{option} "{pair}" must read "COMPOSER: NAME=OTHER", as in "Beethoven: Eroica=Symphony No. 3"'
            )
        works.append((composer.strip(), name.strip(), other.strip()))
    return works


def _print_next_steps(project: Project, name: str) -> None:
    """Print the size of a corpus and the commands that follow."""
    movements, _ = lazy.catalogue.read(project.corpus(name))
    click.echo(f"\ndata/{name}/catalogue.csv contains {len(movements)} movements. Next:")
    if _selected_corpus(project) != name:
        click.echo(f"  set corpus.name to {name} in params.yaml")
    click.echo("  dvc add data\n  dvc repro")


def _selected_corpus(project: Project) -> str | None:
    try:
        return lazy.params.read(project.params).corpus.name
    except UserError:
        return None  # the next command reports what is wrong with params.yaml
