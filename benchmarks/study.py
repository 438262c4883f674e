"""What a study costs beside training: seconds a trial, and their share in it. Run: python benchmarks/study.py

A project of made-up spectrograms is searched twice on a sqlite file, by one worker in the command's process and by two
processes. The time of a trial is that of Optuna's clock, from its start to its value;
its training is the time inside the networks' updates and the probe on validation clips. What is beside it is Optuna,
MLflow, and the start of the networks. Between two trials of a worker lie the next draw and the look at what is missing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

import machine
from symphony2vec import params, tracking
from symphony2vec.models.training import loop
from symphony2vec.project import Project, SplitFold, write_array, write_table
from symphony2vec.study import search, trials
from symphony2vec.study.database import Database

ROOT = Path(__file__).resolve().parents[1]
FRAMES, COMPOSERS = 431, 5
LINES = ["| | trial (s) | training (s) | beside it (s) | share | between trials (s) |", "|---|---|---|---|---|---|"]


def project_in(root: Path, clips: int, batch: int, epochs: int) -> Project:
    """Spectrograms of noise, each composer with a level of its own; 60 % of the clips are trained on."""
    shutil.copyfile(ROOT / "dvc.yaml", root / "dvc.yaml")
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["study"] |= {"epochs": epochs, "startup_trials": 1000, "repeated_trials": 1, "seeds": 1}
    values["study"]["ali"] |= {"latent": [64], "batch": [batch]}
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(values, file)
    made, places = Project(root), np.arange(clips)
    table = pd.DataFrame({"clip": places, "composer": [f"c{place % COMPOSERS}" for place in places], "movement": "1"})
    table["work"] = [f"w{place // 20}" for place in places]
    sides = np.where(places % 20 < 12, "train", np.where(places % 20 < 15, "validation", "test"))
    write_table(made.clips, table)
    write_table(made.fold(SplitFold("work", 0)), table.assign(split=sides))
    level = -50.0 + 3.0 * (places % COMPOSERS)[:, None, None]
    noise = np.random.default_rng(0).normal(0.0, 10.0, (clips, 64, FRAMES))
    write_array(made.feature("mel"), np.clip(level + noise, -80.0, 0.0).astype(np.float32))
    return made


def timed_training() -> None:
    """Note the seconds of the training loop with its MLflow calls taken out, for the trial that is running."""
    fit = loop.fit

    def measured(*words: Any) -> Any:
        *before, told, every = words
        outside = 0.0

        def timed(row: Any) -> None:
            nonlocal outside
            begin = time.perf_counter()
            try:
                told(row)
            finally:
                outside += time.perf_counter() - begin

        begin = time.perf_counter()
        try:
            return fit(*before, timed, every)
        finally:
            NOTES.append(time.perf_counter() - begin - outside)

    loop.fit = measured


NOTES: list[float] = []


def noted(trained: Any) -> Any:
    """`trials._train` that keeps the seconds of its training with the trial."""

    def measured(trial: Any, *words: Any, **named: Any) -> float:
        value: float = trained(trial, *words, **named)
        trial.set_user_attr("training_s", NOTES[-1])
        return value

    return measured


timed_training()  # here, so that workers, which import this module again, measure too
trials._train = noted(trials._train)


def searched(processes: int, wanted: int, *size: int) -> str:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as place:
        made = project_in(Path(place), *size)
        kept = Database.from_url(made, None)
        search.run(made, params.read(made.params), kept, n_trials=wanted, processes=processes)
        found = [trial for trial in kept.open_studies("ali")[0].trials if trial.state.name == "COMPLETE"]
    whole = [(trial.datetime_complete - trial.datetime_start).total_seconds() for trial in found]
    training = [trial.user_attrs["training_s"] for trial in found]
    beside = [a - b for a, b in zip(whole, training, strict=True)]
    gaps = []
    for worker in {trial.user_attrs["worker"] for trial in found}:
        own = sorted((t for t in found if t.user_attrs["worker"] == worker), key=lambda t: t.datetime_start)
        gaps += [(b.datetime_start - a.datetime_complete).total_seconds() for a, b in itertools.pairwise(own)]
    share = f"{100 * sum(beside) / sum(whole):.1f} %"
    between = machine.spread(gaps) if gaps else ""
    name = "one worker" if processes == 1 else f"{processes} workers"
    cells = [machine.spread(whole), machine.spread(training), machine.spread(beside), share, between]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--trials", type=int, default=4)
    asked.add_argument("--epochs", type=int, default=5)
    asked.add_argument("--clips", type=int, default=500)
    asked.add_argument("--batch", type=int, default=100)
    options = asked.parse_args()
    os.environ.pop(tracking.TRACKING_URI_VARIABLE, None)
    lines = [searched(n, options.trials, options.clips, options.batch, options.epochs) for n in (1, 2)]
    print(f"\n{machine.described()}, Python {platform.python_version()}\n")
    updates = max(1, 3 * options.clips // 5 // options.batch)
    print(f"{options.trials} trials of {options.epochs} epochs of {updates} updates; median (smallest to largest)\n")
    print(*LINES, *lines, sep="\n")


if __name__ == "__main__":
    main()
