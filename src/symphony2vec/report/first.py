"""The first table of the report: the temporal ALI beside one model of every other kind.

If a kind of model was trained on several representations or in several sizes, the one with the best *validation*
accuracy represents it. Accuracies are shares of the test clips.
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
from symphony2vec.report.tables import ACCURACIES

UNSUPERVISED, SUPERVISED = "no labels seen", "trained with labels"
REPRESENTED = {"mel": "mel spectrogram", "mfcc": "MFCC", "chroma": "chromagram"}
BASELINES = {"pca": "PCA", "ae": "autoencoder", "cae": "contractive autoencoder", "vae": "variational autoencoder"}
CLASSIFIERS = {"ff": "feed-forward network", "cnn": "CNN of the paper", "fair_cnn": "CNN, fair", "lstm": "LSTM, vote"}
COLUMNS = (
    "group what stage entry input dimensions accuracy accuracy_low accuracy_high spread macro_f1 movement_accuracy "
    "movement_accuracy_low movement_accuracy_high work_accuracy work_accuracy_low work_accuracy_high difference "
    "low high beaten"
).split()


@dataclass(frozen=True)
class Kind:
    """A kind of model: its group, description and input, and the names of the models that may represent it."""

    group: str
    title: str
    input: str
    stage: str
    names: Sequence[str]


def find_reference(results: pd.DataFrame, dimensions: int) -> str:
    """Return the name of the full temporal model with this size, or else its best size on validation; "" if none."""
    temporal = results[(results["stage"] == "temporal") & (results["readout"] == "")]
    names = [str(name) for name in temporal["entry"] if str(name).rpartition("-")[0] == "full"]
    return next((name for name in (f"full-{dimensions}", *names) if name in names), "")


def tabulate(
    results: pd.DataFrame, pairs: pd.DataFrame, sizes: dict[tuple[str, str], int], params: Params
) -> pd.DataFrame:
    """Return one row for each kind of model that has results.

    `difference` is the clip accuracy of the reference minus that of the row, with its interval from `low` to `high`.
    `beaten` is "yes" if the reference is significantly better, "better" if the row is, "no" if neither is, "few folds"
    if there are too few folds to tell, and empty for the reference, its other readouts and the majority class.

    Args:
        results: from `symphony2vec.report.tables.tabulate_results`, in the order of validation accuracy.
        pairs: from the same function.
        sizes: dimensions by stage and name; a classifier has none.
        params: the sections `clips`, `features`, `audio`, `embeddings` and `classifiers`.
    """
    reference = find_reference(results, params.embeddings.dimensions)
    results_of = {(str(line["stage"]), str(line["entry"])): line for line in results.to_dict("records")}
    lines: list[dict[str, Any]] = []
    for kind in _kinds(results, reference, params):
        name = next((name for stage, name in results_of if stage == kind.stage and name in kind.names), None)
        if name is None:
            continue
        line = results_of[kind.stage, name]
        lines.append(
            {
                **{"group": kind.group, "what": _describe(kind, name), "stage": kind.stage, "entry": name},
                **{"input": kind.input, "dimensions": sizes.get((kind.stage, name))},
                **{column + end: line[column + end] for column in ACCURACIES.values() for end in ("", "_low", "_high")},
                **{"spread": line["spread"], "macro_f1": line["macro_f1"]},
                **_compare(pairs, reference, kind.stage, name, int(line["folds"])),
            }
        )
    majority = {"group": SUPERVISED, "what": "majority class", "stage": "", "entry": "majority", "input": "none"}
    shares = results[["majority", "movement_majority", "work_majority"]].mean().round(6)
    lines.append({**majority, **dict(zip(ACCURACIES.values(), shares, strict=True)), "beaten": ""})
    return pd.DataFrame(lines, columns=COLUMNS).astype({"dimensions": "Int64"})


def read_sizes(project: Project, results: pd.DataFrame, fold: str) -> dict[tuple[str, str], int]:
    """Return the dimensions of the vectors by stage and name; classifiers have none."""
    sizes = {}
    for line in results.to_dict("records"):
        file = f"vectors-{line['readout']}.npy" if line["readout"] else "vectors.npy"
        path = project.out(str(line["stage"]), fold, str(line["model"]), file)
        if path.is_file():
            sizes[str(line["stage"]), str(line["entry"])] = int(read_array(path, str(line["stage"])).shape[1])
    return sizes


def _kinds(results: pd.DataFrame, reference: str, params: Params) -> list[Kind]:
    """Return all kinds of models in the order of the table."""
    clip_s = f"{params.clips.duration_s:g} s"
    frame_s = params.features.hop_samples / params.audio.sample_rate_hz
    crop_s, chunk_s = f"{scaling.CROP * frame_s:.2g} s", f"{params.classifiers.lstm.chunk_frames * frame_s:.2g} s"
    crops_s = f"{clip_s} in crops of {crop_s}"
    temporal, ali, pretrained = (
        [str(name) for name in results.loc[results["stage"] == stage, "entry"]]
        for stage in ("temporal", "ali", "pretrained")
    )
    size = params.embeddings.dimensions

    def select(names: list[str], setting: str, readout: str = "") -> list[str]:
        """Return the models of one setting in one readout, if possible only those of the reference's size."""
        matches = [name for name in names if name.partition(" ")[2] == readout and name.split("-")[0] == setting]
        return [name for name in matches if name.partition(" ")[0].endswith(f"-{size}")] or matches

    other_sizes = [name for name in temporal if name.split("-")[0] == "full" and " " not in name and name != reference]
    kinds = [
        Kind(UNSUPERVISED, "temporal ALI: adversarial, reconstruction, InfoNCE", clip_s, "temporal", [reference]),
        Kind(UNSUPERVISED, "its pooled encoder features", clip_s, "temporal", [f"{reference} pooled"]),
        *(Kind(UNSUPERVISED, "temporal ALI of another size", clip_s, "temporal", [name]) for name in other_sizes),
        Kind(UNSUPERVISED, "its encoder, InfoNCE only, no generator", clip_s, "temporal", select(temporal, "context")),
        Kind(UNSUPERVISED, "pretrained model, trained on other music", clip_s, "pretrained", pretrained),
        *(
            Kind(UNSUPERVISED, title, clip_s, "embeddings", [f"{name}-{suffix}" for suffix in REPRESENTATIONS])
            for name, title in BASELINES.items()
        ),
        Kind(UNSUPERVISED, "ALI of the paper, the middle crop", crop_s, "ali", select(ali, "paper")),
        Kind(UNSUPERVISED, "ALI of the paper, mean over crops", crops_s, "ali", select(ali, "paper", "crops")),
        Kind(SUPERVISED, "temporal encoder, supervised reference", clip_s, "temporal", select(temporal, "labels")),
    ]
    for name, title in CLASSIFIERS.items():
        length = f"{clip_s} in chunks of {chunk_s}" if name == "lstm" else clip_s
        kinds.append(Kind(SUPERVISED, title, length, "classifiers", [f"{name}-{suffix}" for suffix in REPRESENTATIONS]))
    best = [name for name in ali if name.split("-")[0] == "encoder"][:1]  # results are ordered by validation accuracy
    length = crops_s if best and best[0].endswith(" crops") else crop_s
    return [*kinds, Kind(SUPERVISED, "encoder of the paper's ALI", length, "ali", best)]


def _describe(kind: Kind, name: str) -> str:
    representation = name.partition(" ")[0].rpartition("-")[2]
    return f"{kind.title}, {REPRESENTED[representation]}" if representation in REPRESENTED else kind.title


def _compare(pairs: pd.DataFrame, reference: str, stage: str, name: str, folds: int) -> dict[str, Any]:
    """Return the difference between the reference and a model, its interval and the verdict."""
    if not reference or (stage == "temporal" and name.partition(" ")[0] == reference):
        return {"beaten": ""}
    a, b = f"temporal/{reference}", f"{stage}/{name}"
    pairs = pairs[pairs["level"] == "clip"]
    rows = pairs[((pairs["a"] == a) & (pairs["b"] == b)) | ((pairs["a"] == b) & (pairs["b"] == a))]
    (pair,) = rows.to_dict("records")
    difference, low, high = (float(pair[column]) for column in ("difference", "low", "high"))
    if pair["a"] != a:
        difference, low, high = -difference, -high, -low
    verdict = ("no", "yes", "better")[statistics.significance(low, high, folds)]
    if folds < statistics.FEWEST_FOLDS:
        verdict = "few folds"
    return {"difference": difference, "low": low, "high": high, "beaten": verdict}
