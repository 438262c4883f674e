"""The nearest recordings and passages of a collection.

Similarity is the cosine between vectors that were standardised over the collection: every dimension counts the same.
n vectors of the collection, m of the query, D dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from symphony2vec.collection.table import Collection

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PASSAGES_OF_ONE = 3  # of one recording among the nearest passages, so that the rest is seen too


def similarities(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(m, D) and (n, D) -> (m, n) cosines in [-1, 1], after mean and deviation of the collection."""
    import numpy as np

    deviation = vectors.std(axis=0)
    deviation[deviation < 1e-9] = 1.0
    mean = vectors.mean(axis=0)

    def unit(values: np.ndarray) -> np.ndarray:
        standard: np.ndarray = (np.asarray(values, dtype=np.float64) - mean) / deviation
        long: np.ndarray = np.linalg.norm(standard, axis=1, keepdims=True)
        scaled: np.ndarray = standard / np.maximum(long, 1e-12)
        return scaled

    found: np.ndarray = unit(query) @ unit(vectors).T
    return found


def recordings(cosines: np.ndarray, collection: Collection, count: int) -> pd.DataFrame:
    """The nearest recordings.

    Similarity is the mean over the query's vectors of the nearest one in the recording, and over the recording's of the
    nearest one in the query, in equal parts: a long recording is not near only because it holds a little of everything.
    """
    import pandas as pd

    groups = collection.table.groupby("path", sort=True).indices
    rows = [
        {
            "similarity": float((own.max(axis=1).mean() + own.max(axis=0).mean()) / 2.0),
            **{name: collection.table[name].iloc[places[0]] for name in ("composer", "work", "movement", "path")},
        }
        for places in groups.values()
        for own in [cosines[:, places]]
    ]
    table = pd.DataFrame(rows, columns=["similarity", "composer", "work", "movement", "path"])
    return table.sort_values("similarity", ascending=False, kind="stable").head(count).reset_index(drop=True)


def passages(cosines: np.ndarray, starts_s: np.ndarray, collection: Collection, count: int) -> pd.DataFrame:
    """The nearest passages: similarity, at_s (where in the query), and the row of the collection.

    A passage is listed once, with the part of the query that it is nearest to.
    """
    import numpy as np

    best, at = cosines.max(axis=0), cosines.argmax(axis=0)
    table = collection.table.assign(similarity=best, at_s=np.asarray(starts_s)[at])
    table = table.sort_values("similarity", ascending=False, kind="stable")
    table = table[table.groupby("path").cumcount() < PASSAGES_OF_ONE]
    columns = ["similarity", "at_s", "start_s", "end_s", "composer", "work", "movement", "path"]
    return table.head(count)[columns].reset_index(drop=True)


def without(collection: Collection, path: str) -> Collection:
    """The collection without one recording: the query's own."""
    keep = (collection.table["path"] != path).to_numpy()
    kept = collection.table[keep].reset_index(drop=True)
    return Collection(kept, collection.vectors[keep], collection.facts, collection.rejected)
