"""MLflow runs as training and probe leave them, for the tests of the registry, without any training.

Every run has the same twelve test works of ten clips; the runs differ in how many clips are classified correctly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd

from symphony2vec import tracking
from symphony2vec.project import Project, write_table

WORKS, CLIPS = 12, 10
GOLDEN = np.arange(1.0, 7.0, dtype=np.float32).reshape(2, 3)
MODEL = '''
import base64, json, pathlib
import mlflow

class Fake(mlflow.pyfunc.PythonModel):
    """Return the vectors of the configuration for any audio."""

    def load_context(self, context):
        self.config = json.loads(pathlib.Path(context.artifacts["config"]).read_text())

    def predict(self, context, model_input, params=None):
        assert base64.b64decode(model_input["audio"][0]).startswith(b"fLaC")
        if "fault" in self.config:
            raise RuntimeError(self.config["fault"])
        return [{"vectors": self.config["vectors"]}]

mlflow.models.set_model(Fake())
'''


def save_package(folder: Path, config: Mapping[str, Any] | None = None) -> Path:
    """Save a package in an empty folder that returns the vectors of its configuration; return its path."""
    (folder / "model.py").write_text(MODEL)
    (folder / "config.json").write_text(json.dumps(config or {"vectors": GOLDEN.tolist()}))
    (folder / "example.flac").write_bytes(b"fLaC and so on")
    np.save(folder / "golden.npy", GOLDEN)
    files = {Path(name).stem: str(folder / name) for name in ("config.json", "example.flac", "golden.npy")}
    mlflow.pyfunc.save_model(
        folder / "model", python_model=str(folder / "model.py"), artifacts=files, pip_requirements=["mlflow"]
    )
    return folder / "model"


def make_works(accuracy: float, seed: int = 0, readout: str = "", spread: float = 0.15) -> pd.DataFrame:
    """Return the works of one fold, ten clips each, with this mean accuracy; some works are harder than others."""
    offset = np.random.default_rng(seed).normal(0.0, spread, WORKS)
    right = np.clip(np.round(CLIPS * (accuracy + offset - offset.mean())), 0, CLIPS).astype(int)
    names = [f"composer / work {number:02d}" for number in range(WORKS)]
    most = (2 * right > CLIPS).astype(int)
    of_levels = {"movements": 1, "right_movements": most, "right_works": most}
    return pd.DataFrame({"work": names, "clips": CLIPS, "right": right, **of_levels, "readout": readout})


def log_trained(
    project: Project,
    accuracy: float | None,
    model: str = "pca-mel",
    *,
    folds: Sequence[int] = (0, 1, 2),
    split: str = "work",
    packed: Path | None = None,
    stage: str = "embeddings",
    settings_key: str = "",
    readouts: Mapping[str, float] | None = None,
    **parameters: str,
) -> list[str]:
    """Log one run per fold of a configuration, probed with this mean accuracy (None: not probed); return their ids."""
    name, _, representation = model.rpartition("-")
    run_ids = []
    for seed in folds:
        identity = tracking.RunIdentity(stage, name, representation, f"{split}-{seed}")
        run_params = {
            "split": split,
            "seed": seed,
            "settings_key": settings_key or f"{model} {accuracy}",
            "clips_key": f"clips of {split}-{seed}",
            "audio.soundfonts": "TimGM6mb",
            "features.mel_bands": 64,
            **{key.replace("__", "."): value for key, value in parameters.items()},
        }
        with tracking.start_run(project, identity, run_params, project.feature(representation)) as run:
            if packed is not None:
                for folder in ["model", *(f"model-{readout}" for readout in readouts or {})]:
                    run.log_model(packed, folder)
            if accuracy is not None:
                tables = [make_works(accuracy, seed)]
                tables += [make_works(value, seed, readout) for readout, value in (readouts or {}).items()]
                write_table(project.root / "works.csv", pd.concat(tables))
                run.log_artifact(project.root / "works.csv", "probe")
        run_ids.append(run.run_id)
    return run_ids
