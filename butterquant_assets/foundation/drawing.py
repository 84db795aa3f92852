"""What all plots share: style, colours, sizes, and the PNG that comes out.

Plots are stored in the event log as data URIs, so each stays below 60 kB, and equal figures give equal bytes. What does
not belong here: drawing any plot (`plots`, and the modules of each kind of plots beside it).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BYTES = 60_000
DPI = 100
PALETTE_COLOURS = 128
INK, MUTED, GRID = "#222222", "#777777", "#e4e4e4"
BLUE, ORANGE, GREEN, RED = "#3b6fa0", "#d98532", "#5a9a68", "#b8473d"
PALE_BLUE, PALE_RED = "#a9c4dc", "#e0b9a8"
CLASS_COLOURS = (RED, PALE_RED, PALE_BLUE, BLUE)
CLASS_NAMES = ("< -10 %", "-10 .. 5 %", "5 .. 15 %", ">= 15 %")
DASHED = (0, (4, 3))

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the bytes do not depend on installed fonts
    "font.size": 9.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def styled() -> Any:
    """A context in which everything is drawn in our style."""
    from matplotlib import style

    # A user's own matplotlibrc must not change the bytes.
    return style.context(_STYLE, after_reset=True)


def blank_figure(width: float, height: float) -> Figure:
    """A figure without axes; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def one_panel(width: int, height: int) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; sizes in pixels."""
    figure = blank_figure(width / DPI, height / DPI)
    return figure, figure.add_subplot()


def side_by_side(width: int, height: int, count: int) -> tuple[Figure, list[Axes]]:
    """A figure with panels from left to right; sizes in pixels."""
    figure = blank_figure(width / DPI, height / DPI)
    return figure, [figure.add_subplot(1, count, number + 1) for number in range(count)]


def png_of(figure: Figure) -> bytes:
    """PNG with a palette: a third of the size, and no metadata, so that equal figures give equal bytes.

    Raises
    ------
    DataError
        if it is too large for the event log.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    buffer = io.BytesIO()
    image.quantize(PALETTE_COLOURS, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    content = buffer.getvalue()
    if len(content) > MAX_BYTES:
        raise DataError(f"the plot takes {len(content):,} bytes, at most {MAX_BYTES:,} fit the event log; draw less")
    return content


def legend_below(figure: Figure, columns: int) -> None:
    """One legend of all panels, beneath them."""
    figure.legend(loc="outside lower center", ncols=columns, handletextpad=0.4, columnspacing=1.6)


def bare_cells(axes: Axes) -> None:
    """Let the cells of a matrix stand alone: no grid, no ticks, no frame."""
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def year_ticks(axes: Axes, most: int) -> None:
    """Dates along the bottom, 3 to `most` of them."""
    from matplotlib import dates

    untyped: Any = dates
    locator = untyped.AutoDateLocator(minticks=3, maxticks=most)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))


def need_rows(frame: pd.DataFrame, plot: str) -> None:
    """Refuse to draw nothing.

    Raises
    ------
    DataError
        naming the plot.
    """
    if frame.empty:
        raise DataError(f"{plot} has no rows to draw")
