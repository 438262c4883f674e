"""Which model is champion: how a run's model is found, judged, promoted and taken back."""

from symphony2vec.registry.sources import CHALLENGER, CHAMPION, MODEL, folder

__all__ = ["CHALLENGER", "CHAMPION", "MODEL", "folder"]
