"""The table that stands first: the temporal ALI beside everything else, one line a thing to compare it with.

Where a kind of model was trained on several representations or in several sizes, the one that does best on *validation*
stands for it. Accuracies are shares of the test clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from symphony2vec.evaluation import statistics
from symphony2vec.package import scaling
from symphony2vec.params import Params
from symphony2vec.project import REPRESENTATIONS, Project, read_array

UNSEEN, SEEN = "no labels seen", "trained with labels"
REPRESENTED = {"mel": "mel spectrogram", "mfcc": "MFCC", "chroma": "chromagram"}
BASELINES = {"pca": "PCA", "ae": "autoencoder", "cae": "contractive autoencoder", "vae": "variational autoencoder"}
SUPERVISED = {"ff": "feed-forward network", "cnn": "CNN of the paper", "fair_cnn": "CNN, fair", "lstm": "LSTM, vote"}
COLUMNS = (
    "group what stage row hears dimensions accuracy accuracy_low accuracy_high spread macro_f1 difference "
    "low high beaten"
).split()


@dataclass(frozen=True)
class Entry:
    """A line to come: its group, what it is in plain words, what it hears, and the rows that may stand for it."""

    group: str
    what: str
    hears: str
    stage: str
    rows: Sequence[str]


def reference(results: pd.DataFrame, dimensions: int) -> str:
    """The row that all others are held against: the whole temporal model, of this size if it is there; "" if none is.

    Of other sizes the one that does best on validation is taken.
    """
    own = results[(results["stage"] == "temporal") & (results["readout"] == "")]
    rows = [str(row) for row in own["row"] if str(row).rpartition("-")[0] == "full"]
    return next((row for row in (f"full-{dimensions}", *rows) if row in rows), "")


def table(
    results: pd.DataFrame, pairs: pd.DataFrame, sizes: dict[tuple[str, str], int], params: Params
) -> pd.DataFrame:
    """The lines, those whose models are there.

    `difference` is the accuracy of the reference less that of the line, from `low` to `high` by the paired bootstrap
    over works; `beaten` says "yes" where that interval lies above 0, "no" where it holds 0, "better" where the line
    beats the reference, "few folds" where nothing is claimed; it is empty of the reference, of its own other readouts
    and of the majority class.

    Args:
        results, pairs: from `symphony2vec.report.tables.results`, in the order of validation accuracy.
        sizes: dimensions by stage and row; a classifier has none.
        params: the sections `clips`, `features`, `audio`, `embeddings` and `classifiers`.
    """

    against = reference(results, params.embeddings.dimensions)
    known = {(str(line["stage"]), str(line["row"])): line for line in results.to_dict("records")}
    lines: list[dict[str, Any]] = []
    for entry in _entries(results, against, params):
        row = next((row for stage, row in known if stage == entry.stage and row in entry.rows), None)
        if row is None:
            continue
        own = known[entry.stage, row]
        lines.append(
            {
                **{"group": entry.group, "what": _worded(entry, row), "stage": entry.stage, "row": row},
                **{"hears": entry.hears, "dimensions": sizes.get((entry.stage, row))},
                **{name: own[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "spread", "macro_f1")},
                **_compared(pairs, against, entry.stage, row, int(own["folds"])),
            }
        )
    majority = {
        "group": SEEN,
        "what": "always the commonest composer",
        "stage": "",
        "row": "majority",
        "hears": "nothing",
    }
    lines.append({**majority, "accuracy": round(float(results["majority"].mean()), 6), "beaten": ""})
    told = pd.DataFrame(lines, columns=COLUMNS)
    return told.astype({"dimensions": "Int64"})


def sizes(project: Project, results: pd.DataFrame, fold: str) -> dict[tuple[str, str], int]:
    """The dimensions of the vectors of each row that has some, by stage and row."""
    found = {}
    for line in results.to_dict("records"):
        name = f"vectors-{line['readout']}.npy" if line["readout"] else "vectors.npy"
        path = project.out(str(line["stage"]), str(line["model"]), fold, name)
        if path.is_file():
            found[str(line["stage"]), str(line["row"])] = int(read_array(path, str(line["stage"])).shape[1])
    return found


def _entries(results: pd.DataFrame, against: str, params: Params) -> list[Entry]:
    """All lines there could be, in the order of the table."""
    clip_s = f"{params.clips.duration_s:g} s"
    frame_s = params.features.hop_samples / params.audio.sample_rate_hz
    crop_s, chunk_s = f"{scaling.CROP * frame_s:.2g} s", f"{params.classifiers.lstm.chunk_frames * frame_s:.2g} s"
    crops_s = f"{clip_s} in crops of {crop_s}"
    temporal, ali = ([str(row) for row in results.loc[results["stage"] == s, "row"]] for s in ("temporal", "ali"))
    size = params.embeddings.dimensions

    def of(rows: list[str], setting: str, readout: str = "") -> list[str]:
        """Rows of one setting in one readout: those of the reference's size alone if there are any."""
        own = [row for row in rows if row.partition(" ")[2] == readout and row.split("-")[0] == setting]
        same = [row for row in own if row.partition(" ")[0].endswith(f"-{size}")]
        return same or own

    larger = [row for row in temporal if row.split("-")[0] == "full" and " " not in row and row != against]
    entries = [
        Entry(UNSEEN, "ALI of whole clips: adversary, reconstruction, contrast", clip_s, "temporal", [against]),
        Entry(UNSEEN, "the features its code is made of", clip_s, "temporal", [f"{against} pooled"]),
        *(Entry(UNSEEN, "the same with another size of code", clip_s, "temporal", [row]) for row in larger),
        Entry(UNSEEN, "its encoder by contrast alone, no generator", clip_s, "temporal", of(temporal, "context")),
        *(
            Entry(UNSEEN, title, clip_s, "embeddings", [f"{name}-{one}" for one in REPRESENTATIONS])
            for name, title in BASELINES.items()
        ),
        Entry(UNSEEN, "ALI of the paper, the middle crop", crop_s, "ali", of(ali, "paper")),
        Entry(UNSEEN, "ALI of the paper, mean over crops", crops_s, "ali", of(ali, "paper", "crops")),
        Entry(SEEN, "the temporal encoder: the yardstick", clip_s, "temporal", of(temporal, "labels")),
    ]
    for name, title in SUPERVISED.items():
        hears = f"{clip_s} in chunks of {chunk_s}" if name == "lstm" else clip_s
        entries.append(Entry(SEEN, title, hears, "classifiers", [f"{name}-{one}" for one in REPRESENTATIONS]))
    encoders = [row for row in ali if row.split("-")[0] == "encoder"]
    best = encoders[:1]  # validation orders the results
    hears = crops_s if best and best[0].endswith(" crops") else crop_s
    return [*entries, Entry(SEEN, "the encoder of the paper's ALI", hears, "ali", best)]


def _worded(entry: Entry, row: str) -> str:
    representation = row.partition(" ")[0].rpartition("-")[2]
    return f"{entry.what}, {REPRESENTED[representation]}" if representation in REPRESENTED else entry.what


def _compared(pairs: pd.DataFrame, against: str, stage: str, row: str, folds: int) -> dict[str, Any]:
    """How far the reference lies above a row, and what may be said of it."""
    if not against or (stage == "temporal" and row.partition(" ")[0] == against):
        return {"beaten": ""}
    one, other = f"temporal/{against}", f"{stage}/{row}"
    own = pairs[((pairs["a"] == one) & (pairs["b"] == other)) | ((pairs["a"] == other) & (pairs["b"] == one))]
    (pair,) = own.to_dict("records")
    difference, low, high = (float(pair[name]) for name in ("difference", "low", "high"))
    if pair["a"] != one:
        difference, low, high = -difference, -high, -low
    said = (
        ("no", "yes", "better")[statistics.significance(low, high, folds)]
        if folds >= statistics.FEWEST_FOLDS
        else "few folds"
    )
    return {"difference": difference, "low": low, "high": high, "beaten": said}
