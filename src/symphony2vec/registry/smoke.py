"""A packaged model, loaded as a stranger would: copied to an empty folder, by a new process, through MLflow alone.

The package embeds its own example.flac with its own code, as the served model would, and what it says is held against
golden.npy, which it said when it was made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from symphony2vec import tracking

TOLERANCE = 1e-4  # of the golden vectors' norm: other processors and other releases of torch stay a hundred times below
LONGEST_S = 600.0
EXAMPLE, GOLDEN = "artifacts/example.flac", "artifacts/golden.npy"
STRANGER = """
import base64, pathlib, sys
import mlflow.pyfunc, numpy, pandas
package, example, answer = sys.argv[1:]
audio = base64.b64encode(pathlib.Path(example).read_bytes()).decode("ascii")
(row,) = mlflow.pyfunc.load_model(package).predict(pandas.DataFrame([{"audio": audio}]))
numpy.save(answer, numpy.asarray(row["vectors"], dtype=numpy.float64))
"""


class Silent(Exception):  # noqa: N818 - a verdict on a package, not a failure of the program
    """The package does not load, or does not answer. The message is the reason."""


def deviation(package: Path) -> float:
    """How far the vectors of the example lie from the golden ones: the norm of the difference over the golden norm.

    Raises:
        Silent: there is nothing to compare.
    """

    for name in (EXAMPLE, GOLDEN):
        if not (package / name).is_file():
            raise Silent(f"the package has no {name}")
    with tempfile.TemporaryDirectory(prefix="symphony2vec-") as place:
        copy, answer = Path(place) / "package", Path(place) / "answer.npy"
        shutil.copytree(package, copy)
        _asked(copy, answer)
        golden = np.load(copy / GOLDEN, allow_pickle=False).astype(np.float64)
        vectors = np.load(answer, allow_pickle=False)
    if vectors.shape != golden.shape:
        raise Silent(f"its vectors are {_by(vectors.shape)}, the golden ones {_by(golden.shape)}")
    if not np.isfinite(vectors).all():
        raise Silent(f"{np.mean(~np.isfinite(vectors)):.0%} of the values of its vectors are not finite numbers")
    return float(np.linalg.norm(vectors - golden) / max(float(np.linalg.norm(golden)), np.finfo(np.float64).tiny))


def _asked(package: Path, answer: Path) -> None:
    """Let a new process write the vectors of the example; it knows no tracking server."""
    without = {name: value for name, value in os.environ.items() if name not in (tracking.URI, "MLFLOW_REGISTRY_URI")}
    words = [sys.executable, "-c", STRANGER, str(package), str(package / EXAMPLE), str(answer)]
    try:
        said = subprocess.run(
            words, cwd=answer.parent, env=without, capture_output=True, text=True, check=False, timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired:
        raise Silent(f"it did not answer within {LONGEST_S:g} s") from None
    if said.returncode or not answer.is_file():
        lines = [line for line in said.stderr.splitlines() if line.strip()]
        raise Silent(f"it does not load or answer: {lines[-1][:200] if lines else f'exit status {said.returncode}'}")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
