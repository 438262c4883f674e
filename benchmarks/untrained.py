"""What training is worth: every embedding against the same encoder as it started, from published counts.

The rows `untrained-*` of a table of counts are the alternatives untrained, ali-untrained and temporal-untrained of
departures.py, which writes them there with `--starts`. Prints a Markdown table of all corpora side by side, and draws
it with `--picture`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from paired import paired
from symphony2vec.errors import UserError
from symphony2vec.project import read_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from symphony2vec.params import Probe

CORPORA = {"strings": Path("docs/results/starter.csv"), "orchestra": Path("docs/results/openscore.csv")}
ENCODERS = [
    *(
        ("embeddings", f"{model}-{name}", "", f"untrained-{name}")
        for model in ("ae", "cae", "vae")
        for name in ("mel", "mfcc", "chroma")
    ),
    *(
        ("ali", f"{name}-128", readout, "untrained-128")
        for readout in ("", "crops")
        for name in ("paper", "original", "long")
    ),
    ("temporal", "context-40", "", "untrained-40"),
    ("temporal", "full-40", "", "untrained-40"),
]  # stage, model, readout, and the model that is its start


class Worth(NamedTuple):
    """In percent and points; low and high are the ends of the interval of the difference."""

    row: str
    untrained: float
    trained: float
    difference: float
    low: float
    high: float

    def cells(self) -> list[str]:
        """As Markdown; a difference whose interval holds no 0 is bold."""
        sure = "**" if self.low > 0.0 or self.high < 0.0 else ""
        interval = f"[{self.low:+.1f}, {self.high:+.1f}]"
        return [f"{self.untrained:.1f}", f"{self.trained:.1f}", f"{sure}{self.difference:+.1f}{sure} {interval}"]


def worth(counts: pd.DataFrame, settings: Probe) -> list[Worth]:
    """Every row of ENCODERS that `counts` (columns as those of the report's counts.csv) has with its start."""
    own = counts[counts["fold"].str.startswith("work-")]
    rows = {tuple(map(str, name)): one for name, one in own.groupby(["stage", "model", "readout"])}
    found = []
    for stage, model, readout, start in ENCODERS:
        pair = [rows.get((stage, name, readout)) for name in (start, model)]
        if pair[0] is None or pair[1] is None:
            continue
        row, folds = f"{model} {readout}".strip(), sorted(set(pair[0]["fold"]))
        before, after, low, high = paired(pair[0], pair[1], folds, row, settings)
        found.append(Worth(row, before, after, after - before, low, high))
    return found


def table(found: dict[str, list[Worth]]) -> str:
    """One line a row that every corpus has."""
    heads = [f"{corpus}: random initialisation | trained | difference" for corpus in found]
    lines = [f"| model | {' | '.join(heads)} |", "|---" * (1 + 3 * len(found)) + "|"]
    by_row = [{one.row: one for one in own} for own in found.values()]
    for row in by_row[0]:
        if all(row in own for own in by_row):
            lines.append(f"| {' | '.join([row, *(cell for own in by_row for cell in own[row].cells())])} |")
    return "\n".join(lines)


def picture(found: dict[str, list[Worth]]) -> Figure:
    """How much training adds to each row, with its interval, one column a corpus."""
    from symphony2vec.figures import canvas

    drawn = canvas.new_figure(5.0 * len(found), 0.32 * len(ENCODERS) + 1.3)
    for axes, (corpus, own) in zip(
        drawn.subplots(1, len(found), sharex=True, squeeze=False)[0], found.items(), strict=True
    ):
        for place, one in enumerate(own):
            colour = canvas.COLOURS[2 if one.low > 0.0 else 3] if one.low > 0.0 or one.high < 0.0 else "0.5"
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt")
            axes.plot(one.difference, place, "o", color=colour, markersize=6.0)
        axes.axvline(0.0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(own)), [one.row for one in own])
        axes.set(title=corpus, xlabel="training adds (points of test accuracy)", ylim=(len(own) - 0.4, -0.6))
        axes.grid(axis="x", color="0.92")
    return drawn


def main() -> None:
    """Print the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--picture", type=Path, help="a PNG to write")
    options = parser.parse_args()
    from symphony2vec import params
    from symphony2vec.figures import canvas

    try:
        settings = params.read(Path("params.yaml")).probe
        found = {corpus: worth(read_table(path, "report"), settings) for corpus, path in CORPORA.items()}
    except UserError as fault:
        parser.exit(1, f"{fault}\n")
    print(table(found))
    if options.picture:
        canvas.save(options.picture, picture(found))


if __name__ == "__main__":
    main()
