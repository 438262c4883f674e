"""Public API of a trained model: load it by name or from a folder, embed arrays, files and folders.

    embedder = Embedder.load()                                    # symphony2vec-base, or a project's champion
    embedder.embed_file("symphony.flac").vectors                  # (clips, D), one vector every ten seconds
    embedder.embed(wave, 44100, form="timestamps", hop_s=0.5)     # one every half second
    embedder.embed_folder("~/Music").table                        # every recording below a folder

See `symphony2vec.package.model` for the forms of an embedding and their shapes.
"""

from __future__ import annotations

import os
from pathlib import Path

from symphony2vec import extras
from symphony2vec.collection import building
from symphony2vec.collection.table import Collection
from symphony2vec.errors import UserError
from symphony2vec.package import contents
from symphony2vec.package.model import Embedding, Model
from symphony2vec.project import Project, is_project

__all__ = ["BASE", "Embedder", "Embedding", "locate"]
BASE, CHAMPION = "symphony2vec-base", "champion"


class Embedder(Model):
    """A trained model that embeds sound. `source` is the exact name of its origin, such as "models:/symphony2vec/3"."""

    source: str
    folder: Path

    @classmethod
    def load(cls, source: str | Path | None = None, project: str | Path | None = None) -> Embedder:
        """Load a model.

        Args:
            source: symphony2vec-base, the model that is installed with this package; the folder of a package; or, in a
                project, an alias of its registered model such as champion, models:/symphony2vec/3,
                runs:/<run id>/model, or a run id. By default champion in a project with runs, else symphony2vec-base.
            project: the project whose MLflow is queried; by default the one around the current folder.

        Raises:
            UserError: there is no such model, or it is damaged, of another version, or returns no vectors.
        """
        folder, exact_source = locate(source, project)
        embedder = contents.read(folder, cls)
        if embedder.classes:
            raise UserError(f"{exact_source} is a classifier ({embedder.name}): it returns composers and no vectors")
        embedder.source, embedder.folder = exact_source, folder
        return embedder

    def embed_folder(self, folder: str | Path, form: str = "clips", hop_s: float | None = None) -> Collection:
        """Embed every recording below a folder, on all cores; unusable files are listed in `rejected` with a reason."""
        request = building.EmbeddingRequest.for_model(self, form, hop_s)
        return building.build([Path(folder).expanduser()], request)


def locate(source: str | Path | None = None, project: str | Path | None = None) -> tuple[Path, str]:
    """Return the folder of a model's package, and its exact source; see `Embedder.load`.

    Raises:
        UserError: there is no such model.
    """
    if source is None:
        source = CHAMPION if _has_runs(Path(project or ".").resolve()) else BASE
    if source == BASE:
        return contents.PRETRAINED / BASE, BASE
    path = Path(source).expanduser()
    if path.is_dir():
        return path.resolve(), str(path.resolve())
    if isinstance(source, Path) or ("/" in source and ":/" not in source):
        raise UserError(f"{path} is not a folder; name the folder of a model, or a model such as {BASE}")
    around = Project.around(Path(project or "."))
    folder, exact_source = extras.load("symphony2vec.registry.sources").locate_model(around, str(source))
    return folder, exact_source


def _has_runs(folder: Path) -> bool:
    """Return whether a folder lies in a project in which models were trained, here or on a server."""
    roots = [candidate for candidate in (folder, *folder.parents) if is_project(candidate)]
    return bool(roots) and ((roots[0] / "mlruns").is_dir() or bool(os.environ.get("MLFLOW_TRACKING_URI")))
