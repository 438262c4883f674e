"""Musical attributes of a recording over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from symphony2vec.figures.canvas import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PITCH_ROWS_INCHES, ROW_INCHES = 1.8, 0.75

Row = tuple[str, np.ndarray, float, float]  # title, values (n, K), and the range of the axis


def attributes(
    starts_s: np.ndarray, ends_s: np.ndarray, rows: Sequence[Row], pitches: Sequence[str], title: str
) -> Figure:
    """Draw one row for each attribute: its value over time, or of the pitch classes a map.

    Args:
        starts_s: (n,) seconds.
        ends_s: (n,) seconds.
        rows: the attributes.
        pitches: names of the pitch classes.
        title: of the figure.
    """
    heights = [PITCH_ROWS_INCHES if values.shape[1] > 1 else ROW_INCHES for _, values, _, _ in rows]
    fig = new_figure(9.0, 0.8 + sum(heights))
    panels = fig.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    edges = np.append(starts_s, ends_s[-1]) / 60.0
    for place, (axes, (row_title, values, low, high)) in enumerate(zip(panels, rows, strict=True)):
        if values.shape[1] > 1:
            axes.pcolormesh(edges, np.arange(values.shape[1] + 1), values.T, cmap="Greys", rasterized=True)
            axes.set_yticks(np.arange(values.shape[1]) + 0.5, pitches, fontsize=6)
        else:
            axes.stairs(values[:, 0], edges, baseline=low, fill=True, color=COLOURS[place % len(COLOURS)])
            axes.set_ylim(low, high)
            axes.tick_params(axis="y", labelsize=6)
        axes.set_title(row_title, fontsize=8, loc="left", pad=2)
    panels[-1].set_xlabel("time (minutes)")
    fig.suptitle(title, fontsize=10)
    return fig
