"""The model registry: find a run's model, compare it with the champion, promote it, roll it back."""

from symphony2vec.registry.history import champions
from symphony2vec.registry.promotion import Decision, promote, roll_back
from symphony2vec.registry.sources import CHALLENGER, CHAMPION, MODEL, locate_model

__all__ = ["CHALLENGER", "CHAMPION", "MODEL", "Decision", "champions", "locate_model", "promote", "roll_back"]
