"""Matplotlib figures of arrays and tables; no function reads a file or depends on a stage.

    attributes    musical attributes of a recording over time
    canvas        size, colours and legends of all figures, and saving
    corpus        the corpus and its splits
    spectrograms  spectrograms, reconstructions and generated samples
    labels        the musical labels of the clips
    curves        losses and metrics during training
    results       accuracies and differences between models
    meaning       linear probes and retrieval of several embeddings
    studies       hyperparameter searches

Spectrograms are (F, T): F bins from low to high, T frames of `frame_s` seconds.
"""

from symphony2vec.figures.attributes import attributes
from symphony2vec.figures.canvas import save
from symphony2vec.figures.corpus import audio_overview, class_balance, near_duplicates, split_map
from symphony2vec.figures.curves import game, learning_curves, losses
from symphony2vec.figures.labels import labels_overview
from symphony2vec.figures.meaning import profile
from symphony2vec.figures.results import (
    accuracies,
    comparison,
    confusion,
    correlation,
    leakage,
    levels,
    pairs_matrix,
    scatter,
    table,
    timeline,
)
from symphony2vec.figures.spectrograms import examples, grid, image, pairs
from symphony2vec.figures.studies import history, importances, parallel, slices

__all__ = [
    "accuracies",
    "attributes",
    "audio_overview",
    "class_balance",
    "comparison",
    "confusion",
    "correlation",
    "examples",
    "game",
    "grid",
    "history",
    "image",
    "importances",
    "labels_overview",
    "leakage",
    "learning_curves",
    "levels",
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
