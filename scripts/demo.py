"""Make a small project in a folder: `make demo` runs the whole pipeline in it within minutes.

Run: python scripts/demo.py demo

The new project has the stages of dvc.yaml with fewer models, the parameters of params.yaml with one fold, and the
first bars of a few movements of each composer of the starter corpus. Files that exist are written again.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from symphony2vec.clips.index import thin_evenly
from symphony2vec.corpus import catalogue, starter
from symphony2vec.project import Project

ROOT = Path(__file__).resolve().parents[1]
CURVES = "out/report/curves"
MODEL_STAGES = ("classifiers", "embeddings", "ali", "temporal", "pretrained")
MATRIX = {  # the stages that train models, and what they train; the others are left out
    "embeddings": {"model": ["pca"], "representation": ["mel", "mfcc"]},
}
MOVEMENTS, BARS = 12, 12  # of each composer at most; of each movement
DVC_CONFIG = "[core]\n    analytics = false\n"
GIT_IGNORE, DVC_IGNORE = "/out/\n/mlruns/\n", "/config.local\n/tmp\n/cache\n"


def make_project(root: Path) -> None:
    """Write the project: params.yaml, dvc.yaml, data/demo, the settings and plots of DVC, and a link to the code."""
    (root / ".dvc").mkdir(parents=True, exist_ok=True)
    (root / ".dvc" / "config").write_text(DVC_CONFIG, encoding="utf-8")
    shutil.copytree(ROOT / ".dvc" / "plots", root / ".dvc" / "plots", dirs_exist_ok=True)
    (root / "src").unlink(missing_ok=True)
    (root / "src").symlink_to(ROOT / "src")  # absolute, for the copies that `dvc exp run --temp` makes
    (root / ".gitignore").write_text(GIT_IGNORE, encoding="utf-8")
    (root / ".dvc" / ".gitignore").write_text(DVC_IGNORE, encoding="utf-8")
    yaml = YAML()
    yaml.width = 200
    for name, reduce in {"params.yaml": reduce_params, "dvc.yaml": reduce_pipeline}.items():
        values = yaml.load(ROOT / name)
        reduce(values)
        yaml.dump(values, root / name)
    folder = Project(root).corpus("demo")
    starter.fill(folder)
    catalogue.write(folder, list_movements())


def reduce_params(values: dict[str, Any]) -> None:
    """Change the parameters to one fold of the demo corpus."""
    values["folds"] = ["work-0"]
    values["corpus"]["name"] = "demo"
    values["clips"] |= {"composers": [], "max_per_movement": 2}
    values["meaning"]["minimum_clips"] = 10


def reduce_pipeline(values: dict[str, Any]) -> None:
    """Keep the models of MATRIX, the stages that train none, and their dependencies among each other."""
    stages = values["stages"]
    dropped = [name for name in stages if name not in MATRIX and name.partition("-")[0] in MODEL_STAGES]
    for name in dropped:
        del stages[name]
    gone = tuple(f"out/{name}" for name in MODEL_STAGES if name not in MATRIX)
    values["artifacts"] = {
        name: artifact for name, artifact in values["artifacts"].items() if not artifact["path"].startswith(gone)
    }
    values["plots"] = [plot for plot in values["plots"] if CURVES not in plot]  # no network is trained
    for name, stage in stages.items():
        stage["deps"] = [path for path in stage["deps"] if not path.startswith(gone)]
        if name in MATRIX:
            stage["matrix"] |= MATRIX[name]


def list_movements() -> list[catalogue.Movement]:
    """Return the first bars of evenly spaced movements of each composer of the starter corpus."""
    movements = sorted(starter.list_movements(), key=lambda row: (row.composer, row.work, row.movement))
    composers = [list(rows) for _, rows in groupby(movements, key=lambda row: row.composer)]
    return [replace(row, end=BARS) for rows in composers for row in thin_evenly(rows, MOVEMENTS)]


if __name__ == "__main__":
    make_project(Path(sys.argv[1]))
