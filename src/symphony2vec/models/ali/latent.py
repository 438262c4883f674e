"""A test of the paper's claim about ALI's latent space.

According to the paper, latents near the origin generate spectrograms that are loud over the full spectrum. The test is
the rank correlation between the distance of z from the origin and the loudness, and the flatness, of the crop.

N crops (N, 32, 32) in dB below the maximum of their clip; D latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import rankdata

WALK = np.linspace(0.0, 1.0, 11)  # value of all coordinates of z in Figure 9
RESAMPLES = 1000
GENERATED = 1000  # latents of each kind from which crops are generated


def loudness_db(crops_db: np.ndarray) -> np.ndarray:
    """Return the mean power (N,) of each crop, in dB below the maximum of its clip.

    Examples:
        >>> loudness_db(np.full((1, 32, 32), -20.0)).round(6).tolist()
        [-20.0]
    """
    mean: np.ndarray = 10.0 * np.log10(np.mean(10.0 ** (crops_db / 10.0), axis=(1, 2)))
    return mean


def flatness_db(crops_db: np.ndarray) -> np.ndarray:
    """Return the ratio (N,) of geometric to arithmetic mean of the power in dB: 0 if all values are equal, else below.

    Examples:
        >>> flatness_db(np.full((1, 32, 32), -20.0)).round(6).tolist()
        [0.0]
    """
    flatness: np.ndarray = crops_db.mean(axis=(1, 2)) - loudness_db(crops_db)
    return flatness


def correlate_ranks(distance: np.ndarray, values: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, float]:
    """Return Spearman's rank correlation with a 95 % bootstrap confidence interval.

    Args:
        distance: (N,).
        values: (N,).
        groups: (N,) group of each value; the bootstrap resamples groups.
        seed: of the bootstrap.

    Returns:
        rho, low and high; NaN if distance or values are constant.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    resampled = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))])
        resampled.append(_spearman(distance[rows], values[rows]))
    resampled = [rho for rho in resampled if np.isfinite(rho)]
    low, high = np.quantile(resampled, [0.025, 0.975]) if resampled else (np.nan, np.nan)
    return {"rho": _spearman(distance, values), "low": float(low), "high": float(high)}


def sample_rays(count: int, latent: int, seed: int) -> np.ndarray:
    """Return latents (count, D) in random directions, at distances spread evenly from 0 to sqrt(D), that of all ones.

    Examples:
        >>> np.linalg.norm(sample_rays(2, 4, seed=0), axis=1).round(6).tolist()
        [0.5, 1.5]
    """
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((count, latent))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points: np.ndarray = direction * (np.sqrt(latent) * (np.arange(count) + 0.5) / count)[:, None]
    return points


def measure_claim(
    generate: Callable[[np.ndarray], np.ndarray], z_hat: np.ndarray, crops_db: np.ndarray, works: np.ndarray, seed: int
) -> tuple[list[dict[str, Any]], dict[str, dict[str, np.ndarray]]]:
    """Test the paper's claim on latents along rays, on latents of the prior, and on the codes of real clips.

    Args:
        generate: z (N, D) -> crops (N, 32, 32) in dB.
        z_hat: (N, D) codes of real crops.
        crops_db: (N, 32, 32) the real crops.
        works: (N,) works of the real crops, which the bootstrap resamples.
        seed: of the latents and of the bootstrap.

    Returns:
        One row for each source and measure (source, measure, rho, low, high, range_db, crops), and the values of
        distance, loudness and flatness of each source. range_db is the distance between the 5th and the 95th
        percentile of the measure: a correlation says nothing about its size, and even a generator whose crops hardly
        differ can have one.
    """
    latent = z_hat.shape[1]
    prior = np.random.default_rng([seed, 1]).standard_normal((GENERATED, latent))
    rays = sample_rays(GENERATED, latent, seed)
    sources = {
        "generated along rays": (rays, generate(rays), np.arange(GENERATED)),
        "generated from the prior": (prior, generate(prior), np.arange(GENERATED)),
        "encoded test clips": (z_hat, crops_db, works),
    }
    rows, values_by_source = [], {}
    for source, (z, source_db, groups) in sources.items():
        distance = np.linalg.norm(z, axis=1)
        measures = {"loudness": loudness_db(source_db), "flatness": flatness_db(source_db)}
        for measure, values in measures.items():
            correlation = correlate_ranks(distance, values, groups, seed)
            low, high = np.quantile(values, [0.05, 0.95])
            size = {"range_db": float(high - low), "crops": len(z)}
            rows.append({"source": source, "measure": measure, **correlation, **size})
        values_by_source[source] = {"distance": distance, **measures}
    return rows, values_by_source


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return the rank correlation of two (N,); NaN if one of them is constant."""
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
