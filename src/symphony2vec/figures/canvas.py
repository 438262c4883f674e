"""What every figure shares: its own canvas, its colours, its legend, and how it becomes a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from symphony2vec.project import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
LARGEST_INCHES = 40.0
LETTERS_IN_A_ROW = 75
# Told apart with any kind of colour vision (Okabe & Ito 2008), without the yellow that is lost on white.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000")


def save(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, the same bytes for the same figure, and close it."""
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    figure.clear()


def figure(width: float, height: float) -> Figure:
    """A figure of its own, outside pyplot's global state; sizes in inches."""

    return Figure(figsize=(min(width, LARGEST_INCHES), min(height, LARGEST_INCHES)), layout="constrained")


def patches(names: Sequence[str], colours: Sequence[Any]) -> list[Any]:
    """Handles of a legend: one coloured field a name."""

    return [Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)]


def slanted(names: Sequence[Any]) -> dict[str, Any]:
    """How tick labels are turned so that they do not run into each other."""
    crowded = sum(len(str(name)) for name in names) > 45
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}


def legend_beside(axes: Axes) -> None:
    """A legend to the right of the axes, where it hides nothing."""
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def legend_below(drawn: Figure, axes: Axes) -> None:
    """A legend below the whole figure, with one handle for each label that the axes hold, however often."""
    handles, names = axes.get_legend_handles_labels()
    single = dict(zip(names, handles, strict=True))
    columns = 3 if sum(map(len, single)) > LETTERS_IN_A_ROW else 5
    drawn.legend(single.values(), single.keys(), frameon=False, fontsize=9, ncols=columns, loc="outside lower center")
