"""Spectrograms (F, T) on one colour scale: F bins from low to high, T frames of `frame_s` seconds.

Arguments of all figures: `label` is the title, `unit` the unit of the values, `limits` their range of colours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps

from symphony2vec.figures.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOUR_MAP = "magma"
TILE_PIXELS = 128
GAP_PIXELS = 2
WHITE = 255
MARGINS = (0.8, 1.15, 0.55, 0.7)  # left, right, bottom and top of a grid of spectrograms, in inches
GAPS = (0.15, 0.35)  # between its columns and rows
COLOUR_BAR = 0.12  # width


def examples(
    arrays: Mapping[str, np.ndarray],
    label: str,
    unit: str,
    bins: str,
    frame_s: float,
    limits: tuple[float, float],
) -> Figure:
    """Draw named spectrograms (F, T), one for each composer: Figures 1 to 3 of the paper."""
    columns = min(3, len(arrays))
    size = (4.2 * columns, 2.5 * -(-len(arrays) // columns) + 0.4)
    return _panels(list(arrays.values()), list(arrays), columns, size, label, unit, bins, frame_s, limits)


def pairs(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    names: Sequence[str],
    label: str,
    unit: str,
    frame_s: float,
    limits: tuple[float, float],
    rows: tuple[str, str] = ("original", "reconstruction"),
) -> Figure:
    """Draw originals (N, F, T) above their reconstructions (N, F, T): Figures 5 and 8 of the paper.

    `rows` names the two rows, `names` the N columns.
    """
    fig, grid = _grid_of_axes(2, len(names), max(2.4 * len(names) + 1.6, 5.0), 5.2)
    image: Any = None
    for row, arrays in zip(grid, (originals, reconstructions), strict=True):
        for axes, array in zip(row, arrays, strict=True):
            image = _show(axes, array, frame_s, limits)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, fontsize=10)
    for axes, name in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(f"{name}\nbin")
    for axes in grid[-1]:
        axes.set_xlabel("s")
    _add_colour_bar(fig, image, unit)
    fig.suptitle(label)
    return fig


def grid(
    arrays: np.ndarray,
    titles: Sequence[str],
    label: str,
    unit: str,
    frame_s: float,
    limits: tuple[float, float],
) -> Figure:
    """Draw N spectrograms (N, F, T) with a title each: Figures 8 and 9 of the paper."""
    columns = _columns(len(arrays))
    size = (max(2.3 * columns + 1.6, 5.0), 2.2 * -(-len(arrays) // columns) + 0.8)
    return _panels(list(arrays), titles, columns, size, label, unit, "bin", frame_s, limits)


def image(arrays: np.ndarray) -> np.ndarray:
    """Return N spectrograms (N, F, T) in [0, 1] as one image (H, W, 3) of uint8, without axes, low bins at the bottom.

    Values outside [0, 1] are clipped; small spectrograms are enlarged by an integer factor.

    Examples:
        >>> import numpy as np
        >>> image(np.zeros((1, 64, 32))).shape
        (128, 64, 3)
    """
    count, bins, frames = arrays.shape
    factor = max(1, TILE_PIXELS // max(bins, frames))
    columns = _columns(count)
    rows = -(-count // columns)
    height, width = bins * factor + GAP_PIXELS, frames * factor + GAP_PIXELS
    picture = np.full((rows * height - GAP_PIXELS, columns * width - GAP_PIXELS, 3), WHITE, dtype=np.uint8)
    for place, array in enumerate(arrays):
        tile = colormaps[COLOUR_MAP](array[::-1], bytes=True)[..., :3].repeat(factor, axis=0).repeat(factor, axis=1)
        row, column = (place // columns) * height, (place % columns) * width
        picture[row : row + bins * factor, column : column + frames * factor] = tile
    return picture


def _panels(
    arrays: Sequence[np.ndarray],
    titles: Sequence[str],
    columns: int,
    size: tuple[float, float],
    label: str,
    unit: str,
    bins: str,
    frame_s: float,
    limits: tuple[float, float],
) -> Figure:
    """Draw spectrograms (F, T) in a grid with a colour bar; `size` is in inches."""
    fig, axes_grid = _grid_of_axes(-(-len(arrays) // columns), columns, *size)
    places = axes_grid.ravel()
    image: Any = None
    for axes, array, title in zip(places[: len(arrays)], arrays, titles, strict=True):
        image = _show(axes, array, frame_s, limits)
        axes.set_title(title, fontsize=10)
    for axes in places[len(arrays) :]:
        axes.set_axis_off()
    for axes in places[max(len(arrays) - columns, 0) : len(arrays)]:  # the lowest of each column
        axes.set_xlabel("s")
        axes.tick_params(labelbottom=True)
    for axes in places[::columns]:
        axes.set_ylabel(bins)
    _add_colour_bar(fig, image, unit)
    fig.suptitle(label)
    return fig


def _show(axes: Any, array: np.ndarray, frame_s: float, limits: tuple[float, float]) -> Any:
    extent = (0.0, array.shape[1] * frame_s, -0.5, array.shape[0] - 0.5)
    low, high = limits
    return axes.imshow(array, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high, cmap=COLOUR_MAP)


def _grid_of_axes(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """Return a figure of a size in inches and its axes (rows, columns).

    The margins are fixed: constrained layout, which finds them from the labels, takes twice as long as drawing.
    """
    fig = new_figure(width, height, constrained=False)
    width, height = fig.get_size_inches()
    left, right, bottom, top = MARGINS
    inner = (width - left - right) / columns, (height - bottom - top) / rows
    wspace, hspace = (gap / (size - gap) for gap, size in zip(GAPS, inner, strict=True))
    fig.subplots_adjust(
        left / width, bottom / height, 1.0 - right / width, 1.0 - top / height, wspace=wspace, hspace=hspace
    )
    return fig, fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def _add_colour_bar(fig: Figure, image: Any, unit: str) -> None:
    width, height = fig.get_size_inches()
    _, right, bottom, top = MARGINS
    place = (1.0 - (right - 0.2) / width, bottom / height, COLOUR_BAR / width, 1.0 - (bottom + top) / height)
    fig.colorbar(image, cax=fig.add_axes(place), label=unit)


def _columns(count: int) -> int:
    """Return the columns of a grid about 1.5 times as wide as high, with its last row as full as possible."""
    rows = max(1, round(math.sqrt(count / 1.5)))
    return -(-count // rows)
