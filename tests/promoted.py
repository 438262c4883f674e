"""Runs as training and probe leave them in MLflow, for the tests of the registry: made by hand, in no time.

Every run has the same twelve test works of ten clips; what differs is how many clips were named rightly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    """It says what its configuration holds, of whatever sound."""

    def load_context(self, context):
        self.config = json.loads(pathlib.Path(context.artifacts["config"]).read_text())

    def predict(self, context, model_input, params=None):
        assert base64.b64decode(model_input["audio"][0]).startswith(b"fLaC")
        if "fault" in self.config:
            raise RuntimeError(self.config["fault"])
        return [{"vectors": self.config["vectors"]}]

mlflow.models.set_model(Fake())
'''


def package(place: Path, config: Mapping[str, Any] | None = None) -> Path:
    """A package that MLflow loads, below an empty folder: it answers with the vectors of its configuration."""
    import mlflow.pyfunc

    (place / "model.py").write_text(MODEL)
    (place / "config.json").write_text(json.dumps(config or {"vectors": GOLDEN.tolist()}))
    (place / "example.flac").write_bytes(b"fLaC and so on")
    np.save(place / "golden.npy", GOLDEN)
    files = {Path(name).stem: str(place / name) for name in ("config.json", "example.flac", "golden.npy")}
    mlflow.pyfunc.save_model(
        place / "model", python_model=str(place / "model.py"), artifacts=files, pip_requirements=["mlflow"]
    )
    return place / "model"


def works(accuracy: float, seed: int = 0, readout: str = "", spread: float = 0.15) -> pd.DataFrame:
    """The works of one fold: ten clips each, so many of them right in the mean; some works are harder than others."""
    hard = np.random.default_rng(seed).normal(0.0, spread, WORKS)
    right = np.clip(np.round(CLIPS * (accuracy + hard - hard.mean())), 0, CLIPS).astype(int)
    names = [f"composer / work {number:02d}" for number in range(WORKS)]
    return pd.DataFrame({"work": names, "clips": CLIPS, "right": right, "readout": readout})


def trained(
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
    """One run a fold of one configuration, probed with this mean accuracy (None: not probed); returns their ids."""
    name, _, representation = model.rpartition("-")
    run_ids = []
    for seed in folds:
        subject = tracking.Subject(stage, name, representation, f"{split}-{seed}")
        known = {
            "split": split,
            "seed": seed,
            "settings_key": settings_key or f"{model} {accuracy}",
            "clips_key": f"clips of {split}-{seed}",
            "audio.soundfont": "TimGM6mb",
            "features.mel_bands": 64,
            **{key.replace("__", "."): value for key, value in parameters.items()},
        }
        seen = project.feature(representation)
        with tracking.run(project, subject, known, seen) as opened:
            if packed is not None:
                for folder in ["model", *(f"model-{readout}" for readout in readouts or {})]:
                    opened.folder(packed, folder)
            if accuracy is not None:
                tables = [works(accuracy, seed)]
                tables += [works(value, seed, readout) for readout, value in (readouts or {}).items()]
                write_table(project.root / "works.csv", pd.concat(tables))
                opened.file(project.root / "works.csv", "probe")
        run_ids.append(opened.run_id)
    return run_ids
