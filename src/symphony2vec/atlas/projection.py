"""Projection of vectors to the plane, and their nearest neighbours.

n vectors of D dimensions, each standardised over the collection so that none dominates; distances are cosine distances.
The projection is UMAP (McInnes, Healy & Melville 2018) with a fixed seed: equal vectors get equal positions on one
machine. It is rotated so that it fills a wide page best.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.neighbors import NearestNeighbors

from symphony2vec.collection import search

SEED = 0
NEIGHBOURS = 15  # UMAP's default
MIN_DISTANCE = 0.1  # UMAP's default
NEAREST = 10  # neighbours in the page's list
ASPECT = 0.35  # height by width of the part of the page's view that controls leave free


def standardise(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (n, D) with mean 0 and standard deviation 1 in each dimension; a constant one becomes 0.

    Examples:
        >>> standardise(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    mean, deviation = search.moments(vectors)
    scaled: np.ndarray = ((vectors - mean) / deviation).astype(np.float32)
    return scaled


def project(points: np.ndarray) -> tuple[np.ndarray, str]:
    """Return positions (n, 2) float32 of standardised vectors (n, D), and a description of the method.

    UMAP needs more vectors than neighbours: fewer, or identical ones, are projected to their first two principal
    components.
    """
    if len(points) <= NEIGHBOURS or not (points != points[0]).any():
        return rotate_to_fill(
            _principal_components(points)
        ), f"PCA (UMAP needs more than {NEIGHBOURS} clips that differ)"
    return rotate_to_fill(_umap(points)), f"UMAP (cosine, {NEIGHBOURS} neighbours, seed {SEED})"


def nearest_neighbours(points: np.ndarray, count: int = NEAREST) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n, k) int64 and cosine distances (n, k) float32 of the k = min(count, n - 1) nearest others of each.

    Examples:
        >>> nearest_neighbours(np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]]), 1)[0].tolist()
        [[1], [0], [1]]
    """
    k = min(count, len(points) - 1)
    if not k:
        return np.empty((1, 0), np.int64), np.empty((1, 0), np.float32)
    distances, rows = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(points).kneighbors()
    return rows.astype(np.int64), np.maximum(distances, 0.0).astype(np.float32)


def rotate_to_fill(positions: np.ndarray) -> np.ndarray:
    """Return positions (n, 2) rotated to fill a view of the shape ASPECT best, and centred at (0, 0)."""
    angles = np.radians(np.arange(0, 180, 2))[:, None, None]
    rotations = np.block([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]])  # (angles, 2, 2)
    candidates = positions.astype(np.float64) @ rotations
    sizes = np.ptp(candidates, axis=1)
    best = candidates[np.maximum(sizes[:, 0], sizes[:, 1] / ASPECT).argmin()]
    centred: np.ndarray = (best - (best.max(axis=0) + best.min(axis=0)) / 2).astype(np.float32)
    return centred


def _umap(points: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies, and about vectors disconnected from all others
        import umap

        reducer = umap.UMAP(
            n_components=2,
            n_neighbors=NEIGHBOURS,
            min_dist=MIN_DISTANCE,
            metric="cosine",
            random_state=SEED,
            n_jobs=1,
        )
        positions: np.ndarray = reducer.fit_transform(points).astype(np.float32)
    is_disconnected = ~np.isfinite(positions).all(axis=1)  # UMAP gives these no position
    positions[is_disconnected] = np.nanmean(positions, axis=0)
    return positions


def _principal_components(points: np.ndarray) -> np.ndarray:
    """Return the first two principal components (n, 2), each with its largest entry positive; or zeros."""
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    u, singular_values, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (u * singular_values)[:, :2]
    scores = scores * np.sign(scores[np.abs(scores).argmax(axis=0), range(scores.shape[1])])
    positions = np.zeros((len(points), 2), np.float32)
    positions[:, : scores.shape[1]] = scores
    return positions
