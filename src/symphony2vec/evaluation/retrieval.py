"""Retrieval: mean average precision (MAP) of test clips as queries, by the cosine similarity of their vectors.

    same work      candidates are the test clips of all movements but the query's own, whose clips share bars and
                   players and would always rank first. A clip of a work with one test movement is no query
    same composer  candidates are the test clips of all works but the query's own
    same key       as same composer; clips of unknown key are neither queries nor candidates

Vectors are standardised on the training clips. For candidates of equal similarity the average precision is the mean
over all their orders (McSherry & Najork 2008). The baseline is the expected MAP of a random order of the candidates.

B test clips, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from symphony2vec.evaluation.meaning.probes import Measurement, sum_by_work, work_names

MEASURE = "MAP"
TIE_TOLERANCE = 1e-9  # similarities this close are equal


def evaluate_retrieval(
    vectors: np.ndarray, clips: pd.DataFrame, key: np.ndarray, minimum: int
) -> Iterator[Measurement]:
    """Yield the MAP of each retrieval task.

    Args:
        vectors: (N, D), finite.
        clips: composer, work, movement and split, in the order of the vectors.
        key: (N,) names, empty if unknown.
        minimum: number of queries; with fewer nothing is measured.
    """
    rows = np.flatnonzero(clips["split"] == "test")
    test, test_key = clips.iloc[rows], key[rows]
    similarity = cosine_similarities(vectors, np.flatnonzero(clips["split"] == "train"), rows)
    works = work_names(test)
    composer, work, movement = map(_codes, (test["composer"], works, works + " / " + test["movement"].astype(str)))
    other_work, has_key = work[:, None] != work, test_key != ""
    tasks = {  # candidates and relevant clips (B, B) of each query
        "work": (movement[:, None] != movement, work[:, None] == work),
        "composer": (other_work, composer[:, None] == composer),
        "key": (other_work & has_key & has_key[:, None], test_key[:, None] == test_key),
    }
    for name, (candidates, relevant) in tasks.items():
        yield _evaluate_task(f"same {name}", test, similarity, candidates, relevant, minimum)


def _evaluate_task(
    name: str, test: pd.DataFrame, similarity: np.ndarray, candidates: np.ndarray, relevant: np.ndarray, minimum: int
) -> Measurement:
    """Return the average precision of every clip with a relevant candidate, summed by work."""
    queries = np.flatnonzero((candidates & relevant).any(axis=1))
    left_out = len(test) - len(queries)
    reason = f"{len(queries) or 'no'} test clips have another to find" if len(queries) < minimum else ""
    if reason:
        queries = queries[:0]
    scores, baselines = np.zeros((2, len(queries)))
    for place, query in enumerate(queries):
        among = candidates[query]
        scores[place] = average_precision(similarity[query, among], relevant[query, among])
        baselines[place] = random_average_precision(relevant[query, among])
    table = sum_by_work(test.iloc[queries], scores, baselines, np.ones(len(queries)))
    return Measurement(name, MEASURE, table, left_out, reason=reason)


def cosine_similarities(vectors: np.ndarray, training: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the cosines (B, B) of these rows, standardised by the training rows; 0 with a vector of length 0."""
    scaler = StandardScaler().fit(vectors[training].astype(np.float64))
    scaled = scaler.transform(vectors[rows].astype(np.float64))
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit = np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)
    cosines: np.ndarray = unit @ unit.T
    return cosines


def average_precision(similarity: np.ndarray, relevant: np.ndarray) -> float:
    """Return the average precision of one query, as the mean over all orders of equally similar candidates.

    Args:
        similarity: (candidates,).
        relevant: (candidates,) True for a relevant candidate; at least one.

    Examples:
        >>> import numpy as np
        >>> average_precision(np.array([0.9, 0.5, 0.1]), np.array([True, False, True])).__round__(4)
        0.8333
    """
    order = np.argsort(-similarity, kind="stable")
    ordered, hits = similarity[order], relevant[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(ordered, prepend=np.inf) < -TIE_TOLERANCE)  # of groups of equal similarity
    size = np.diff(starts, append=len(similarity))
    group_hits = np.add.reduceat(hits, starts)
    group = np.repeat(np.arange(len(starts)), size)
    within = np.arange(len(similarity)) - starts[group]  # number of its equals that precede a rank
    share = (group_hits / size)[group]  # probability of a relevant candidate at a rank
    # Expected number of relevant equals before a rank, given a relevant candidate at that rank.
    others = within * ((group_hits - 1.0) / np.maximum(size - 1, 1))[group]
    before = (np.cumsum(group_hits) - group_hits)[group]
    precision = (before + others + 1.0) / np.arange(1, len(similarity) + 1)
    return float((share * precision).sum() / hits.sum())


def random_average_precision(relevant: np.ndarray) -> float:
    """Return the expected average precision of a random order: all candidates equally similar."""
    return average_precision(np.zeros(len(relevant)), relevant)


def _codes(names: pd.Series) -> np.ndarray:
    """Return an integer for each different name: integers compare faster."""
    codes: np.ndarray = np.unique(names.to_numpy(dtype=str), return_inverse=True)[1]
    return codes
