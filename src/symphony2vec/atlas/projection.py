"""Vectors to places on a page, and to their nearest neighbours.

n vectors of D dimensions. Each dimension is standardised over the collection first, so that none outweighs the others;
near is then what has a small cosine distance. Places are UMAP's (McInnes, Healy & Melville 2018), seeded: the same
vectors give the same places on one machine. They are turned so that they fill a wide page best.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.neighbors import NearestNeighbors

from symphony2vec.collection import search

SEED = 0
NEIGHBOURS = 15  # UMAP's default: how far each vector looks
MIN_DISTANCE = 0.1  # UMAP's default
NEAREST = 10  # neighbours that the page lists
ASPECT = 0.35  # height by width of what is free of controls in the page's view of dots


def standardised(vectors: np.ndarray) -> np.ndarray:
    """Each column of (n, D) with mean 0 and standard deviation 1; a constant one is 0."""

    mean, deviation = search.moments(vectors)
    scaled: np.ndarray = ((vectors - mean) / deviation).astype(np.float32)
    return scaled


def places(points: np.ndarray) -> tuple[np.ndarray, str]:
    """Places (n, 2) float32 of standardised vectors (n, D), and by what they were found.

    UMAP needs more vectors than it looks at neighbours: fewer, or vectors that are all the same, are placed by their
    first two principal components.
    """
    if len(points) <= NEIGHBOURS or not (points != points[0]).any():
        return turned(_principal(points)), f"PCA (UMAP needs more than {NEIGHBOURS} clips that differ)"
    return turned(_umap(points)), f"UMAP (cosine, {NEIGHBOURS} neighbours, seed {SEED})"


def nearest(points: np.ndarray, count: int = NEAREST) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, k) int64 and cosine distances (n, k) float32 of the k = min(count, n - 1) nearest others of each."""

    wanted = min(count, len(points) - 1)
    if not wanted:
        return np.empty((1, 0), np.int64), np.empty((1, 0), np.float32)
    search = NearestNeighbors(n_neighbors=wanted, metric="cosine", algorithm="brute").fit(points)
    distances, rows = search.kneighbors()
    return rows.astype(np.int64), np.maximum(distances, 0.0).astype(np.float32)


def turned(places: np.ndarray) -> np.ndarray:
    """Places (n, 2) turned, so that they show largest in a view of the shape ASPECT, around (0, 0)."""

    angles = np.radians(np.arange(0, 180, 2))[:, None, None]
    turns = np.block([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]])  # (angles, 2, 2)
    every = places.astype(np.float64) @ turns
    sizes = np.ptp(every, axis=1)
    best = every[np.maximum(sizes[:, 0], sizes[:, 1] / ASPECT).argmin()]
    centred: np.ndarray = (best - (best.max(axis=0) + best.min(axis=0)) / 2).astype(np.float32)
    return centred


def _umap(points: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies, and that some vectors stand apart from all others
        import umap

        reducer = umap.UMAP(
            n_components=2,
            n_neighbors=NEIGHBOURS,
            min_dist=MIN_DISTANCE,
            metric="cosine",
            random_state=SEED,
            n_jobs=1,
        )
        found: np.ndarray = reducer.fit_transform(points).astype(np.float32)
    apart = ~np.isfinite(found).all(axis=1)  # UMAP leaves these without a place
    found[apart] = np.nanmean(found, axis=0)
    return found


def _principal(points: np.ndarray) -> np.ndarray:
    """The first two principal components (n, 2), each with its largest entry positive; zeros where there are none."""

    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (left * sizes)[:, :2]
    scores = scores * np.sign(scores[np.abs(scores).argmax(axis=0), range(scores.shape[1])])
    found = np.zeros((len(points), 2), np.float32)
    found[:, : scores.shape[1]] = scores
    return found
