"""Which model is champion: how a run's model is found, judged, promoted and taken back."""

from symphony2vec.registry.history import champions
from symphony2vec.registry.promotion import Decision, promote, roll_back
from symphony2vec.registry.sources import CHALLENGER, CHAMPION, MODEL, folder

__all__ = ["CHALLENGER", "CHAMPION", "MODEL", "Decision", "champions", "folder", "promote", "roll_back"]
