"""params.yaml as typed, checked sections.

Every key of the file has a field here with its type and bounds. An unknown, missing or ill-typed key raises `UserError`
with its name, its value and the closest key that exists.
"""

from symphony2vec.params.data import Clips, Features
from symphony2vec.params.evaluation import Meaning, Probe
from symphony2vec.params.models import Contractive, Crop, Embeddings, Lstm, Network, Setting, TemporalSetting
from symphony2vec.params.reading import Params, check, names, read
from symphony2vec.params.study import AliSpace, Range, Study, TemporalSpace
from symphony2vec.params.types import ALI_NAME, TEMPORAL_NAME

__all__ = [
    "ALI_NAME",
    "TEMPORAL_NAME",
    "AliSpace",
    "Clips",
    "Contractive",
    "Crop",
    "Embeddings",
    "Features",
    "Lstm",
    "Meaning",
    "Network",
    "Params",
    "Probe",
    "Range",
    "Setting",
    "Study",
    "TemporalSetting",
    "TemporalSpace",
    "check",
    "names",
    "read",
]
