"""The nearest recordings and passages of a collection.

Similarity is the cosine between vectors that were standardised over the collection: every dimension counts the same.
n vectors of the collection, m of the query, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from symphony2vec.collection.table import Collection

PASSAGES_OF_ONE = 3  # of one recording among the nearest passages, so that the rest is seen too


@dataclass(frozen=True)
class Nearness:
    """How near a collection is to a query: best (n,), the cosine of each of its vectors with the nearest one of the
    query's; at (n,), which one that is; recordings, the similarity of each recording by its path (see `nearness`).
    """

    best: np.ndarray
    at: np.ndarray
    recordings: Mapping[str, float]


def nearness(query: np.ndarray, collection: Collection) -> Nearness:
    """Compare a query (m, D) with a collection, recording by recording: what is held grows with n, not with m n.

    The similarity of a recording is the mean over the query's vectors of the nearest one in it, and over its own of the
    nearest one in the query, in equal parts: a long recording is not near only because it holds a little of everything.
    """

    count = len(collection.vectors)
    best, at, similarity = np.empty(count), np.empty(count, dtype=np.int64), {}
    asked, held = standardised(query, collection.vectors)
    for path, places in collection.table.groupby("path", sort=True).indices.items():
        cosines = asked @ held[places].T
        best[places], at[places] = cosines.max(axis=0), cosines.argmax(axis=0)
        similarity[str(path)] = float(cosines.max(axis=1).mean() + best[places].mean()) / 2.0
    return Nearness(best, at, similarity)


def standardised(query: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, D) and (n, D), after mean and deviation of the collection's and at length 1: products of rows are cosines."""

    mean, deviation = moments(vectors)

    def unit(values: np.ndarray) -> np.ndarray:
        standard: np.ndarray = ((values - mean) / deviation).astype(np.float32)
        standard /= np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-12)
        return standard

    return unit(query), unit(vectors)


def moments(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (D,) of vectors (n, D); a dimension that hardly varies has an infinite one, and so no say."""

    mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    varies = deviation > 1e-6 * np.maximum(np.abs(vectors).max(axis=0), 1e-30)
    return mean, np.where(varies, deviation, np.inf)


def recordings(near: Nearness, collection: Collection, count: int) -> pd.DataFrame:
    """The nearest recordings: similarity, composer, work, movement, path."""

    table = collection.table.drop_duplicates("path")[["composer", "work", "movement", "path"]]
    table.insert(0, "similarity", table["path"].map(pd.Series(near.recordings)))
    return table.sort_values(["similarity", "path"], ascending=[False, True]).head(count).reset_index(drop=True)


def passages(near: Nearness, starts_s: np.ndarray, collection: Collection, count: int) -> pd.DataFrame:
    """The nearest passages: similarity, at_s (where in the query), and the row of the collection.

    A passage is listed once, with the part of the query that it is nearest to.
    """

    table = collection.table.assign(similarity=near.best, at_s=np.asarray(starts_s)[near.at])
    table = table.sort_values("similarity", ascending=False, kind="stable")
    table = table[table.groupby("path").cumcount() < PASSAGES_OF_ONE]
    columns = ["similarity", "at_s", "start_s", "end_s", "composer", "work", "movement", "path"]
    return table.head(count)[columns].reset_index(drop=True)


def without(collection: Collection, path: str) -> Collection:
    """The collection without one recording: the query's own."""
    keep = (collection.table["path"] != path).to_numpy()
    kept = collection.table[keep].reset_index(drop=True)
    return Collection(kept, collection.vectors[keep], collection.facts, collection.rejected)
