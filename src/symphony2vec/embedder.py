"""The public way to a trained model: load it by name or from a folder, embed arrays, files and folders.

    embedder = Embedder.load("champion")
    embedder.embed_file("symphony.flac").vectors                  # (clips, D), one vector every ten seconds
    embedder.embed(wave, 44100, form="timestamps", hop_s=0.5)     # one every half second
    embedder.embed_folder("~/Music").table                        # every recording below a folder

See `symphony2vec.package.model` for the forms of an embedding and their shapes.
"""

from __future__ import annotations

from pathlib import Path

from symphony2vec.collection import building
from symphony2vec.collection.table import Collection
from symphony2vec.errors import UserError
from symphony2vec.package import contents
from symphony2vec.package.model import Embedding, Model
from symphony2vec.project import Project
from symphony2vec.registry import sources

__all__ = ["Embedder", "Embedding"]


class Embedder(Model):
    """A trained model that embeds sound. `source` is what it was loaded from, exactly, as "models:/symphony2vec/3"."""

    source: str
    folder: Path

    @classmethod
    def load(cls, source: str | Path = "champion", project: str | Path | None = None) -> Embedder:
        """Load a model.

        Args:
            source: the folder of a package; or an alias of the registered model as champion, models:/symphony2vec/3,
                runs:/<run id>/model, or a run's id.
            project: the project whose MLflow is asked; the one around the current folder where none is given.

        Raises:
            UserError: there is no such model, or it is damaged, of another version, or gives no vectors.
        """
        given = Path(source).expanduser()
        if given.is_dir():
            folder, exact = given.resolve(), str(given.resolve())
        elif isinstance(source, Path) or ("/" in source and ":/" not in source):
            raise UserError(f"{given} is no folder; a model is one, or the name of one, as champion")
        else:
            folder, exact = sources.locate_model(Project.around(Path(project or ".")), str(source))
        loaded = contents.read(folder, cls)
        if loaded.names:
            raise UserError(f"{exact} is a classifier ({loaded.name}): it names composers and gives no vectors")
        loaded.source, loaded.folder = exact, folder
        return loaded

    def embed_folder(self, folder: str | Path, form: str = "clips", hop_s: float | None = None) -> Collection:
        """Embed every recording below a folder, on all cores; what cannot be used is in `rejected` with its reason."""
        asked = building.EmbeddingRequest.of(self, form, hop_s)
        return building.build([Path(folder).expanduser()], asked)
