"""Resolve the name of a model to the folder that holds it.

    champion, challenger, ...       an alias of the registered model
    models:/symphony2vec/3          a version
    models:/symphony2vec@champion   an alias, in MLflow's form
    runs:/<run id>/model            the model of a run; other readouts of the same network are model-<readout>
    <run id>                        32 hexadecimal digits: runs:/<run id>/model

If the files of the model are on this machine, their folder is returned. A model on a server or in an object store is
downloaded to mlruns/downloaded/ (to the folder for temporary files if the project is read-only), and again only if the
list of its files, their sizes or the end time of its run has changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from symphony2vec import tracking
from symphony2vec.errors import UserError
from symphony2vec.parallel import processes
from symphony2vec.project import Project, atomic_folder, key_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "symphony2vec"  # the one registered model
CHAMPION, CHALLENGER = "champion", "challenger"
RUN_ID = re.compile(r"[0-9a-f]{32}")
ALIAS = re.compile(r"[A-Za-z][\w-]*")
RUN_URI = re.compile(r"runs:/([^/]+)(?:/(.+?))?/?")
MODEL_URI = re.compile(r"models:/([^/@]+)(?:@([\w-]+)|/([1-9][0-9]*))/?")


def locate_model(project: Project, source: str) -> tuple[Path, str]:
    """Return the folder of a model (with its file MLmodel) and its resolved URI, such as "models:/symphony2vec/3".

    Args:
        project: Project whose tracking server is used.
        source: An alias, a models:/ or runs:/ URI, or a run id; see the top of this module.

    Raises:
        UserError: The source is malformed, or MLflow has no such model, alias, version or run, or no files of it.
    """
    with tracking.client(project, read_only=True) as client:
        uri = resolve_source(client, source)
        return fetch_model(project, client, uri), uri


def resolve_source(client: MlflowClient, source: str) -> str:
    """Return the URI that a source resolves to now: models:/<name>/<version> or runs:/<run id>/<model>."""
    if RUN_ID.fullmatch(source):
        return f"runs:/{source}/model"
    if match := RUN_URI.fullmatch(source):
        return f"runs:/{match[1]}/{match[2] or 'model'}"
    if match := MODEL_URI.fullmatch(source):
        name, alias, version = match.groups()
        return f"models:/{name}/{version or version_of_alias(client, alias, name)}"
    if ALIAS.fullmatch(source):
        return f"models:/{MODEL}/{version_of_alias(client, source)}"
    raise UserError(
        f"'{source}' is not the name of a model; expected an alias such as champion, models:/{MODEL}/<version>, "
        f"models:/{MODEL}@<alias>, runs:/<run id>/model, or a run id of 32 hexadecimal digits"
    )


def read_aliases(client: MlflowClient, name: str = MODEL) -> dict[str, str]:
    """Return the aliases of a registered model and their versions; none if it is not registered."""
    try:
        return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def version_of_alias(client: MlflowClient, alias: str, name: str = MODEL) -> str:
    """Return the version that has an alias; raises `UserError` if there is none."""
    aliases = read_aliases(client, name)
    if alias in aliases:
        return aliases[alias]
    others = f"its aliases: {', '.join(sorted(aliases))}" if aliases else "the model is not registered or has no alias"
    hint = "; `symphony2vec promote RUN` sets it" if name == MODEL and alias in (CHAMPION, CHALLENGER) else ""
    raise UserError(f"no version of '{name}' in MLflow has the alias {alias} ({others}){hint}")


def fetch_model(project: Project, client: MlflowClient, uri: str) -> Path:
    """Return the folder of a model by its resolved URI: where it is on this machine, or where it was downloaded to."""
    location, end_time = _locate_artifacts(client, uri)
    if is_local_uri(location, is_tracking_or_registry_uri=False):
        folder = Path(local_file_uri_to_path(location))
        if (folder / "MLmodel").is_file():
            return folder
    files = _list_files(location, client.tracking_uri)
    if "MLmodel" not in files:
        raise UserError(
            f"{uri} has no model ({location} has no file MLmodel): train it again and use the new run; if an MLflow "
            "server keeps artifacts in a folder on its own machine, start it with --artifacts-destination"
        )
    return _download_once(project, location, key_of(location, files, end_time)[:16], client.tracking_uri)


def _locate_artifacts(client: MlflowClient, uri: str) -> tuple[str, int | None]:
    """Return the location of a model's files, and when the run that logged them ended last (ms since 1970)."""
    if match := RUN_URI.fullmatch(uri):
        info = _query(client.get_run, uri, match[1]).info
        model = tracking.find_logged_model(client, info.run_id, match[2])
        return model.artifact_location if model else f"{info.artifact_uri}/{match[2]}", info.end_time
    match = MODEL_URI.fullmatch(uri)
    assert match is not None
    location = str(_query(client.get_model_version_download_uri, uri, match[1], match[3]))
    if RUN_URI.fullmatch(location):
        return _locate_artifacts(client, location)
    run_id = client.get_model_version(match[1], match[3]).run_id
    return location, _query(client.get_run, uri, run_id).info.end_time if run_id else None


def _query(method: Callable[..., Any], uri: str, *names: str) -> Any:
    """Return the result of a client's method for a URI; raises `UserError` if MLflow does not know the names."""
    try:
        return method(*names)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"MLflow has no {uri}; its UI (make ui) lists runs and versions") from None
        raise


def _list_files(uri: str, server: str) -> dict[str, int]:
    """Return the files below an artifact folder by relative path, with their sizes (bytes); none if it is missing."""
    sizes: dict[str, int] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list_artifacts(artifact_uri=f"{uri}/{folder}" if folder else uri, tracking_uri=server)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        for entry in entries:
            name = entry.path.rpartition("/")[2]
            path = f"{folder}/{name}" if folder else name
            if entry.is_dir:
                folders.append(path)
            else:
                sizes[path] = int(entry.file_size or 0)
    return sizes


def _download_once(project: Project, uri: str, key: str, server: str) -> Path:
    """Return the model's folder in the cache; one process downloads it even if several ask at once."""
    parent = next(folder for folder in (project.mlruns, project.home) if folder.is_dir())
    cache = project.mlruns / "downloaded" if os.access(parent, os.W_OK) else processes.user_file("downloaded")
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / key
    with filelock.FileLock(cache / f".{key}.lock"):
        if not folder.is_dir():
            with atomic_folder(folder) as partial:
                _download(uri, partial, server)
    (model,) = {path.parent for path in folder.glob("**/MLmodel")}
    return model


def _download(uri: str, to: Path, server: str) -> None:
    try:
        download_artifacts(artifact_uri=uri, dst_path=str(to), tracking_uri=server)
    except Exception as error:  # each object store raises its own exceptions
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the local disk
        raise UserError(f"{uri} cannot be downloaded: {str(error).splitlines()[0][:300]}") from error
