"""Plots of a hyper-parameter study: its table of trials in, PNG bytes out, the same bytes for the same table.

What belongs here: drawing trials. What does not: searching. Style, size and encoding are those of `drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from butterquant_assets.foundation.drawing import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    RED,
    blank_figure,
    legend_below,
    need_rows,
    one_panel,
    png_of,
    styled,
)
from butterquant_assets.foundation.errors import DataError

SHOWN_RANGE = 4.0
MOST_PARAMETERS = 12


def study_history(trials: pd.DataFrame) -> bytes:
    """Value of each trial in order and the best so far.

    Parameters
    ----------
    trials
        columns ``number``, ``state`` (``complete``, ``pruned``, ``failed``), ``value`` (NaN of a failed trial)

    Returns
    -------
    PNG bytes. Values far above the better half are drawn at the upper edge as triangles.
    """
    from matplotlib.ticker import MaxNLocator

    complete, pruned, failed = (trials[trials["state"] == state] for state in ("complete", "pruned", "failed"))
    if complete.empty:
        raise DataError("study_history has no complete trial to draw")
    bottom, top = _window(complete["value"])
    with styled():
        figure, axes = one_panel(700, 300)
        for rows, marker, colour, label in (
            (pruned, "o", "none", f"pruned, last value ({len(pruned)})"),
            (complete, "o", BLUE, f"complete ({len(complete)})"),
        ):
            inside = rows[rows["value"] <= top]
            above = rows[rows["value"] > top]
            edge = MUTED if colour == "none" else "white"
            axes.plot(
                inside["number"], inside["value"], marker, color=colour, markeredgecolor=edge, markersize=6, label=label
            )
            if not above.empty:
                axes.plot(above["number"], [top] * len(above), "^", color=colour, markeredgecolor=MUTED, clip_on=False)
        if not failed.empty:
            label = f"failed ({len(failed)})"
            axes.plot(failed["number"], [bottom] * len(failed), "x", color=RED, label=label, clip_on=False)
        best = complete.sort_values("number")
        axes.step(
            [*best["number"], trials["number"].max()],
            [*best["value"].cummin(), best["value"].min()],
            where="post", color=ORANGE, linewidth=1.6, label=f"best so far: {best['value'].min():.4f}", zorder=1,
        )  # fmt: skip
        axes.set(title="Trials of the study", xlabel="trial", ylabel="value (log-loss, nats)", ylim=(bottom, top))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(figure, 4)
        return png_of(figure)


def study_slices(trials: pd.DataFrame, parameters: Sequence[str], logarithmic: Sequence[str] = ()) -> bytes:
    """Value of the complete trials against each parameter, one panel each; later trials are darker.

    Parameters
    ----------
    trials
        columns ``number``, ``state``, ``value`` and one of each name in `parameters`: numbers, or texts of a choice
    parameters
        which to draw, at most 12
    logarithmic
        those drawn on a logarithmic axis

    Returns
    -------
    PNG bytes
    """
    from matplotlib.ticker import LogLocator, NullLocator

    complete = trials[trials["state"] == "complete"]
    need_rows(complete, "study_slices")
    if not 1 <= len(parameters) <= MOST_PARAMETERS:
        raise DataError(f"study_slices was given {len(parameters)} parameters; it draws 1 to {MOST_PARAMETERS}")
    window = _window(complete["value"])
    best = complete.iloc[int(complete["value"].argmin())]
    columns = min(len(parameters), 4)
    lines = -(-len(parameters) // columns)
    with styled():
        figure = blank_figure(7.0, 0.35 + 1.95 * lines)
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        for axes, name in zip(panels, parameters, strict=False):
            values, marked = complete[name], best[name]
            if not pd.api.types.is_numeric_dtype(values):
                names = sorted(values.unique())
                axes.set_xticks(range(len(names)), names, fontsize=7.5)
                axes.set_xlim(-0.5, len(names) - 0.5)
                values, marked = values.map(names.index), names.index(marked)
            axes.scatter(
                values, np.minimum(complete["value"], window[1]), c=complete["number"], cmap="Blues", s=22,
                vmin=-0.6 * len(trials), vmax=len(trials), linewidths=0, clip_on=False,
            )  # fmt: skip
            axes.plot(
                marked, best["value"], "o", markersize=9, color="none", markeredgecolor=ORANGE, markeredgewidth=1.8
            )
            if name in logarithmic:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=_subdivision(values)))
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel(name, fontsize=8.5, color=INK)
            axes.tick_params(labelsize=7.5)
            axes.set_ylim(*window)
        for axes in panels[len(parameters) :]:
            axes.set_visible(False)
        figure.suptitle(
            "Value by parameter (ring: best; darker: later)", fontsize=10.5, fontweight="bold", ha="left", x=0.01
        )
        return png_of(figure)


def _subdivision(values: pd.Series) -> tuple[int, ...]:
    """Which multiples of powers of ten to label, so that labels of a narrow panel do not touch."""
    decades = float(np.log10(values.max() / values.min()))
    return (1,) if decades >= 2 else (1, 3) if decades >= 1 else (1, 2, 5)


def _window(values: pd.Series) -> tuple[float, float]:
    """What to show of the values: the better half and a few times its spread above it, never more than all."""
    low, middle, high = (float(value) for value in np.quantile(values, (0.0, 0.5, 1.0)))
    top = min(high, middle + SHOWN_RANGE * (middle - low)) if middle > low else high
    room = 0.08 * ((top - low) or abs(low) or 1.0)
    return low - room, top + room
