"""What the vectors know of music: probes for what is known exactly of every clip, and retrieval.

Reads   out/<stage>/<model>/<fold>/vectors*.npy and run.json, out/labels/labels.csv, out/clips/folds/<fold>.csv
Writes  out/meaning/<stage>/<model>/<fold>/  meaning.csv (one row a readout, label and measure), retrieval.csv (one row
            a readout and what was to be found), works.csv (the sums of each test work that both come from),
            record.json; and the model's MLflow run; of a temporal model that generates also its walks, see
            `symphony2vec.evaluation.meaning.walks`
        out/meaning/  knowledge.csv, retrieval.csv and pairs.csv over the folds; profile.png, retrieval.png

Only the folds of the first split of params.yaml are asked: the others are there to show what a leak is worth. Of ALI's
readouts those are asked that one would use as an embedding: not a sampled z, nor the 5,120 hidden activations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from symphony2vec import tracking
from symphony2vec.clips import splits
from symphony2vec.errors import UserError
from symphony2vec.evaluation.meaning import pictures, probes, retrieval, summary, walks
from symphony2vec.evaluation.meaning.targets import KEY, LABELS
from symphony2vec.evaluation.probe import stage as probe
from symphony2vec.params import Params
from symphony2vec.project import (
    Project,
    atomic_folder,
    key_of,
    read_array,
    read_json,
    read_table,
    write_json,
    write_table,
)

# A change of these asks every model again; one of the pictures does not.
CODE = (
    "evaluation/meaning/targets.py evaluation/meaning/probes.py evaluation/meaning/retrieval.py "
    "evaluation/meaning/summary.py evaluation/meaning/walks.py evaluation/meaning/measures.py "
    "evaluation/statistics.py evaluation/probe.py models/generation.py"
)
NOT_ASKED = ("sample", "hidden")  # readouts


def run(project: Project, params: Params, stage: str | None = None, model: str | None = None) -> None:
    """The stage `meaning`: of every model that has vectors, or of one stage, or of one model."""

    folds = [fold.name for fold in splits.list_folds(params) if fold.split == params.clips.splits[0]]
    made = [folder for folder in found(project, stage, model) if folder.name in folds]
    if not made:
        raise UserError(
            f"no vectors of a fold by {params.clips.splits[0]} below {project.out()}; `dvc repro` makes them"
        )
    if stage is None:
        made = probe.listed_in_params(made, params)
    told = read_table(project.out("labels", "labels.csv"), "labels")
    with tqdm(made, desc="meaning", unit="fold", mininterval=1.0) as bar:
        for folder in bar:
            bar.set_postfix_str("/".join(folder.parts[-3:-1]))
            _one(project, params, folder, told)
    print(f"meaning: {len(made)} vectors, {len({folder.parent for folder in made})} models")
    if stage is None:
        probe.remove_others(project.out("meaning"), {folder.parts[-3:] for folder in made})
        _sum_up(project, params, folds)


def found(project: Project, stage: str | None = None, model: str | None = None) -> list[Path]:
    """The folders out/<stage>/<model>/<fold> with vectors; a classifier has none.

    Raises:
        UserError: there is none.
    """
    folders = [folder for folder in probe.model_folders(project, stage, model) if _readouts(folder)]
    if not folders:
        raise UserError(f"no model of {stage or 'any stage'} has vectors: a classifier has probabilities alone")
    return folders


def _readouts(folder: Path) -> dict[str, Path]:
    """The files of vectors that are asked, by their readout; the one that counts, "", comes first."""
    found = sorted((path.stem.partition("-")[2], path) for path in folder.glob("vectors*.npy"))
    return {readout: path for readout, path in found if readout not in NOT_ASKED}


def _one(project: Project, params: Params, folder: Path, told: pd.DataFrame) -> None:
    """Ask all readouts of one model on one fold, unless that is done."""

    stage, model, fold = folder.parts[-3:]
    table, record = project.out("clips", "folds", f"{fold}.csv"), read_json(folder / "run.json", stage)
    if not table.is_file() or record["clips"] != key_of(table):
        raise UserError(f"the clips have changed since the stage {stage} made {model}; run `dvc repro`")
    asked = params.meaning.model_dump(exclude={"shown"})
    code = [Path(__file__).parents[2] / name for name in CODE.split()]
    key = key_of(*code, project.out("labels", "labels.csv"), asked, params.probe.model_dump(), record)
    target = project.out("meaning", stage, model, fold)
    if (target / "record.json").is_file() and read_json(target / "record.json", "meaning")["key"] == key:
        return
    own = read_table(table, "clips")
    if not told["clip"].equals(own["clip"]):
        raise UserError(f"the labels are of other clips than {table}; run `dvc repro`")
    answers = {name: ask(_vectors(path, own), own, told, params) for name, path in _readouts(folder).items()}
    tables = {name: summary.of_draw(one, params.probe) for name, one in answers.items()}
    with tracking.reopen(project, record) as run, atomic_folder(target) as filling:
        lines = pd.concat([one.assign(readout=name) for name, one in tables.items()])
        searched = lines["measure"] == retrieval.MEASURE
        write_table(filling / "meaning.csv", _first(lines[~searched]))
        renamed = _first(lines[searched].drop(columns=["measure", "strength", "unseen"]))
        write_table(filling / "retrieval.csv", renamed.rename(columns=summary.RETRIEVED))
        write_table(filling / "works.csv", _first(pd.concat([_works(*one) for one in answers.items()])))
        write_json(filling / "record.json", {"stage": stage, "model": model, "fold": fold, "key": key})
        run.metrics({name: value for readout, one in tables.items() for name, value in _logged(readout, one)})
        for name in ("meaning", "retrieval"):
            run.file(filling / f"{name}.csv", "meaning")
        if walks.possible(params, folder):
            run.metrics(walks.write(project, params, folder, own, told, filling))
            run.file(filling / "walks.csv", "meaning")


def ask(vectors: np.ndarray, own: pd.DataFrame, told: pd.DataFrame, params: Params) -> list[probes.Found]:
    """All that is asked of the vectors (N, D) of one fold: every label, and every search.

    Args:
        vectors: frozen.
        own: composer, work, movement and split of the clips, in the order of the vectors.
        told: the labels of the same clips.
        params: the sections `meaning` and `probe`.
    """
    return [
        *probes.asked(vectors, own, told, LABELS, params.meaning, params.probe),
        *retrieval.retrieved(vectors, own, KEY.values(told), params.meaning.minimum_clips),
    ]


def _vectors(path: Path, own: pd.DataFrame) -> np.ndarray:
    vectors = np.asarray(read_array(path, path.parts[-4]))
    if len(vectors) != len(own):
        raise UserError(f"{path} holds {len(vectors)} rows for {len(own)} clips; run `dvc repro`")
    return vectors


def _first(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its readout in front."""
    return table[["readout", *table.columns.drop("readout")]]


def _works(readout: str, answers: Sequence[probes.Found]) -> pd.DataFrame:
    """The sums of each work, of all that one readout was asked."""

    tables = [one.table.assign(readout=readout, label=one.label, measure=one.measure) for one in answers]
    return pd.concat(tables, ignore_index=True)[["readout", "label", "measure", "work", *probes.SUMS]]


def _logged(readout: str, table: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """Metrics by name, as in "crops.meaning.loudness_db.r2" and "meaning.same_work.map"."""
    before = f"{readout}." if readout else ""
    for line in table[table["reason"] == ""].itertuples():
        about = f"{before}meaning.{str(line.label).replace(' ', '_')}"
        yield f"{about}.{str(line.measure).lower()}", float(str(line.value))
        yield f"{about}.baseline", float(str(line.baseline))


def _sum_up(project: Project, params: Params, folds: Sequence[str]) -> None:
    """The tables over the folds, and what the models of meaning.shown know, side by side."""
    lines, pairs = summary.over_draws(summary.rows(project, folds), params.probe)
    searched = lines["measure"] == retrieval.MEASURE
    home = project.out("meaning")
    write_table(home / "knowledge.csv", lines[~searched])
    write_table(home / "retrieval.csv", lines[searched].drop(columns="measure").rename(columns=summary.RETRIEVED))
    write_table(home / "pairs.csv", pairs)
    pictures.draw(lines, params.meaning.shown, home)
