"""Quality of a generative model of mel spectrograms: how well it reconstructs clips, how realistic generated ones are.

Two measures: the log-spectral distance of a reconstruction from its original, and the Frechet distance between clips
of a model and real ones, on descriptors that are computed rather than learned, so that no model was trained on them.

Axes: B clips, F bins, T frames, n MFCCs, K = 4 n descriptors of a clip. Spectrograms are (B, F, T) in dB below the
clip's maximum. Source: Gray and Markel 1976 (log-spectral distance), Dowson and Landau 1982 (Frechet distance of normal
distributions), Heusel et al. 2017 (its use on generated samples).

The Frechet distance of finite samples is biased upwards, by about c / B for B clips: two samples of one distribution
are not at 0. Values are comparable only for equal numbers of clips, and relative to the floor, the distance of training
clips from held-out ones, which includes how far their works differ. All distances of a `GenerationQuality` use the same
number. A reconstruction shares the clip, and so the sample, with its original: it may lie below the floor.

The descriptors capture the spectral envelope and how it changes, not single partials: they are more sensitive to blur
along time than to blur between neighbouring bins. The log-spectral distance captures both. How much real clips change
from frame to frame varies little (5 to 19 % of the mean on the starter corpus), so a model that is too smooth or too
rough is many standard deviations away and the changes dominate. Both halves are therefore reported besides the total.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.fft import dct

from symphony2vec.errors import UserError

MAX_CLIPS = 250  # of each kind in a Frechet distance; as many are generated
CLIPS_AT_ONCE = 64
MFCC_COEFFICIENTS = 13  # as in params.yaml's features, but fixed: a distance must mean the same in every project


@dataclass(frozen=True)
class GenerationQuality:
    """Result of `evaluate`.

    distances_db: the log-spectral distance (B,) of the reconstruction of each held-out clip; frechet: one row per kind
    of clips, with `what` (reconstructed, generated, or training: the floor), `frechet` (its distance from the held-out
    clips), `frechet_spectrum` and `frechet_moves` (that of the MFCCs alone, and of their changes alone), and `clips`
    (the number of clips of each kind).
    """

    distances_db: np.ndarray
    frechet: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, float]:
        """The mean log-spectral distance and each Frechet distance, as frechet_<what>."""
        distances = {f"frechet_{row['what']}": float(row["frechet"]) for row in self.frechet}
        return {"log_spectral_distance": float(self.distances_db.mean()), **distances}

    def tables(self, held_out: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the content of generation.csv, one row per held-out clip, and of frechet.csv, by name of the table.

        Args:
            held_out: the rows of clips.csv in the order of `distances_db`.
        """
        clips = held_out[["clip", "composer", "work"]].assign(log_spectral_distance=self.distances_db)
        return {"generation": clips, "frechet": pd.DataFrame(self.frechet)}


def log_spectral_distance(originals_db: np.ndarray, copies_db: np.ndarray) -> np.ndarray:
    """Return the root mean square over bins of the difference in dB, averaged over frames.

    Args:
        originals_db: (B, F, T) in dB.
        copies_db: (B, F, T) in dB.

    Returns:
        (B,) in dB.

    Examples:
        >>> log_spectral_distance(np.zeros((1, 64, 431)), np.full((1, 64, 431), 3.0)).tolist()
        [3.0]
    """
    difference = np.asarray(copies_db, dtype=np.float64) - originals_db
    distances: np.ndarray = np.sqrt(np.square(difference).mean(axis=1)).mean(axis=1)
    return distances


def describe_clips(mel_db: np.ndarray, mfcc_coefficients: int = MFCC_COEFFICIENTS) -> np.ndarray:
    """Return the descriptors of each clip.

    They are the mean and the standard deviation over frames of the MFCCs (those of `librosa.feature.mfcc(S=mel_db)`),
    then mean and standard deviation of the absolute change of each from one frame to the next.

    Args:
        mel_db: (B, F, T), T > 1.
        mfcc_coefficients: n; at most F.

    Returns:
        (B, K) float64.

    Examples:
        >>> describe_clips(np.zeros((2, 64, 431))).shape
        (2, 52)
    """
    parts = []
    for start in range(0, len(mel_db), CLIPS_AT_ONCE):
        mel = np.asarray(mel_db[start : start + CLIPS_AT_ONCE], dtype=np.float64)
        mfcc = dct(mel, type=2, axis=1, norm="ortho")[:, :mfcc_coefficients]
        changes = np.abs(np.diff(mfcc, axis=2))
        statistics = [moment(values, axis=2) for values in (mfcc, changes) for moment in (np.mean, np.std)]
        parts.append(np.concatenate(statistics, axis=1))
    return np.concatenate(parts)


def standardise(descriptors: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Standardise descriptors (B, K) by mean and standard deviation of those of the training clips (any number, K)."""
    deviation = training.std(axis=0)
    standardised: np.ndarray = (descriptors - training.mean(axis=0)) / np.where(deviation < 1e-6, 1.0, deviation)
    return standardised


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the (squared) Frechet distance of the normal distributions fitted to two sets of equal size (B, K).

    With S = R' R the covariance of each set, R from the QR decomposition of its centred rows, the trace of
    (Sa Sb)^(1/2) is the sum of the singular values of Ra Rb'. No covariance matrix is formed, inverted or rooted, so
    the result stays real and needs no shrinkage where there are fewer clips than descriptors. A single clip has no
    spread.

    Raises:
        UserError: the sets differ in size.

    Examples:
        >>> frechet_distance(np.zeros((5, 2)), np.ones((5, 2)))
        2.0
    """
    if len(a) != len(b):
        raise UserError(
            f"the Frechet distance of {len(a)} clips from {len(b)} depends on the numbers of clips: give equal numbers"
        )
    factor_a, factor_b = _covariance_factor(a), _covariance_factor(b)
    means = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    shared = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    distance = means + np.square(factor_a).sum() + np.square(factor_b).sum() - 2.0 * shared
    return max(float(distance), 0.0)  # rounding may give a value just below


def evaluate(
    array: np.ndarray,
    training: np.ndarray,
    held_out: np.ndarray,
    reconstruct: Callable[[np.ndarray], np.ndarray],
    generated_db: np.ndarray | None,
    seed: int,
) -> GenerationQuality:
    """Measure how well a model reconstructs the held-out clips and how realistic its generated clips are.

    If the model outputs fewer frames than the clips have, they are the middle ones, and all clips are cut to them.
    Clips are read and reconstructed in small batches.

    Args:
        array: the mel spectrograms (clips, F, T) of all clips in dB, memory-mapped or not.
        training: rows of the training clips, which scale the descriptors and give the floor.
        held_out: rows of the clips to reconstruct; Frechet distances are measured from them.
        reconstruct: maps rows (B,) to their reconstructions (B, F, T) in dB.
        generated_db: clips (B, F, T) generated from the model's prior; None if it has none.
        seed: of the random choice of clips.
    """
    generated = [] if generated_db is None else [generated_db]
    frames = min(clips.shape[2] for clips in (array, reconstruct(held_out[:1]), *generated))
    originals, copies, distances = [], [], []
    for batch in _split_rows(held_out):
        original_db, copy_db = crop_middle(array[batch], frames), crop_middle(reconstruct(batch), frames)
        distances.append(log_spectral_distance(original_db, copy_db))
        originals.append(describe_clips(original_db))
        copies.append(describe_clips(copy_db))
    reference = np.concatenate([describe_clips(crop_middle(array[batch], frames)) for batch in _split_rows(training)])
    count = min(MAX_CLIPS, len(training), len(held_out), *map(len, generated))
    rng = np.random.default_rng(seed)
    sample, floor_sample = (np.sort(rng.choice(len(rows), count, replace=False)) for rows in (held_out, training))
    descriptors = {"reconstructed": np.concatenate(copies)[sample], "training": reference[floor_sample]}
    if generated_db is not None:
        descriptors["generated"] = describe_clips(crop_middle(generated_db[:count], frames))
    real = standardise(np.concatenate(originals)[sample], reference)
    frechet = [
        {"what": kind, **_frechet_row(standardise(values, reference), real)}
        for kind, values in sorted(descriptors.items())
    ]
    return GenerationQuality(np.concatenate(distances), frechet)


def crop_middle(clips: np.ndarray, frames: int) -> np.ndarray:
    """Return the middle `frames` of clips (B, F, T)."""
    first = (clips.shape[2] - frames) // 2
    return clips[:, :, first : first + frames]


def _covariance_factor(rows: np.ndarray) -> np.ndarray:
    """Return R, upper triangular, such that R' R is the covariance of the rows (B, K)."""
    centred = (rows - rows.mean(axis=0)) / max(len(rows) - 1, 1) ** 0.5
    factor: np.ndarray = np.linalg.qr(centred).R
    return factor


def _frechet_row(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Return the distance of two (B, K), and that of each half of the descriptors."""
    half = a.shape[1] // 2
    return {
        "frechet": frechet_distance(a, b),
        "frechet_spectrum": frechet_distance(a[:, :half], b[:, :half]),
        "frechet_moves": frechet_distance(a[:, half:], b[:, half:]),
        "clips": len(a),
    }


def _split_rows(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // CLIPS_AT_ONCE))
