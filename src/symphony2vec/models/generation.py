"""How well a model gives mel spectrograms back, and how well it invents new ones.

Two measures: the log-spectral distance of a copy from its own original, and the Frechet distance between the clips of
a model and real ones, in a description that is computed and not learnt, so that no model was trained on it.

B clips, F bins, T frames, n MFCCs, K = 4 n numbers that describe a clip. Spectrograms are (B, F, T) in dB below the
clip's maximum. Source: Gray and Markel 1976 (log-spectral distance), Dowson and Landau 1982 (distance of two normal
distributions), Heusel et al. 2017 (its use on generated samples).

A Frechet distance of finite samples is too large, by about c / B for B clips: two samples of one distribution are
not at 0. Numbers are comparable only where they come from equal numbers of clips, and beside the distance of training
clips from held-out ones, which is the floor: it also holds how far their works differ. All that a `Quality` holds
comes from the same number. A reconstruction shares its clip, and so the sample: it may well lie below the floor.

The description sees the envelope of the spectrum and how it moves, not single partials: it tells blur along time
better than blur between neighbouring bins. The log-spectral distance sees both. How far real clips move from frame
to frame differs little between them (5 to 19 % of its mean on the starter corpus), so a model that is too smooth or
too rough is many deviations away, and the moves outweigh the rest. Each half is therefore given beside the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.fft import dct

from symphony2vec.errors import UserError

CLIPS = 250  # of each kind, at most, in a Frechet distance; as many are generated
CLIPS_AT_ONCE = 64
MFCC_COEFFICIENTS = 13  # as in params.yaml's features, but fixed: a distance must mean the same in every project


@dataclass(frozen=True)
class Quality:
    """What `report` found.

    distances_db: the log-spectral distance (B,) of each held-out clip's copy; frechet: one row a kind of clips, each
    with `what` (reconstructed, generated or training: the floor), `frechet` (its distance from the held-out clips),
    `frechet_spectrum` and `frechet_moves` (that of the MFCCs alone, and of their moves alone), and `clips` (how many
    of each it was computed from).
    """

    distances_db: np.ndarray
    frechet: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of a run: the mean log-spectral distance, and each Frechet distance as frechet_<what>."""
        distances = {f"frechet_{row['what']}": float(row["frechet"]) for row in self.frechet}
        return {"log_spectral_distance": float(self.distances_db.mean()), **distances}

    def tables(self, held_out: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The two files of a fold, without their suffix: `generation`, a row a held-out clip, and `frechet`.

        `held_out` has the rows of clips.csv that `distances_db` speaks of, in its order.
        """

        clips = held_out[["clip", "composer", "work"]].assign(log_spectral_distance=self.distances_db)
        return {"generation": clips, "frechet": pd.DataFrame(self.frechet)}


def log_spectral_distance(originals_db: np.ndarray, copies_db: np.ndarray) -> np.ndarray:
    """Root mean square over bins of the difference in dB, averaged over frames: two (B, F, T) to (B,) in dB."""

    difference = np.asarray(copies_db, dtype=np.float64) - originals_db
    distances: np.ndarray = np.sqrt(np.square(difference).mean(axis=1)).mean(axis=1)
    return distances


def described(mel_db: np.ndarray, mfcc_coefficients: int = MFCC_COEFFICIENTS) -> np.ndarray:
    """A description of each clip that nobody trained: (B, F, T), T > 1, to (B, K) float64.

    The mean and the standard deviation over frames of the MFCCs (those of `librosa.feature.mfcc(S=mel_db)`), then
    mean and deviation of how far each moves from one frame to the next. Of F bins there are at most F coefficients.
    """

    parts = []
    for start in range(0, len(mel_db), CLIPS_AT_ONCE):
        mel = np.asarray(mel_db[start : start + CLIPS_AT_ONCE], dtype=np.float64)
        mfcc = dct(mel, type=2, axis=1, norm="ortho")[:, :mfcc_coefficients]
        moves = np.abs(np.diff(mfcc, axis=2))
        parts.append(np.concatenate([f(values, axis=2) for values in (mfcc, moves) for f in (np.mean, np.std)], axis=1))
    return np.concatenate(parts)


def standardised(descriptions: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Descriptions (B, K) in deviations of the training clips' (any number, K) from their mean: (B, K)."""

    deviation = training.std(axis=0)
    found: np.ndarray = (descriptions - training.mean(axis=0)) / np.where(deviation < 1e-6, 1.0, deviation)
    return found


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance (squared, as is usual) of the normal distributions fitted to two (B, K), B the same of both.

    With S = R' R the covariance of each, R from the QR decomposition of its centred rows, the trace of (Sa Sb)^(1/2)
    is the sum of the singular values of Ra Rb'. No covariance is formed, inverted or rooted, so the result stays
    real and needs no shrinkage where there are fewer clips than numbers. One clip alone has no spread.
    """

    if len(a) != len(b):
        raise UserError(
            f"a Frechet distance of {len(a)} clips from {len(b)} would depend on the numbers: give as many of both"
        )

    def root(rows: np.ndarray) -> np.ndarray:
        centred = (rows - rows.mean(axis=0)) / max(len(rows) - 1, 1) ** 0.5
        upper: np.ndarray = np.linalg.qr(centred).R
        return upper

    root_a, root_b = root(a), root(b)
    means = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    shared = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = means + np.square(root_a).sum() + np.square(root_b).sum() - 2.0 * shared
    return max(float(distance), 0.0)  # rounding may leave a trace below


def report(
    array: np.ndarray,
    training: np.ndarray,
    held_out: np.ndarray,
    reconstruct: Callable[[np.ndarray], np.ndarray],
    generated_db: np.ndarray | None,
    seed: int,
) -> Quality:
    """How well a model reproduces the held-out clips, and how well it invents some.

    Where a model gives fewer frames than the clips have, they are those of the middle, and all are cut to them. Clips
    are read and rebuilt a few at a time.

    Args:
        array: the mel spectrograms (clips, F, T) of all clips in dB, memory-mapped or not.
        training: rows of the training clips, which set the scale of the description and give the floor.
        held_out: rows of the clips that are rebuilt, and from which every Frechet distance is measured.
        reconstruct: rows to what the model makes of these clips, (B, F, T) in dB.
        generated_db: clips (B, F, T) from the model's prior; None where it has none.
        seed: of the draws of clips.
    """

    given = [array, reconstruct(held_out[:1])] + ([] if generated_db is None else [generated_db])
    frames = min(clips.shape[2] for clips in given)
    originals, copies, distances = [], [], []
    for part in _parts(held_out):
        real_db, copy_db = _middle(array[part], frames), _middle(reconstruct(part), frames)
        distances.append(log_spectral_distance(real_db, copy_db))
        originals.append(described(real_db))
        copies.append(described(copy_db))
    known = np.concatenate([described(_middle(array[part], frames)) for part in _parts(training)])
    count = min(CLIPS, len(training), len(held_out), *(() if generated_db is None else (len(generated_db),)))
    rng = np.random.default_rng(seed)
    drawn, floor = (np.sort(rng.choice(len(rows), count, replace=False)) for rows in (held_out, training))
    kinds = {"reconstructed": np.concatenate(copies)[drawn], "training": known[floor]}
    if generated_db is not None:
        kinds["generated"] = described(_middle(generated_db[:count], frames))
    real = standardised(np.concatenate(originals)[drawn], known)
    rows = [{"what": what, **_halves(standardised(kind, known), real)} for what, kind in sorted(kinds.items())]
    return Quality(np.concatenate(distances), rows)


def _middle(clips: np.ndarray, frames: int) -> np.ndarray:
    first = (clips.shape[2] - frames) // 2
    return clips[:, :, first : first + frames]


def _halves(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """The distance of two (B, K), and of each half of what describes a clip."""
    half = a.shape[1] // 2
    return {
        "frechet": frechet(a, b),
        "frechet_spectrum": frechet(a[:, :half], b[:, :half]),
        "frechet_moves": frechet(a[:, half:], b[:, half:]),
        "clips": len(a),
    }


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // CLIPS_AT_ONCE))
