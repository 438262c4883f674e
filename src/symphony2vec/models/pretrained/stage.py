"""The stage `pretrained`: the vectors that a model installed with symphony2vec gives the clips of this project.

    Reads   out/clips/folds/<fold>.csv, out/audio/<movement>.flac, and the model's package
    Writes  out/pretrained/<fold>/<model>/
                vectors.npy           (clips, D) float32, rows in the order of clips.csv
                training_works.csv    composer, work, split, title: the works of this project that the model was trained
                                      on, or may have been, and the title that they have in its training
                model/                the package, under the name of the fold
                run.json              hashes of the clips and of the other files; see `tracking`

Nothing is trained here. The vectors are the same in every fold; each fold has its own MLflow run, to which `probe` and
`meaning` add their results, so that the model is compared and promoted like any other.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import soxr
from tqdm import tqdm

from symphony2vec import tracking
from symphony2vec.clips import splits
from symphony2vec.corpus import composers, similarity, works
from symphony2vec.corpus.identity import Work
from symphony2vec.errors import UserError
from symphony2vec.models.training.folds import Task, train_folds
from symphony2vec.package import contents, saving
from symphony2vec.package.model import BATCH_WINDOWS, Model
from symphony2vec.params import Params
from symphony2vec.project import Project, SplitFold, write_array, write_table

CODE = ["models/pretrained", "package/model.py", "features/mel.py"]
COLUMNS = ["composer", "work", "split", "title"]


def run(project: Project, params: Params, model: str | None = None, fold: str | None = None) -> None:
    """Run the stage `pretrained` for one model, or for those that params.yaml lists, on one fold or on all.

    Raises:
        UserError: there is no such model, or it takes clips of another length.
    """
    for split_fold in splits.select_folds(params, fold):
        folder = project.out("pretrained", split_fold.name)
        folder.mkdir(parents=True, exist_ok=True)  # an output of the stage, also without a model
        if model is None:
            remove_others(folder, params.pretrained.models)
    for name in params.pretrained.models if model is None else [model]:
        _run_model(project, params, name, fold)


def remove_others(folder: Path, models: Sequence[str]) -> None:
    """Remove the vectors of models that are no longer listed."""
    for path in folder.glob("[!.]*"):
        if path.name not in models:
            shutil.rmtree(path)


def _run_model(project: Project, params: Params, model: str, fold: str | None) -> None:
    package = contents.PRETRAINED / model
    if not package.is_dir():
        installed = ", ".join(sorted(path.name for path in contents.PRETRAINED.iterdir()))
        raise UserError(f"no model '{model}' is installed with symphony2vec; expected one of {installed}")
    network, config = contents.read(package, Model), contents.read_config(package)
    if network.duration_s != params.clips.duration_s:
        raise UserError(
            f"{model} takes clips of {network.duration_s:g} s, and clips.duration_s is {params.clips.duration_s:g}; "
            "take the model out of pretrained.models, or change the length of the clips"
        )
    name, _, variant = model.rpartition("-")

    def identity(split_fold: SplitFold) -> tracking.RunIdentity:
        return tracking.RunIdentity("pretrained", name, variant, split_fold.name)

    def evaluate(task: Task) -> None:
        write_array(task.folder / "vectors.npy", embed_clips(project, network, task.clips, params.audio.sample_rate_hz))
        overlap = find_training_works(task.clips, config.data["works"])
        write_table(task.folder / "training_works.csv", overlap)
        test_works = int((overlap["split"] == "test").sum())
        task.run.log_metrics({"test_works_in_training": test_works})
        saving.log_pretrained(task, package)
        print(f"{task.label}: {network.dimensions} dimensions; trained on {test_works} of the test works")

    settings: dict[str, Any] = {"dimensions": network.dimensions, "fingerprint": network.fingerprint}
    settings["optimiser"] = "none"
    train_folds(project, params, fold, identity, settings, CODE, project.movements, evaluate)


def embed_clips(project: Project, model: Model, clips: pd.DataFrame, sample_rate_hz: int) -> np.ndarray:
    """Return the vectors (clips, D) float32 of the clips of a project, from the sound of its movements.

    Args:
        project: whose out/audio holds the movements.
        model: whose windows are as long as a clip.
        clips: file and start_s.
        sample_rate_hz: of the movements.

    Raises:
        UserError: a movement cannot be read.
    """
    vectors = np.empty((len(clips), model.dimensions), dtype=np.float32)
    positions = pd.Series(range(len(clips)), index=clips.index)
    with tqdm(total=len(clips), desc="clips", unit="clip", mininterval=1.0) as bar:
        for file, of_file in clips.groupby("file", sort=True):
            rows = positions[of_file.index].to_numpy()
            path = project.out("audio", str(file))
            waves = list(_read_windows(path, of_file["start_s"], model, sample_rate_hz))
            for start in range(0, len(rows), BATCH_WINDOWS):
                part = slice(start, start + BATCH_WINDOWS)
                vectors[rows[part]] = model.embed_windows(np.stack(waves[part]))
            bar.update(len(rows))
    return vectors


def _read_windows(path: Path, starts_s: Iterable[float], model: Model, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Yield the windows (N,) float32 of a movement at the model's rate; a last one is padded with silence."""
    try:
        with soundfile.SoundFile(path) as file:
            for start_s in starts_s:
                file.seek(round(start_s * sample_rate_hz))
                samples = round(model.duration_s * sample_rate_hz)
                wave = file.read(samples, dtype="float32", fill_value=0.0)
                if sample_rate_hz != model.sample_rate_hz:
                    wave = soxr.resample(wave, sample_rate_hz, model.sample_rate_hz)
                window = np.zeros(model.frontend.recipe.samples, dtype=np.float32)
                window[: len(wave)] = wave[: len(window)]
                yield window
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); `dvc repro -f audio` makes it again") from None


def find_training_works(clips: pd.DataFrame, trained: Iterable[Iterable[str]]) -> pd.DataFrame:
    """Return the works of some clips that nothing tells apart from a work that a model was trained on.

    Args:
        clips: composer, work and split.
        trained: composer and title of each training work.

    Returns:
        Composer, work and split of these works, and the title in the training.

    Examples:
        >>> clips = pd.DataFrame({"composer": ["Haydn"], "work": ["Quartet op. 76 no. 3"], "split": ["test"]})
        >>> find_training_works(clips, [("Joseph Haydn", "String Quartet in C major, Op.76 No.3")])["title"].tolist()
        ['String Quartet in C major, Op.76 No.3']
    """
    titles: dict[str, list[tuple[str, Work]]] = {}
    for composer, title in trained:
        name = composers.resolve(composer).name
        titles.setdefault(name, []).append((title, Work(names=[works.parse(title, name)])))
    rows = []
    for row in clips[["composer", "work", "split"]].drop_duplicates().to_dict("records"):
        name = composers.resolve(row["composer"]).name
        work = Work(names=[works.parse(row["work"], name)])
        matches = [title for title, other in titles.get(name, []) if similarity.may_be_same_work(work, other)]
        rows += [{**row, "title": "; ".join(matches)}] if matches else []
    return pd.DataFrame(rows, columns=COLUMNS)
