"""What the paper says of ALI's latent space, and the test of it.

The paper finds that points near the origin give spectrograms that are loud over the whole spectrum. Here that is a
number: the rank correlation between the distance of z from the origin and the loudness, and the flatness, of the crop.

N crops (N, 32, 32) in dB below their clip's maximum; D latent dimensions; R bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import rankdata

WALK = np.linspace(0.0, 1.0, 11)  # every coordinate of z has this value: Figure 9
RESAMPLES = 1000


def loudness_db(crops_db: np.ndarray) -> np.ndarray:
    """Mean power of each crop, in dB below its clip's maximum: (N,)."""
    mean: np.ndarray = 10.0 * np.log10(np.mean(10.0 ** (crops_db / 10.0), axis=(1, 2)))
    return mean


def flatness_db(crops_db: np.ndarray) -> np.ndarray:
    """Geometric over arithmetic mean of the power, in dB: 0 where all values are equal, negative otherwise: (N,)."""
    flatness: np.ndarray = crops_db.mean(axis=(1, 2)) - loudness_db(crops_db)
    return flatness


def correlation(distance: np.ndarray, values: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, float]:
    """Spearman's rank correlation of two (N,), with a 95 % bootstrap interval over whole groups (N,)."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    drawn = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[place] for place in rng.integers(len(members), size=len(members))])
        drawn.append(_spearman(distance[rows], values[rows]))
    drawn = [rho for rho in drawn if np.isfinite(rho)]  # none is where a measure never changes
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    return {"rho": _spearman(distance, values), "low": float(low), "high": float(high)}


def rays(count: int, latent: int, seed: int) -> np.ndarray:
    """Points (count, D) in random directions, their distances spread evenly from 0 to sqrt(D), that of all ones."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((count, latent))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points: np.ndarray = direction * (np.sqrt(latent) * (np.arange(count) + 0.5) / count)[:, None]
    return points


def claim(
    generate: Callable[[np.ndarray], np.ndarray], z_hat: np.ndarray, clips_db: np.ndarray, works: np.ndarray, seed: int
) -> tuple[list[dict[str, Any]], dict[str, dict[str, np.ndarray]]]:
    """The paper's claim on z along rays, on z of the prior, and on the codes of real clips.

    Args:
        generate: z (N, D) -> crops (N, 32, 32) in dB.
        z_hat: (N, D), codes of real crops.
        clips_db: (N, 32, 32), these crops.
        works: (N,), whose resampling gives the interval.
        seed: of z and of the bootstrap.

    Returns:
        One row a source and measure (source, measure, rho, low, high, range_db, crops), and the numbers behind it by
        source. range_db is what lies between the 5th and the 95th percentile of the measure: a correlation says
        nothing of its size, and a generator that gives always the same crop can still have one.
    """
    latent, count = z_hat.shape[1], 1000
    prior = np.random.default_rng([seed, 1]).standard_normal((count, latent))
    along = rays(count, latent, seed)
    sources = {
        "generated along rays": (along, generate(along), np.arange(count)),
        "generated from the prior": (prior, generate(prior), np.arange(count)),
        "encoded test clips": (z_hat, clips_db, works),
    }
    rows, behind = [], {}
    for source, (z, crops_db, groups) in sources.items():
        distance = np.linalg.norm(z, axis=1)
        measured = {"loudness": loudness_db(crops_db), "flatness": flatness_db(crops_db)}
        for measure, values in measured.items():
            found = correlation(distance, values, groups, seed)
            low, high = np.quantile(values, [0.05, 0.95])
            rows.append({"source": source, "measure": measure, **found, "range_db": float(high - low), "crops": len(z)})
        behind[source] = {"distance": distance, **measured}
    return rows, behind


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation; not a number where one of the two never changes."""
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
