"""The modules that do the work of the commands, each imported when a command first uses it.

`--help` therefore answers at once, and a command pays only for the libraries that it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symphony2vec import extras

if TYPE_CHECKING:
    from symphony2vec import atlas, embedder, figures, params, project, registry, tracking
    from symphony2vec.audio import stage as audio
    from symphony2vec.clips import stage as clips
    from symphony2vec.collection import building, search, table
    from symphony2vec.corpus import (
        catalogue,
        decisions,
        recording_sets,
        recordings,
        score_sets,
        similarity,
        starter,
        titles,
    )
    from symphony2vec.evaluation.meaning import stage as meaning
    from symphony2vec.evaluation.probe import stage as probe
    from symphony2vec.features import stage as features
    from symphony2vec.labels import stage as labels
    from symphony2vec.models.ali import stage as ali
    from symphony2vec.models.classifiers import stage as classifiers
    from symphony2vec.models.embeddings import stage as embeddings
    from symphony2vec.models.pretrained import stage as pretrained
    from symphony2vec.models.temporal import stage as temporal
    from symphony2vec.package import head
    from symphony2vec.report import stage as report
    from symphony2vec.serving import app as serving
    from symphony2vec.study import database, kinds, winner
    from symphony2vec.study import search as study
else:

    class _Lazy:
        """A module that is imported when an attribute is first asked for.

        Unlike with `importlib.util.LazyLoader`, nothing half-loaded stands in sys.modules: `inspect.getmodule`, which
        torch calls while it is imported, would load it in the middle of that import.
        """

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(extras.load(self._name), attribute)

    atlas, embedder, figures = (_Lazy(f"symphony2vec.{name}") for name in ("atlas", "embedder", "figures"))
    params, project = _Lazy("symphony2vec.params"), _Lazy("symphony2vec.project")
    registry, tracking = _Lazy("symphony2vec.registry"), _Lazy("symphony2vec.tracking")
    audio, clips = _Lazy("symphony2vec.audio.stage"), _Lazy("symphony2vec.clips.stage")
    features, labels = _Lazy("symphony2vec.features.stage"), _Lazy("symphony2vec.labels.stage")
    building, search, table = (_Lazy(f"symphony2vec.collection.{name}") for name in ("building", "search", "table"))
    catalogue, decisions, similarity, titles = (
        _Lazy(f"symphony2vec.corpus.{name}") for name in ("catalogue", "decisions", "similarity", "titles")
    )
    recording_sets, recordings, score_sets, starter = (
        _Lazy(f"symphony2vec.corpus.{name}") for name in ("recording_sets", "recordings", "score_sets", "starter")
    )
    ali, classifiers, embeddings, temporal, pretrained = (
        _Lazy(f"symphony2vec.models.{name}.stage")
        for name in ("ali", "classifiers", "embeddings", "temporal", "pretrained")
    )
    probe, meaning = _Lazy("symphony2vec.evaluation.probe.stage"), _Lazy("symphony2vec.evaluation.meaning.stage")
    head = _Lazy("symphony2vec.package.head")
    report = _Lazy("symphony2vec.report.stage")
    serving = _Lazy("symphony2vec.serving.app")
    database, kinds, winner = (_Lazy(f"symphony2vec.study.{name}") for name in ("database", "kinds", "winner"))
    study = _Lazy("symphony2vec.study.search")
