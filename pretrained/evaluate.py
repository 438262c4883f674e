"""Measure symphony2vec-base on works it was not trained on, played with a soundfont it was not trained on.

Run in this folder, after the encoders of all folds: python evaluate.py

The test works of composers with at least `package.MIN_WORKS` works are performed once more, in unseen/, with the
soundfont TimGM6mb, other tempi and rooms. Two questions, for the base model, its 64-number code, its random
initialisation, PCA and plain statistics of the mel spectrogram, in every fold of params.yaml:

    composer   a probe, fitted on the training works in the soundfonts of the training, predicts the composer of a clip,
               a movement and a work
    music      the same movement in another performance: the unseen performance of a test movement searches those of all
               of them in the first soundfont, by one vector a performance, and aligned (`search.same_music`); also with
               the unseen performance played faster or slower, so that it sounds one or two semitones higher or lower

Writes results.csv: one row a model, the mean over folds of accuracy, macro-F1 and mean reciprocal rank, with bootstrap
intervals over works; and differences.csv: the base model less each other one, by the paired bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr
import torch
from package import MODEL, READOUT, select_composers
from tqdm import tqdm

from symphony2vec import params
from symphony2vec.audio import stage as audio
from symphony2vec.clips.index import thin_evenly
from symphony2vec.collection import search
from symphony2vec.collection.table import Collection
from symphony2vec.corpus import catalogue
from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.probe import regression, scores
from symphony2vec.evaluation.probe.regression import ProbeResult
from symphony2vec.models.temporal.networks import ClipEncoder
from symphony2vec.package import contents, exporting
from symphony2vec.package.model import Model, window_starts
from symphony2vec.project import Project, read_array, read_table, write_table

SOUNDFONT = "TimGM6mb"
SEMITONES = (-2, -1, 1, 2)
BATCH = 64
LEVELS = ("clip", "movement", "work")
TITLES = ["composer", "work", "movement"]
Vectors = dict[tuple[str, str, str], np.ndarray]  # (n, D) of each movement, in order of time
Encode = Callable[[np.ndarray], np.ndarray]  # (B, F, T) in dB -> (B, D)
Clips = tuple[np.ndarray, pd.DataFrame]  # mel spectrograms (clips, F, T), and composer, work, movement and file
# The columns of `statistics.LEVELS` for each test work, by question.
Answers = dict[str, pd.DataFrame]


def perform_unseen(project: Project, settings: params.Params, folds: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Render the test works of all folds with the other soundfont; return the movements, with the path of each FLAC."""
    unseen = Project(project.root / "unseen")
    works: set[tuple[str, str]] = set()
    for clips in folds.values():
        is_performed = (clips["split"] == "test") & select_composers(clips)
        works |= set(clips.loc[is_performed, ["composer", "work"]].itertuples(index=False, name=None))
    movements, _ = catalogue.read(project.corpus("base"))
    test_movements = [movement for movement in movements if (movement.composer, movement.work) in works]
    folder = unseen.corpus("base")
    folder.mkdir(parents=True, exist_ok=True)
    catalogue.write(folder, test_movements, project.corpus("base"))
    other = settings.audio.model_copy(update={"soundfonts": [SOUNDFONT], "performance_seed": 1})
    audio.run(unseen, settings.model_copy(update={"audio": other}))
    table = read_table(unseen.movements, "audio")
    return table.assign(path=[str(unseen.out("audio", name)) for name in table["file"]])


def represent(table: pd.DataFrame, model: Model, most: int, varispeed: bool = False) -> Clips:
    """Return the clips of movements, at most so many of each; `varispeed` plays each faster or slower."""
    size, rate_hz = model.frontend.recipe.samples, model.sample_rate_hz
    rng = np.random.default_rng(0)
    values, rows = [], []
    for row in tqdm(table.to_dict("records"), desc="varispeed" if varispeed else "spectrograms"):
        wave, _ = soundfile.read(row["path"], dtype="float32")
        if varispeed:
            wave = soxr.resample(wave, rate_hz * 2.0 ** (rng.choice(SEMITONES) / 12.0), rate_hz)
        firsts = [first for first in window_starts(len(wave), size, 0.9) if first + size <= len(wave)]
        for first in thin_evenly(firsts, most):
            values.append(model.represent(wave[first : first + size]))
            rows.append({name: row[name] for name in (*TITLES, "file")})
    return np.stack(values), pd.DataFrame(rows)


def encoders(project: Project, fold: str) -> Iterator[tuple[str, Encode, Path | None]]:
    """Yield the models to compare: name, function, and the file of its vectors of the corpus, if a stage wrote one."""
    folder = project.out("temporal", fold, MODEL)
    base, code = (contents.read(folder / name, Model) for name in (f"model-{READOUT}", "model"))
    yield "symphony2vec-base", base.embed_spectrograms, folder / f"vectors-{READOUT}.npy"
    yield "its code of 64 numbers", code.embed_spectrograms, folder / "vectors.npy"
    pca = project.out("embeddings", fold, "pca-mel")
    yield "PCA of mel, 40 numbers", contents.read(pca / "model", Model).embed_spectrograms, pca / "vectors.npy"
    yield "mean and deviation of every mel band", summarize, None
    build = contents.read_config(folder / f"model-{READOUT}").build
    torch.manual_seed(0)
    network = exporting.TorchNetwork(ClipEncoder(**build["arguments"]), build["method"])
    yield "random initialisation", contents.read(folder / f"model-{READOUT}", Model, network).embed_spectrograms, None


def summarize(spectrograms: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation over time of every band (B, 2 F)."""
    return np.concatenate([spectrograms.mean(axis=2), spectrograms.std(axis=2)], axis=1)


def encode(function: Encode, array: np.ndarray) -> np.ndarray:
    """Return the vectors (clips, D) of spectrograms (clips, F, T), in batches."""
    parts = [function(np.asarray(array[start : start + BATCH])) for start in range(0, len(array), BATCH)]
    return np.concatenate(parts)


def encode_rows(function: Encode, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the vectors (clips, D) of some rows of the spectrograms (clips, F, T); those of the others are NaN."""
    encoded = np.concatenate([function(array[part]) for part in np.array_split(rows, -(-len(rows) // BATCH))])
    vectors = np.full((len(array), encoded.shape[1]), np.nan, dtype=np.float32)
    vectors[rows] = encoded
    return vectors


def answer_composers(
    result: ProbeResult, clips: pd.DataFrame, settings: params.Probe
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the correct predictions of each test work, and macro-F1 and the share of the majority class."""
    values = scores.score(result, clips, settings)
    facts = {"macro_f1": values["test_macro_f1"], "clips": values["clips"]["test"], "works": values["test_works"]}
    facts |= {name: values[name] for name in ("majority_accuracy", "majority_work_accuracy")}
    return scores.correct_by_work(result, clips), facts


def answer_music(queries: Vectors, targets: Vectors) -> Answers:
    """Return the sums over the movements of each work of the reciprocal rank, of one performance searching another."""
    keys = [key for key in queries if key in targets]
    means = [np.stack([vectors[key].mean(axis=0) for key in keys]) for vectors in (queries, targets)]
    query_units, units = search.unit_vectors(*means)
    collection = collect({str(place): targets[key] for place, key in enumerate(keys)})
    aligned = np.empty((len(keys), len(keys)))
    for row, key in enumerate(keys):
        ranking = search.same_music(queries[key], collection, len(keys))
        aligned[row, ranking["path"].astype(int)] = ranking["similarity"]
    titles = pd.DataFrame(keys, columns=TITLES)
    answers = {}
    for name, similarity in (("mrr", query_units @ units.T), ("aligned_mrr", aligned)):
        ranks = 1 + (similarity > np.diag(similarity)[:, None]).sum(axis=1)
        work = titles["composer"] + " / " + titles["work"]
        sums = pd.Series(1.0 / ranks).groupby(work.to_numpy()).agg(right="sum", clips="count")
        answers[name] = sums.rename_axis("work").reset_index()
    return answers


def collect(vectors_of: dict[str, np.ndarray]) -> Collection:
    """Return a collection of recordings with these vectors (n, D)."""
    parts = [pd.DataFrame({"path": path, "start_s": range(len(vectors))}) for path, vectors in vectors_of.items()]
    table = pd.concat(parts, ignore_index=True).assign(composer="", work="", movement="")
    return Collection(table, np.concatenate(list(vectors_of.values())), {}, pd.DataFrame())


def group_by_movement(vectors: np.ndarray, rows: pd.DataFrame) -> Vectors:
    """Return the vectors (n, D) of each movement, in order of time."""
    groups = rows.reset_index(drop=True).groupby(TITLES).indices
    return {key: vectors[index] for key, index in groups.items()}


def answer_fold(
    project: Project, settings: params.Params, clips: pd.DataFrame, unseen: Clips, varispeed: Clips, fold: str
) -> Iterator[tuple[str, Answers, dict[str, float]]]:
    """Yield name, answers, and other numbers of every model in one fold."""
    array = read_array(project.feature("mel"), "features")
    selected = select_composers(clips)
    first_font = clips["performance"].to_numpy() == sorted(clips["performance"].unique())[0]
    is_test = (clips["split"] == "test").to_numpy()
    test_works = clips.loc[selected & is_test, TITLES[:2]].drop_duplicates()
    unseen, varispeed = (keep_works(part, test_works) for part in (unseen, varispeed))
    is_target = selected & is_test & first_font
    probed = clips[selected].reset_index(drop=True)
    for name, function, path in encoders(project, fold):
        seen_vectors = (
            encode_rows(function, array, np.flatnonzero(selected))
            if path is None
            else np.asarray(read_array(path, "temporal"))
        )
        unseen_vectors, varispeed_vectors = (encode(function, part[0]) for part in (unseen, varispeed))
        answers, facts = {}, {"dimensions": seen_vectors.shape[1]}
        table = pd.concat([probed, unseen[1].assign(split="test")], ignore_index=True)
        result = regression.fit(np.concatenate([seen_vectors[selected], unseen_vectors]), table, settings.probe)
        is_unseen = np.arange(len(table)) >= len(probed)
        for question, rows in (("seen", ~is_unseen), ("unseen", is_unseen | (table["split"] != "test").to_numpy())):
            part = replace(result, probabilities=result.probabilities[rows])
            answers[question], numbers = answer_composers(part, table[rows].reset_index(drop=True), settings.probe)
            facts |= {f"{question}_{key}": value for key, value in numbers.items()}
        targets = group_by_movement(seen_vectors[is_target], clips[is_target])
        answers |= answer_music(group_by_movement(unseen_vectors, unseen[1]), targets)
        of_varispeed = answer_music(group_by_movement(varispeed_vectors, varispeed[1]), targets)
        answers |= {f"varispeed_{key}": value for key, value in of_varispeed.items()}
        facts["movements"] = answers["mrr"]["clips"].sum()
        yield name, answers, facts


def keep_works(clips: Clips, works: pd.DataFrame) -> Clips:
    """Return the clips of these works (composer, work)."""
    titles = set(works.itertuples(index=False, name=None))
    kept = [title in titles for title in clips[1][TITLES[:2]].itertuples(index=False, name=None)]
    return clips[0][kept], clips[1][kept].reset_index(drop=True)


def summarize_answers(
    answers: dict[str, list[Answers]], facts: dict[str, list[dict[str, float]]], settings: params.Probe
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the results and the differences over the folds; the base model comes first."""
    names = list(answers)
    results = pd.DataFrame([{"model": name} | pd.DataFrame(facts[name]).mean().to_dict() for name in names])
    folds, differences = len(answers[names[0]]), []
    for question in answers[names[0]][0]:
        for level in LEVELS if question in ("seen", "unseen") else ("clip",):
            counts = statistics.count([[fold[question] for fold in answers[name]] for name in names], level)
            resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
            mean = counts.accuracy().mean(axis=1)
            low, high = statistics.interval(resampled, settings.confidence)
            column = f"{question}_{level}_accuracy" if question in ("seen", "unseen") else question
            results[[column, f"{column}_low", f"{column}_high"]] = np.stack([mean, low, high], axis=1)
            low, high = statistics.paired_differences(resampled, settings.confidence)
            for other in range(1, len(names)):
                ends = low[0, other], high[0, other]
                differences.append(
                    {"measure": column, "other": names[other], "difference": mean[0] - mean[other]}
                    | {"low": ends[0], "high": ends[1], "significant": statistics.significance(*ends, folds)}
                )
    return results, pd.DataFrame(differences)


def evaluate(project: Project) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the results of every model, and the differences between the base model and the others."""
    settings = params.read(project.params)
    folds = {
        fold: read_table(project.out("clips", "folds", f"{fold}.csv"), "clips").reset_index(drop=True)
        for fold in settings.folds
    }
    model = contents.read(project.out("temporal", settings.folds[0], MODEL, f"model-{READOUT}"), Model)
    performed = perform_unseen(project, settings, folds)
    unseen, varispeed = (represent(performed, model, settings.clips.max_per_movement, flag) for flag in (False, True))
    answers: dict[str, list[Answers]] = {}
    facts: dict[str, list[dict[str, float]]] = {}
    for fold, clips in folds.items():
        for name, of_fold, numbers in answer_fold(project, settings, clips, unseen, varispeed, fold):
            answers.setdefault(name, []).append(of_fold)
            facts.setdefault(name, []).append(numbers)
            print(
                fold, name, {key: float((t["right"].sum() / t["clips"].sum()).round(3)) for key, t in of_fold.items()}
            )
    return summarize_answers(answers, facts, settings.probe)


if __name__ == "__main__":
    this = Project.around(Path(__file__).parent)
    for file, table in zip(("results.csv", "differences.csv"), evaluate(this), strict=True):
        write_table(this.root / file, table.round(4))
