"""Shared by all figures: canvas size, colours, legends, tick labels and saving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from symphony2vec.project import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 110
LARGEST_INCHES = 40.0
LEGEND_LETTERS = 75  # with more, a legend has three columns instead of five
# Distinct with any kind of colour vision (Okabe & Ito 2008), without yellow, which is hard to see on white.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000")


def save(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, with the same bytes for the same figure, and clear it."""
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    figure.clear()


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """Return an empty figure outside pyplot's global state; sizes in inches.

    Args:
        width: at most `LARGEST_INCHES`.
        height: at most `LARGEST_INCHES`.
        constrained: move the axes so that labels fit; the caller does it otherwise.
    """
    size = min(width, LARGEST_INCHES), min(height, LARGEST_INCHES)
    return Figure(figsize=size, layout="constrained" if constrained else None)


def patches(names: Sequence[str], colours: Sequence[Any]) -> list[Any]:
    """Return legend handles: one coloured patch for each name."""
    return [Patch(color=colour, label=name) for name, colour in zip(names, colours, strict=True)]


def slanted(names: Sequence[Any]) -> dict[str, Any]:
    """Return the style of tick labels: slanted if they would overlap."""
    crowded = sum(len(str(name)) for name in names) > 45
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}


def legend_beside(axes: Axes) -> None:
    """Add a legend to the right of the axes, where it covers nothing."""
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def legend_below(fig: Figure, axes: Axes) -> None:
    """Add a legend below the figure, with one handle for each different label of the axes."""
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    columns = 3 if sum(map(len, unique)) > LEGEND_LETTERS else 5
    fig.legend(unique.values(), unique.keys(), frameon=False, fontsize=9, ncols=columns, loc="outside lower center")
