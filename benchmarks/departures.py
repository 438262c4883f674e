"""The effect of choices that the paper leaves open: models trained in another way, compared with those as shipped.

Each alternative trains its models on the same folds, with the same seeds, with parameters or a function replaced, in a
folder of its own. Models that were probed are kept (remove the folder of an alternative whose function was edited), and
an interrupted training continues. The correctly classified clips of each work are added to a table of counts. `--table`
compares it with the counts of the study, docs/results/starter.csv, by the same paired bootstrap over works as the
report. It needs a project with five folds by work in which `dvc repro` has run up to the stage `features` (for the
alternative `probe`, up to the models that it probes again).
`python benchmarks/departures.py --help` lists the alternatives.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from alternatives import ALTERNATIVES, Alternative
from paired import paired
from symphony2vec.errors import UserError
from symphony2vec.project import Project, SplitFold, read_array, read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

    from symphony2vec.params import Params

KEYS = ["alternative", "stage", "model", "readout", "fold"]
# The counts of an untrained alternative and row, and the model under which the study's counts have them.
STARTS = {
    ("ali-untrained", "paper-128"): "untrained-128",
    ("temporal-untrained", "full-40"): "untrained-40",
    **{("untrained", f"vae-{name}"): f"untrained-{name}" for name in ("mel", "mfcc", "chroma")},
}


def made(name: str, source: Project, scratch: Path) -> pd.DataFrame:
    """Train and probe the rows of one alternative: COLUMNS of the report's counts, after the alternative's name."""
    import pandas as pd

    alternative = ALTERNATIVES[name]
    project, params = prepared(alternative, source, scratch / name)
    if alternative.probe:
        found = [probed(source, params, row) for row in alternative.rows]
        return pd.concat(found).assign(alternative=name)
    with ExitStack() as stack:
        for owner, attribute, replacement in alternative.replaced():
            stack.enter_context(mock.patch.object(owner, attribute, replacement))
        for row in alternative.rows:
            stage, _, model = row.partition("/")
            trained(project, params, stage, model)
    return pd.concat([counts(project, params, row).assign(alternative=name) for row in alternative.rows])


def prepared(alternative: Alternative, source: Project, root: Path) -> tuple[Project, Params]:
    """A project of its own in `root`, with what the alternative leaves as it is taken from `source`."""
    from ruamel.yaml import YAML

    from symphony2vec import params as read

    read.read(source.params)  # says so where it is missing or faulty
    values = YAML(typ="safe").load((source.root / "params.yaml").read_text(encoding="utf-8"))
    by_work = [name for name in values["folds"] if name.startswith("work-")]
    if len(by_work) < alternative.folds:
        listed = ", ".join(by_work) or "none"
        raise UserError(f"{source.params} lists {listed}; needed are {alternative.folds} folds by work")
    values["folds"] = by_work[: alternative.folds]
    for key, value in alternative.params.items():
        *above, last = key.split(".")
        owner = values
        for part in above:
            owner = owner[part]
        owner[last] = value
    project = Project(root)
    root.mkdir(parents=True, exist_ok=True)
    if (root / "params.yaml").is_file() and YAML(typ="safe").load(root / "params.yaml") != values:
        raise UserError(f"{root} holds what was trained with other parameters; remove it, or name another --scratch")
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(values, file)
    (root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    params = read.read(root / "params.yaml")
    linked(source.root / "data", root / "data")
    if alternative.sound:
        sounded(project, params, source)
        return project, params
    linked(source.out("audio"), project.out("audio"))
    linked(source.out("clips"), project.out("clips"))
    folder = project.out("features")
    folder.mkdir(parents=True, exist_ok=True)
    if alternative.features is not None:
        alternative.features(source, folder)
    for array in sorted(source.out("features").glob("*.npy")):
        linked(array, folder / array.name)
    return project, params


def linked(target: Path, link: Path) -> None:
    """A link, unless there is an array of the alternative's own.

    Raises UserError where the link leads elsewhere: the folder holds what was trained of another project.
    """
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        if link.resolve() != target.resolve():
            raise UserError(
                f"{link} leads to {link.resolve()}, not to {target}; remove the folder, or name another --scratch"
            )
    elif not link.exists():
        link.symlink_to(target.resolve())


def sounded(project: Project, params: Params, source: Project) -> None:
    """The music, its clips and their representations, made anew unless that is done; works stay on their sides."""
    from symphony2vec.audio import stage as audio
    from symphony2vec.clips import splits
    from symphony2vec.clips import stage as clips
    from symphony2vec.features import stage as features

    if not project.feature("mel").is_file():
        audio.run(project, params)
        clips.run(project, params)
        features.run(project, params)
    for fold in splits.list_folds(params):
        sides = read_table(source.fold(fold), "clips").drop_duplicates("group").set_index("group")["split"]
        table = read_table(project.fold(fold), "clips")
        write_table(project.fold(fold), table.assign(split=table["group"].map(sides).fillna("")))


def trained(project: Project, params: Params, stage: str, model: str) -> None:
    """Train and probe one row on every fold on which it was not probed yet."""
    from symphony2vec.clips import splits
    from symphony2vec.evaluation.probe import stage as probe
    from symphony2vec.models.ali import stage as ali
    from symphony2vec.models.classifiers import stage as classifiers
    from symphony2vec.models.embeddings import stage as embeddings
    from symphony2vec.models.temporal import stage as temporal

    kind, _, representation = model.rpartition("-")
    train = {
        "ali": lambda fold: ali.run(project, params, model, fold),
        "temporal": lambda fold: temporal.run(project, params, model, fold=fold),
        "classifiers": lambda fold: classifiers.run(project, params, kind, representation, fold),
        "embeddings": lambda fold: embeddings.run(project, params, kind, representation, fold),
    }[stage]
    for fold in splits.list_folds(params):
        if not project.out("probe", fold.name, stage, model, "works.csv").is_file():
            train(fold.name)
            probe.run(project, params, stage, model, fold.name)


def counts(project: Project, params: Params, row: str) -> pd.DataFrame:
    """Of a row that was probed: readout, fold, work, clips, right."""
    import pandas as pd

    stage, _, model = row.partition("/")
    found = [
        read_table(project.out("probe", fold, stage, model, "works.csv"), "probe").assign(fold=fold)
        for fold in params.folds
    ]
    return pd.concat(found).assign(stage=stage, model=model)


def probed(source: Project, params: Params, row: str) -> pd.DataFrame:
    """As `counts`, of the vectors that `source` has of a row, probed with other parameters."""
    import pandas as pd

    from symphony2vec.evaluation.probe import regression, scores

    stage, _, model = row.partition("/")
    found = []
    for fold in params.folds:
        clips = read_table(source.fold(SplitFold.parse(fold)), "clips")
        for path in sorted(source.out(stage, fold, model).glob("vectors*.npy")):
            works = scores.correct_by_work(regression.fit(read_array(path, stage), clips, params.probe), clips)
            readout = path.stem.partition("-")[2]
            found.append(works.assign(stage=stage, model=model, readout=readout, fold=fold))
    if not found:
        raise UserError(f"{source.out(stage)} holds no vectors of {model}; `dvc repro` makes them")
    return pd.concat(found)


def added(path: Path, found: pd.DataFrame) -> None:
    """Into the table at `path`, in place of what it had of the same alternatives."""
    import pandas as pd

    kept = read_table(path, "counts") if path.is_file() else found.iloc[:0]
    kept = kept[~kept["alternative"].isin(found["alternative"])]
    whole = pd.concat([kept, found])[[*KEYS, "work", "clips", "right"]].sort_values([*KEYS, "work"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, whole.reset_index(drop=True))


def table(own: pd.DataFrame, shipped: pd.DataFrame, settings: Any) -> str:
    """Markdown: each alternative's rows and readouts, as shipped and otherwise, with the interval of the difference."""
    from symphony2vec.evaluation import statistics

    lines = ["| instead | row | folds | shipped | instead | difference |", "|---|---|---|---|---|---|"]
    for name, alternative in ALTERNATIVES.items():
        for of, rows in own[own["alternative"] == name].groupby(KEYS[1:4], sort=False):
            row = " ".join(map(str, of[1:])).strip()
            folds = sorted(set(rows["fold"]))
            before, after, low, high = paired(
                shipped[(shipped[KEYS[1:4]] == list(of)).all(axis=1)], rows, folds, row, settings
            )
            sure = "**" if statistics.significance(low, high, len(folds)) else ""
            difference = f"{sure}{after - before:+.1f} [{low:.1f}, {high:.1f}]{sure}"
            lines.append(f"| {alternative.says} | {row} | {len(folds)} | {before:.1f} | {after:.1f} | {difference} |")
    return "\n".join(lines)


def with_starts(shipped: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The study's counts with those of the untrained alternatives, under the names of STARTS."""
    import pandas as pd

    kept = shipped[~shipped["model"].isin(STARTS.values())]
    parts = [
        own[(own["alternative"] == alternative) & (own["model"] == model)].assign(model=start)
        for (alternative, model), start in STARTS.items()
    ]
    columns = list(shipped.columns)
    return pd.concat([kept, *parts]).reindex(columns=columns).sort_values(columns[:5], kind="stable", ignore_index=True)


def main() -> None:
    """Train the alternatives that are named, or tell what was found."""
    lines = [f"  {name:<20}{one.says}: {', '.join(one.rows)}" for name, one in ALTERNATIVES.items()]
    parser = argparse.ArgumentParser(
        description="What a choice that the paper leaves open changes.",
        epilog="alternatives:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("alternatives", nargs="*", choices=[*ALTERNATIVES, []], metavar="alternative")
    parser.add_argument("--project", type=Path, default=Path(), help="whose clips and features are used")
    parser.add_argument("--scratch", type=Path, help="where they are trained; by default out/departures of the project")
    parser.add_argument("--counts", type=Path, help="where they are told; by default its docs/results/departures.csv")
    parser.add_argument("--shipped", type=Path, help="counts of the study; by default starter.csv beside the counts")
    parser.add_argument("--table", action="store_true", help="print what is known, as Markdown")
    parser.add_argument("--starts", action="store_true", help="write the untrained rows into the counts of the study")
    options = parser.parse_args()
    try:
        told(options)
    except UserError as fault:
        parser.exit(1, f"{fault}\n")


def told(options: argparse.Namespace) -> None:
    """Do as the options say; raises UserError."""
    from symphony2vec import params

    project = Project(options.project.resolve())
    counts = options.counts or project.root / "docs" / "results" / "departures.csv"
    for name in options.alternatives:
        added(counts, made(name, project, (options.scratch or project.out("departures")).resolve()))
    if options.starts:
        shipped = options.shipped or project.root / "docs" / "results" / "starter.csv"
        write_table(shipped, with_starts(read_table(shipped, "report"), read_table(counts, "counts")))
    if options.table or not (options.alternatives or options.starts):
        settings = params.read(project.params).probe
        shipped = options.shipped or counts.with_name("starter.csv")
        print(table(read_table(counts, "counts"), read_table(shipped, "report"), settings))


if __name__ == "__main__":
    main()
