"""From the name that people give a model to the folder that holds it.

    champion, challenger, ...       an alias of the registered model
    models:/symphony2vec/3          a version
    models:/symphony2vec@champion   an alias, as MLflow writes it
    runs:/<run id>/model            the model of a run; other readouts of the same network are model-<readout>
    <run id>                        32 hexadecimal digits: runs:/<run id>/model

A folder of this machine is given as it is. What lies on a server or in an object store is downloaded once, into
mlruns/downloaded/ (into the folder for temporary files, where the project can only be read), and again only when it has
changed there.
"""

from __future__ import annotations

import os
import re
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
OF_RUN = re.compile(r"runs:/([^/]+)(?:/(.+?))?/?")
OF_MODEL = re.compile(r"models:/([^/@]+)(?:@([\w-]+)|/([1-9][0-9]*))/?")


def folder(project: Project, source: str) -> tuple[Path, str]:
    """The folder of a model, in which its file MLmodel lies, and its exact source, as "models:/symphony2vec/3".

    Args:
        project: whose tracking server is asked.
        source: see the top of this module.

    Raises:
        UserError: the name means nothing, or MLflow has no such model, alias, version or run, or no files of it.
    """
    with tracking.client(project, reads_only=True) as client:
        exact = resolved(client, source)
        return fetched(project, client, exact), exact


def resolved(client: MlflowClient, source: str) -> str:
    """The exact source that a name stands for at this moment; an alias becomes the version that bears it."""
    if RUN_ID.fullmatch(source):
        return f"runs:/{source}/model"
    if found := OF_RUN.fullmatch(source):
        return f"runs:/{found[1]}/{found[2] or 'model'}"
    if found := OF_MODEL.fullmatch(source):
        name, alias, version = found.groups()
        return f"models:/{name}/{version or borne(client, alias, name)}"
    if ALIAS.fullmatch(source):
        return f"models:/{MODEL}/{borne(client, source)}"
    raise UserError(
        f"'{source}' names no model; it is an alias such as champion, models:/{MODEL}/<version>, "
        f"models:/{MODEL}@<alias>, runs:/<run id>/model or a run's 32 hexadecimal digits"
    )


def aliases(client: MlflowClient, name: str = MODEL) -> dict[str, str]:
    """The aliases of a registered model with the versions that bear them; none where it is not registered."""

    try:
        return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    except MlflowException as fault:
        if fault.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def borne(client: MlflowClient, alias: str, name: str = MODEL) -> str:
    """The version that bears an alias."""
    known = aliases(client, name)
    if alias in known:
        return known[alias]
    others = f"there is {', '.join(sorted(known))}" if known else "nothing is registered under that name"
    hint = "; `symphony2vec promote RUN` makes one" if name == MODEL and alias in (CHAMPION, CHALLENGER) else ""
    raise UserError(f"no version of '{name}' in MLflow is called {alias} ({others}){hint}")


def fetched(project: Project, client: MlflowClient, exact: str) -> Path:
    """The folder of an exact source: where it lies, or where it was downloaded to."""

    uri, place, ended = _artifacts(client, exact)
    if is_local_uri(place, is_tracking_or_registry_uri=False):
        here = Path(local_file_uri_to_path(place))
        if (here / "MLmodel").is_file():
            return here
    files = _files(uri, client.tracking_uri)
    if "MLmodel" not in files:
        raise UserError(
            f"{exact} holds no model ({place} has no file MLmodel); train it again, so that its run has one, or, where "
            "a server keeps artifacts in a folder of its own machine, start it with --artifacts-destination"
        )
    return _downloaded(project, uri, key_of(uri, files, ended)[:16], client.tracking_uri)


def _artifacts(client: MlflowClient, exact: str) -> tuple[str, str, int | None]:
    """What MLflow downloads, where that lies, and when the run that made it was last added to (ms)."""
    if found := OF_RUN.fullmatch(exact):
        info = _asked(client.get_run, exact, found[1]).info
        return exact, f"{info.artifact_uri}/{found[2]}", info.end_time
    found = OF_MODEL.fullmatch(exact)
    assert found is not None
    uri = str(_asked(client.get_model_version_download_uri, exact, found[1], found[3]))
    return _artifacts(client, uri) if OF_RUN.fullmatch(uri) else (uri, uri, None)


def _asked(question: Any, exact: str, *names: str) -> Any:
    """MLflow's answer; that it does not know the thing is said in one line."""

    try:
        return question(*names)
    except MlflowException as fault:
        if fault.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"MLflow knows no {exact}; its UI (make ui) lists runs and versions") from None
        raise


def _files(uri: str, server: str) -> dict[str, int]:
    """The files below an artifact folder, by their path from it, with their sizes in bytes; none if it is missing."""

    found: dict[str, int] = {}
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        try:
            listed = list_artifacts(artifact_uri=f"{uri}/{inner}" if inner else uri, tracking_uri=server)
        except MlflowException as fault:
            if fault.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        for one in listed:
            name = one.path.rpartition("/")[2]
            path = f"{inner}/{name}" if inner else name
            if one.is_dir:
                waiting.append(path)
            else:
                found[path] = int(one.file_size or 0)
    return found


def _downloaded(project: Project, uri: str, key: str, server: str) -> Path:
    """The folder of artifacts in the cache, filled by one process even when several ask at once."""

    nearest = next(place for place in (project.mlruns, project.home) if place.is_dir())
    home = project.mlruns / "downloaded" if os.access(nearest, os.W_OK) else processes.user_file("downloaded")
    home.mkdir(parents=True, exist_ok=True)
    place = home / key
    with filelock.FileLock(home / f".{key}.lock"):
        if not place.is_dir():
            with atomic_folder(place) as filling:
                _download(uri, filling, server)
    (model,) = {path.parent for path in place.glob("**/MLmodel")}
    return model


def _download(uri: str, to: Path, server: str) -> None:
    try:
        download_artifacts(artifact_uri=uri, dst_path=str(to), tracking_uri=server)
    except Exception as fault:  # every kind of object store has exceptions of its own
        if isinstance(fault, OSError) and fault.errno is not None:
            raise  # the disk's
        raise UserError(f"{uri} cannot be downloaded: {str(fault).splitlines()[0][:300]}") from fault
