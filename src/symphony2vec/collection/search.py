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

POSITIONS, LONGEST_SHIFT = 48, 0.1  # of `same_music`
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


def same_music(query: np.ndarray, collection: Collection, count: int) -> pd.DataFrame:
    """Return the recordings that are most likely of the same music: the columns of `recordings`.

    Two performances have the same passages in the same order, at about the same share of their length. The similarity
    of a recording is the mean cosine of vectors at equal shares, the best over a shift of up to `LONGEST_SHIFT` of the
    length: a recording may begin with applause, or leave out a repeat.

    Args:
        query: (m, D), in order of time.
        collection: to search; its rows are in order of time within a recording.
        count: the number of recordings.
    """
    query_units, units = unit_vectors(query, collection.vectors)
    line, similarity = _resample(query_units, POSITIONS), {}
    for path, rows in collection.table.groupby("path", sort=True).indices.items():
        other = _resample(units[rows], POSITIONS)
        shifts = range(-int(LONGEST_SHIFT * POSITIONS), int(LONGEST_SHIFT * POSITIONS) + 1)
        similarity[str(path)] = max(
            float((_part(line, shift) * _part(other, -shift)).sum(axis=1).mean()) for shift in shifts
        )
    return recordings(Nearness(np.empty(0), np.empty(0), similarity), collection, count)


def _part(line: np.ndarray, shift: int) -> np.ndarray:
    """Return a line (P, D) without its first `shift` rows, or without its last if `shift` is negative."""
    return line[shift:] if shift >= 0 else line[:shift]


def _resample(units: np.ndarray, positions: int) -> np.ndarray:
    """Return vectors (positions, D) of length 1 at equal shares of a recording (n, D), by linear interpolation."""
    at = np.linspace(0.0, len(units) - 1.0, positions)
    first = np.floor(at).astype(int)
    share = (at - first)[:, None]
    mixed = (1.0 - share) * units[first] + share * units[np.minimum(first + 1, len(units) - 1)]
    resampled: np.ndarray = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)
    return resampled


def find_path(start: np.ndarray, end: np.ndarray, collection: Collection, steps: int) -> pd.DataFrame:
    """Return passages that lead from one vector to another: similarity to the ideal step, times, titles and path.

    The ideal steps divide the arc between the two evenly. Each is the nearest passage that is not used yet; a
    recording follows itself only if the collection has one recording.

    Args:
        start: vector (D,) of the first passage.
        end: vector (D,) of the last.
        collection: to choose from.
        steps: number of passages between the two.
    """
    ends, units = unit_vectors(np.stack([start, end]), collection.vectors)
    angle = np.arccos(np.clip(ends[0] @ ends[1], -1.0, 1.0))
    shares = np.arange(1, steps + 1) / (steps + 1)
    arc = np.sin(np.stack([1.0 - shares, shares], axis=1) * angle) @ ends / max(float(np.sin(angle)), 1e-6)
    paths = collection.table["path"].to_numpy()
    used = np.zeros(len(units), dtype=bool)
    path_rows: list[tuple[int, float]] = []
    for target in arc:
        cosines = units @ target / max(float(np.linalg.norm(target)), 1e-12)
        excluded = used | (paths == paths[path_rows[-1][0]]) if path_rows and len(set(paths)) > 1 else used
        row = int(np.where(excluded, -np.inf, cosines).argmax())
        used[row] = True
        path_rows.append((row, float(cosines[row])))
    columns = ["start_s", "end_s", "composer", "work", "movement", "path"]
    table = collection.table.iloc[[row for row, _ in path_rows]][columns].reset_index(drop=True)
    table.insert(0, "similarity", [cosine for _, cosine in path_rows])
    return table


def find_contrasts(collection: Collection, count: int) -> pd.DataFrame:
    """Return the passages of a collection that differ most from each other: times, titles and path.

    The first is the farthest from the mean, each further one the farthest from those before it.

    Args:
        collection: to choose from.
        count: the number of passages.
    """
    _, units = unit_vectors(collection.vectors[:1], collection.vectors)
    rows = [int((units @ units.mean(axis=0)).argmin())]
    nearest = units @ units[rows[0]]
    while len(rows) < min(count, len(units)):
        rows.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, units @ units[rows[-1]])
    columns = ["start_s", "end_s", "composer", "work", "movement", "path"]
    return collection.table.iloc[rows][columns].reset_index(drop=True)


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
