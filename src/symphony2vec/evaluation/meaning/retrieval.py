"""What lies near in the space of vectors: mean average precision of test clips as queries.

    same work      among the test clips of all movements but the query's own; without that its neighbours, which share
                   bars and players, would always win. A clip of a work with one movement in the test is no query
    same composer  among the test clips of all works but the query's own
    same key       the same; clips whose key is not known are neither queries nor candidates

Nearness is the cosine of vectors standardised by the training clips. Clips that lie equally near are taken in every
order at once: the average precision is the mean over those orders (McSherry & Najork 2008). The chance level is that of
a random order of the same candidates.

B test clips, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from symphony2vec.evaluation.meaning.probes import Found, by_work, work_of

WHAT = ("work", "composer", "key")
MEASURE = "MAP"
EQUAL = 1e-9  # cosines this near each other are the same


def retrieved(vectors: np.ndarray, clips: pd.DataFrame, key: np.ndarray, minimum: int) -> Iterator[Found]:
    """Search the test clips by the test clips, for each of WHAT.

    Args:
        vectors: (N, D), finite.
        clips: composer, work, movement and split, in the order of the vectors.
        key: (N,) names, empty where not known.
        minimum: queries; with fewer nothing is measured.
    """

    rows = np.flatnonzero(clips["split"] == "test")
    test = clips.iloc[rows]
    near = cosines(vectors, np.flatnonzero(clips["split"] == "train"), rows)
    works = work_of(test)
    composer, work, movement = (
        _codes(test["composer"]),
        _codes(works),
        _codes(works + " / " + test["movement"].astype(str)),
    )
    other_work, is_known = work[:, None] != work, key[rows] != ""
    asked = {
        "work": (movement[:, None] != movement, work[:, None] == work),
        "composer": (other_work, composer[:, None] == composer),
        "key": (other_work & is_known & is_known[:, None], key[rows][:, None] == key[rows]),
    }
    for what in WHAT:
        yield _found(what, test, near, *asked[what], minimum)


def _found(
    what: str, test: pd.DataFrame, near: np.ndarray, candidates: np.ndarray, relevant: np.ndarray, minimum: int
) -> Found:
    """Every clip with something to find is a query."""

    queries = np.flatnonzero((candidates & relevant).any(axis=1))
    scores = np.array(
        [
            (average_precision(near[query, among], relevant[query, among]), chance(relevant[query, among]))
            for query, among in ((query, candidates[query]) for query in queries)
        ]
    ).reshape(-1, 2)
    left_out = len(test) - len(queries)
    reason = f"{len(queries) or 'no'} test clips have another to find" if len(queries) < minimum else ""
    if reason:
        queries, scores = queries[:0], scores[:0]
    table = by_work(test.iloc[queries], scores[:, 0], scores[:, 1], np.ones(len(queries)))
    return Found(f"same {what}", MEASURE, table, left_out, reason=reason)


def cosines(vectors: np.ndarray, training: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Cosines (B, B) of these rows, standardised by the training rows; 0 with a vector that has no length."""

    scaler = StandardScaler().fit(vectors[training].astype(np.float64))
    scaled = scaler.transform(vectors[rows].astype(np.float64))
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit = np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)
    found: np.ndarray = unit @ unit.T
    return found


def average_precision(near: np.ndarray, relevant: np.ndarray) -> float:
    """The average precision of one query, averaged over all orders of candidates that are equally near.

    Args:
        near: (candidates,), greater is nearer.
        relevant: (candidates,) True for what was to be found; at least one.
    """

    order = np.argsort(-near, kind="stable")
    sorted_near, hits = near[order], relevant[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(sorted_near, prepend=np.inf) < -EQUAL)
    size = np.diff(starts, append=len(near))
    own = np.add.reduceat(hits, starts)  # relevant ones of each group of equals
    group = np.repeat(np.arange(len(starts)), size)
    within = np.arange(len(near)) - starts[group]  # how many of its equals stand before a place
    share = (own / size)[group]  # chance that a relevant one stands at a place
    others = within * ((own - 1.0) / np.maximum(size - 1, 1))[group]  # relevant equals before it, if one stands there
    before = (np.cumsum(own) - own)[group]
    precision = (before + others + 1.0) / np.arange(1, len(near) + 1)
    return float((share * precision).sum() / hits.sum())


def chance(relevant: np.ndarray) -> float:
    """The average precision (expected) of a random order: all candidates equally near."""

    return average_precision(np.zeros(len(relevant)), relevant)


def _codes(names: pd.Series) -> np.ndarray:
    """One number for each different name: they are compared faster."""

    codes: np.ndarray = np.unique(names.to_numpy(dtype=str), return_inverse=True)[1]
    return codes
