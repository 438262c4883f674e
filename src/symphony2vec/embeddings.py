"""The baseline embeddings of Table 4: so far PCA, on each representation.

Reads   out/clips/clips.csv, out/features/<representation>.npy and normalisation.npz
Writes  out/embeddings/<model>-<representation>/
            vectors.npy      (clips, dimensions) float32, the rows in the order of clips.csv
            model.npz        what turns a normalised clip into its vector
            run.json         the MLflow run
            scatter.png      the first two dimensions: Figure 4 of the paper

A model is fitted on the training clips alone and then applied to all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from symphony2vec import features, tracking
from symphony2vec.artifacts import Project, clips_hash, read_array, read_table, whole_folder, write_array
from symphony2vec.errors import UserError
from symphony2vec.params import Embeddings, Params

if TYPE_CHECKING:
    import numpy as np
    from sklearn.decomposition import IncrementalPCA


def run(project: Project, params: Params, model: str, representation: str) -> None:
    """The stage `embeddings` for one model and one representation."""
    import numpy as np

    from symphony2vec import figures

    if model != "pca":
        raise UserError(f"no embedding '{model}'; there is pca")
    settings = params.embeddings
    subject = tracking.Subject("embeddings", model, representation)
    clips = read_table(project.clips, "clips")
    array = read_array(project.feature(representation), "features")
    mean, deviation = features.normalisation(project.out("features"), representation, clips_hash(project))
    training = np.flatnonzero(clips["split"] == "train")
    counts = {"clips": len(clips), "training_clips": len(training), "dimensions": settings.dimensions}
    parameters = {**tracking.flat(params, "embeddings", "probe"), **counts}

    def batches(rows: np.ndarray) -> Iterator[np.ndarray]:
        return features.normalised_batches(array, rows, mean, deviation, settings.pca.batch_clips)

    with tracking.run(project, subject, parameters, project.feature(representation)) as opened:
        pca = fit_pca(batches(training), len(training), settings)
        vectors = np.concatenate([pca.transform(batch) for batch in batches(np.arange(len(clips)))]).astype(np.float32)
        shares = pca.explained_variance_ratio_
        opened.metrics({"explained_variance": shares.sum()})
        with whole_folder(project.out("embeddings", subject.name)) as folder:
            write_array(folder / "vectors.npy", vectors)
            np.savez(folder / "model.npz", components=pca.components_, mean=pca.mean_, explained_variance=shares)
            tracking.write_record(folder / "run.json", opened, subject, clips_hash(project))
            picture = figures.scatter(
                vectors[:, :2], list(clips["composer"]), f"PCA of the {representation}", shares[:2]
            )
            opened.figure(picture, "scatter.png")
            figures.save(folder / "scatter.png", picture)
            opened.file(folder / "model.npz", "model")
    print(f"{subject.name}: {vectors.shape[1]} dimensions hold {shares.sum():.1%} of the training clips' variance")


def fit_pca(batches: Iterator[np.ndarray], clips: int, settings: Embeddings) -> IncrementalPCA:
    """Principal components of `clips` flattened clips (b, F T), given in batches.

    The PCA is incremental (Ross et al. 2008), so that memory does not grow with the corpus; with a single batch it is
    exact.
    """
    from sklearn.decomposition import IncrementalPCA
    from tqdm import tqdm

    if clips < settings.dimensions:
        raise UserError(
            f"embeddings.dimensions is {settings.dimensions}, but there are only {clips} training clips; "
            "lower it or add music"
        )
    if settings.pca.batch_clips < 2 * settings.dimensions:
        raise UserError(
            f"embeddings.pca.batch_clips is {settings.pca.batch_clips}; "
            f"with {settings.dimensions} dimensions it must be {2 * settings.dimensions} or more"
        )
    pca = IncrementalPCA(n_components=settings.dimensions)
    for batch in tqdm(batches, desc="pca", unit="batch", total=-(-clips // settings.pca.batch_clips)):
        pca.partial_fit(batch)
    return pca
