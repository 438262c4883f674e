"""The nearest recordings and passages of a collection.

Similarity is the cosine between vectors standardised over the collection, so that every dimension has equal weight.
n vectors of the collection, m of the query, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from symphony2vec.collection.table import Collection

PASSAGES_PER_RECORDING = 3  # at most, so that one recording does not fill the list


@dataclass(frozen=True)
class Nearness:
    """The similarities between a query and a collection.

    Attributes:
        best: (n,) the cosine of each vector of the collection with the nearest one of the query.
        at: (n,) the index of that vector of the query.
        recordings: the similarity of each recording, by its path; see `nearness`.
    """

    best: np.ndarray
    at: np.ndarray
    recordings: Mapping[str, float]


def nearness(query: np.ndarray, collection: Collection) -> Nearness:
    """Compare a query (m, D) with a collection, in memory of order n.

    The similarity of a recording is the average of two means: over the query's vectors, of the cosine with the nearest
    vector of the recording; and over the recording's vectors, with the nearest of the query. A long and varied
    recording is thus not near to everything.
    """
    count = len(collection.vectors)
    best, at, similarity = np.empty(count), np.empty(count, dtype=np.int64), {}
    query_units, units = unit_vectors(query, collection.vectors)
    for path, rows in collection.table.groupby("path", sort=True).indices.items():
        cosines = query_units @ units[rows].T
        best[rows], at[rows] = cosines.max(axis=0), cosines.argmax(axis=0)
        similarity[str(path)] = float(cosines.max(axis=1).mean() + best[rows].mean()) / 2.0
    return Nearness(best, at, similarity)


def unit_vectors(query: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return query (m, D) and vectors (n, D), both standardised by the statistics of `vectors` and of length 1.

    Examples:
        >>> query, vectors = unit_vectors(np.array([[0.0, 2.0]]), np.array([[0.0, 2.0], [4.0, 0.0]]))
        >>> (query @ vectors.T).round(3).tolist()  # cosines
        [[1.0, -1.0]]
    """
    mean, deviation = moments(vectors)

    def unit(values: np.ndarray) -> np.ndarray:
        standardised: np.ndarray = ((values - mean) / deviation).astype(np.float32)
        standardised /= np.maximum(np.linalg.norm(standardised, axis=1, keepdims=True), 1e-12)
        return standardised

    return unit(query), unit(vectors)


def moments(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (D,) of vectors (n, D); a constant dimension gets inf, and so no weight.

    Examples:
        >>> moments(np.array([[1.0, 7.0], [3.0, 7.0]]))[1]
        array([ 1., inf])
    """
    mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    varies = deviation > 1e-6 * np.maximum(np.abs(vectors).max(axis=0), 1e-30)
    return mean, np.where(varies, deviation, np.inf)


def recordings(near: Nearness, collection: Collection, count: int) -> pd.DataFrame:
    """Return the nearest recordings: a table of similarity, composer, work, movement, path."""
    table = collection.table.drop_duplicates("path")[["composer", "work", "movement", "path"]]
    table.insert(0, "similarity", table["path"].map(pd.Series(near.recordings)))
    return table.sort_values(["similarity", "path"], ascending=[False, True]).head(count).reset_index(drop=True)


def passages(near: Nearness, starts_s: np.ndarray, collection: Collection, count: int) -> pd.DataFrame:
    """Return the nearest passages: a table of similarity, at_s (time in the query), and the rows of the collection.

    Args:
        near: from `nearness`.
        starts_s: (m,) where the vectors of the query start.
        collection: the one given to `nearness`.
        count: the number of passages.

    A passage is listed once, with the part of the query that it is nearest to.
    """
    table = collection.table.assign(similarity=near.best, at_s=np.asarray(starts_s)[near.at])
    table = table.sort_values("similarity", ascending=False, kind="stable")
    table = table[table.groupby("path").cumcount() < PASSAGES_PER_RECORDING]
    columns = ["similarity", "at_s", "start_s", "end_s", "composer", "work", "movement", "path"]
    return table.head(count)[columns].reset_index(drop=True)


def exclude(collection: Collection, path: str) -> Collection:
    """Return the collection without one recording, such as the query itself."""
    is_other = (collection.table["path"] != path).to_numpy()
    table = collection.table[is_other].reset_index(drop=True)
    return Collection(table, collection.vectors[is_other], collection.facts, collection.rejected)
