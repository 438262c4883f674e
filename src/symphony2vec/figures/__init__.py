"""Arrays and tables in, matplotlib figures out. Nothing here reads a file or knows a stage.

    canvas        what every figure shares, and how it becomes a file
    corpus        the music and its split
    spectrograms  spectrograms, and what a model makes of them
    labels        what is known of the clips
    curves        what happened while a model learned
    results       how well a probe names composers
    meaning       what several embeddings know of music
    studies       what a search over parameters found

Spectrograms are (F, T): F bins from low to high, T frames of `frame_s` seconds.
"""

from symphony2vec.figures.canvas import save
from symphony2vec.figures.corpus import audio_overview, class_balance, near_duplicates, split_map
from symphony2vec.figures.curves import compared, game, losses
from symphony2vec.figures.labels import labels_overview
from symphony2vec.figures.meaning import profile
from symphony2vec.figures.results import (
    accuracies,
    beside,
    confusion,
    correlation,
    leak,
    pairs_matrix,
    scatter,
    table,
    timeline,
)
from symphony2vec.figures.spectrograms import examples, grid, image, pairs
from symphony2vec.figures.studies import history, importances, parallel, slices

__all__ = [
    "accuracies",
    "audio_overview",
    "beside",
    "class_balance",
    "compared",
    "confusion",
    "correlation",
    "examples",
    "game",
    "grid",
    "history",
    "image",
    "importances",
    "labels_overview",
    "leak",
    "losses",
    "near_duplicates",
    "pairs",
    "pairs_matrix",
    "parallel",
    "profile",
    "save",
    "scatter",
    "slices",
    "split_map",
    "table",
    "timeline",
]
