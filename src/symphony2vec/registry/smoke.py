"""Golden-file test of a package: it is copied to an empty folder, and a new process loads it through `mlflow.pyfunc`.

The package embeds its own example.flac with its own code, as a served model would. The vectors are compared with
golden.npy, which was written when the package was saved.
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

# Relative to the norm of the golden vectors: other processors and other releases of ONNX Runtime round differently.
TOLERANCE = 1e-4
TIMEOUT_S = 600.0
EXAMPLE, GOLDEN = "artifacts/example.flac", "artifacts/golden.npy"
SCRIPT = """
import base64, pathlib, sys
import mlflow.pyfunc, numpy, pandas
package, example, output = sys.argv[1:]
audio = base64.b64encode(pathlib.Path(example).read_bytes()).decode("ascii")
(row,) = mlflow.pyfunc.load_model(package).predict(pandas.DataFrame([{"audio": audio}]))
numpy.save(output, numpy.asarray(row["vectors"], dtype=numpy.float64))
"""


class PackageError(Exception):
    """The package does not load or returns no usable vectors. The message is the reason."""


def measure_deviation(package: Path) -> float:
    """Return the norm of (vectors of the example - golden vectors), relative to the norm of the golden vectors.

    Raises:
        PackageError: A file is missing, the package does not load, or its vectors cannot be compared.
    """
    for name in (EXAMPLE, GOLDEN):
        if not (package / name).is_file():
            raise PackageError(f"the package has no {name}")
    with tempfile.TemporaryDirectory(prefix="symphony2vec-") as folder:
        copy, output = Path(folder) / "package", Path(folder) / "vectors.npy"
        shutil.copytree(package, copy)
        _embed_example(copy, output)
        golden = np.load(copy / GOLDEN, allow_pickle=False).astype(np.float64)
        vectors = np.load(output, allow_pickle=False)
    if vectors.shape != golden.shape:
        shape, expected = (" x ".join(map(str, array.shape)) for array in (vectors, golden))
        raise PackageError(f"its vectors have shape {shape}, the golden vectors {expected}")
    if not np.isfinite(vectors).all():
        raise PackageError(f"{np.mean(~np.isfinite(vectors)):.0%} of the values of its vectors are not finite numbers")
    return float(np.linalg.norm(vectors - golden) / max(float(np.linalg.norm(golden)), np.finfo(np.float64).tiny))


def _embed_example(package: Path, output: Path) -> None:
    """Write the vectors of the example from a new process that does not see the tracking server."""
    hidden = (tracking.TRACKING_URI_VARIABLE, "MLFLOW_REGISTRY_URI")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-c", SCRIPT, str(package), str(package / EXAMPLE), str(output)]
    try:
        process = subprocess.run(
            command, cwd=output.parent, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise PackageError(f"it did not return vectors within {TIMEOUT_S:g} s") from None
    if process.returncode or not output.is_file():
        lines = [line for line in process.stderr.splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else f"exit status {process.returncode}"
        raise PackageError(f"it cannot be loaded and run: {reason}")
