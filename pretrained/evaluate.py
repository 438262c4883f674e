"""Measure symphony2vec-base on works it was not trained on, played with a soundfont it was not trained on.

Run in this folder, after package.py: python evaluate.py

The test works of composers with at least `package.MIN_WORKS` works are performed once more, in unseen/, with the
soundfont TimGM6mb, other tempi and rooms. Two questions, for the base model, its 64-number code, its random
initialisation, PCA and plain statistics of the mel spectrogram:

    composer   a probe, fitted on the training works in the soundfonts of the training, tells the composer of a clip, a
               movement and a work
    music      the same movement in another performance: the unseen performance of a test movement searches those of all
               of them in the first soundfont, by one vector a performance, and aligned (`search.same_music`)

Writes results.csv: accuracy and macro-F1, mean reciprocal rank and top 1, with bootstrap intervals over works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from package import FOLD, MODEL, READOUT, select_composers
from tqdm import tqdm

from symphony2vec import params
from symphony2vec.audio import stage as audio
from symphony2vec.clips.index import thin_evenly
from symphony2vec.collection import search
from symphony2vec.collection.table import Collection
from symphony2vec.corpus import catalogue
from symphony2vec.evaluation import statistics
from symphony2vec.evaluation.probe import regression, scores
from symphony2vec.models.temporal.networks import ClipEncoder
from symphony2vec.package import contents, exporting
from symphony2vec.package.model import Model, window_starts
from symphony2vec.project import Project, read_array, read_table, write_table

SOUNDFONT = "TimGM6mb"
BATCH = 64
Lines = dict[tuple[str, str, str], np.ndarray]
Encode = Callable[[np.ndarray], np.ndarray]  # (B, F, T) in dB -> (B, D)


def perform_unseen(project: Project, settings: params.Params, clips: pd.DataFrame) -> pd.DataFrame:
    """Render the test works with the other soundfont; return the table of movements, with the path of each FLAC."""
    unseen = Project(project.root / "unseen")
    is_performed = (clips["split"] == "test") & select_composers(clips)
    works = set(clips.loc[is_performed, ["composer", "work"]].itertuples(index=False, name=None))
    movements, _ = catalogue.read(project.corpus("base"))
    test_movements = [movement for movement in movements if (movement.composer, movement.work) in works]
    folder = unseen.corpus("base")
    folder.mkdir(parents=True, exist_ok=True)
    catalogue.write(folder, test_movements, project.corpus("base"))
    other = settings.audio.model_copy(update={"soundfonts": [SOUNDFONT], "performance_seed": 1})
    audio.run(unseen, settings.model_copy(update={"audio": other}))
    table = read_table(unseen.movements, "audio")
    return table.assign(path=[str(unseen.out("audio", name)) for name in table["file"]])


def spectrograms(table: pd.DataFrame, model: Model, most: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the mel spectrograms (clips, F, T) of movements, at most so many of each, and the row of each clip."""
    size = model.frontend.recipe.samples
    values, rows = [], []
    for row in tqdm(table.to_dict("records"), desc="spectrograms"):
        wave, _ = soundfile.read(row["path"], dtype="float32")
        firsts = [first for first in window_starts(len(wave), size, 0.9) if first + size <= len(wave)]
        for first in thin_evenly(firsts, most):
            values.append(model.represent(wave[first : first + size]))
            rows.append({name: row[name] for name in ("composer", "work", "movement", "file")})
    return np.stack(values), pd.DataFrame(rows)


def encoders(project: Project) -> Iterator[tuple[str, Encode, Path | None]]:
    """Yield the models to compare: name, function, and the file of its vectors of the corpus, if a stage wrote one."""
    folder = project.out("temporal", FOLD, MODEL)
    base, code = (contents.read(folder / name, Model) for name in (f"model-{READOUT}", "model"))
    yield "symphony2vec-base", base.embed_spectrograms, folder / f"vectors-{READOUT}.npy"
    yield "its code of 64 numbers", code.embed_spectrograms, folder / "vectors.npy"
    pca = project.out("embeddings", FOLD, "pca-mel")
    yield "PCA of mel, 40 numbers", contents.read(pca / "model", Model).embed_spectrograms, pca / "vectors.npy"
    yield "mean and deviation of every mel band", summarize, None
    build = contents.read_config(folder / f"model-{READOUT}").build
    torch.manual_seed(0)
    network = exporting.TorchNetwork(ClipEncoder(**build["arguments"]), build["method"])
    random = contents.read(folder / f"model-{READOUT}", Model, network)
    yield "random initialisation", random.embed_spectrograms, None


def summarize(spectrograms: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation over time of every band (B, 2 F)."""
    return np.concatenate([spectrograms.mean(axis=2), spectrograms.std(axis=2)], axis=1)


def encode(function: Encode, array: np.ndarray) -> np.ndarray:
    """Return the vectors (clips, D) of spectrograms (clips, F, T), in batches."""
    parts = [function(np.asarray(array[start : start + BATCH])) for start in range(0, len(array), BATCH)]
    return np.concatenate(parts)


def score_composers(vectors: np.ndarray, clips: pd.DataFrame, settings: params.Probe) -> dict[str, float]:
    """Return accuracy with interval at three levels, and macro-F1, of the probe on test clips."""
    values = scores.score(regression.fit(vectors, clips, settings), clips, settings)
    names = [f"{prefix}{end}" for prefix in ("test_accuracy", "test_movement_accuracy", "test_work_accuracy")
             for end in ("", "_low", "_high")]  # fmt: skip
    facts = ("test_macro_f1", "majority_accuracy", "majority_movement_accuracy", "majority_work_accuracy")
    return {name: values[name] for name in (*names, *facts)} | {
        "clips": values["clips"]["test"],
        "works": values["test_works"],
        "composers": clips["composer"].nunique(),
    }


def score_music(queries: Lines, targets: Lines, settings: params.Probe) -> dict[str, float]:
    """Return mean reciprocal rank and top 1, with intervals over works, of one performance searching another.

    Args:
        queries: the vectors (n, D) of each movement in one performance, by composer, work and movement.
        targets: the same in the other performance.
        settings: of the bootstrap.
    """
    keys = [key for key in queries if key in targets]
    means = [np.stack([lines[key].mean(axis=0) for key in keys]) for lines in (queries, targets)]
    query_units, units = search.unit_vectors(*means)
    collection = collect({str(place): targets[key] for place, key in enumerate(keys)})
    aligned = np.empty((len(keys), len(keys)))
    for row, key in enumerate(keys):
        ranking = search.same_music(queries[key], collection, len(keys))
        aligned[row, ranking["path"].astype(int)] = ranking["similarity"]
    works = pd.DataFrame(keys, columns=["composer", "work", "movement"])
    values: dict[str, float] = {"movements": len(keys)}
    for prefix, similarity in (("", query_units @ units.T), ("aligned_", aligned)):
        ranks = 1 + (similarity > np.diag(similarity)[:, None]).sum(axis=1)
        for name, value in ((f"{prefix}mrr", 1.0 / ranks), (f"{prefix}top_1", (ranks == 1).astype(float))):
            counts = statistics.sum_values([[works.assign(value=value)]])
            resampled = statistics.bootstrap_accuracy(counts, settings.bootstrap_resamples, settings.seed)
            low, high = statistics.interval(resampled, settings.confidence)
            values |= {name: float(value.mean()), f"{name}_low": float(low[0]), f"{name}_high": float(high[0])}
    return values


def collect(lines: dict[str, np.ndarray]) -> Collection:
    """Return a collection of recordings with these vectors (n, D)."""
    parts = [pd.DataFrame({"path": path, "start_s": range(len(vectors))}) for path, vectors in lines.items()]
    table = pd.concat(parts, ignore_index=True).assign(composer="", work="", movement="")
    return Collection(table, np.concatenate(list(lines.values())), {}, pd.DataFrame())


def group_by_movement(vectors: np.ndarray, rows: pd.DataFrame) -> Lines:
    """Return the vectors (n, D) of each movement, in order of time."""
    groups = rows.reset_index(drop=True).groupby(["composer", "work", "movement"]).indices
    return {key: vectors[index] for key, index in groups.items()}


def evaluate(project: Project) -> pd.DataFrame:
    """Return one row a model."""
    settings = params.read(project.params)
    clips = read_table(project.out("clips", "folds", f"{FOLD}.csv"), "clips").reset_index(drop=True)
    array = read_array(project.feature("mel"), "features")
    model = contents.read(project.out("temporal", FOLD, MODEL, f"model-{READOUT}"), Model)
    performed = perform_unseen(project, settings, clips)
    unseen, unseen_rows = spectrograms(performed, model, settings.clips.max_per_movement)
    selected = select_composers(clips)
    first_font = clips["performance"].to_numpy() == sorted(clips["performance"].unique())[0]
    is_test = (clips["split"] == "test").to_numpy()
    rows = []
    for name, function, path in encoders(project):
        seen_vectors = encode(function, array) if path is None else np.asarray(read_array(path, "temporal"))
        unseen_vectors = encode(function, unseen)
        results = {"model": name, "dimensions": seen_vectors.shape[1]}
        results |= score_composers(seen_vectors[selected], clips[selected].reset_index(drop=True), settings.probe)
        is_fitted = selected & ~is_test
        table = pd.concat([clips[is_fitted], unseen_rows.assign(split="test")], ignore_index=True)
        vectors = np.concatenate([seen_vectors[is_fitted], unseen_vectors])
        results |= {f"unseen_{key}": value for key, value in score_composers(vectors, table, settings.probe).items()}
        targets = group_by_movement(seen_vectors[is_test & first_font], clips[is_test & first_font])
        results |= score_music(group_by_movement(unseen_vectors, unseen_rows), targets, settings.probe)
        rows.append(results)
        print(results)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    this = Project.around(Path(__file__).parent)
    write_table(this.root / "results.csv", evaluate(this).round(4))
