"""Plots of forecasts against what came: figures in, PNG bytes out, the same bytes for the same figures.

What belongs here: drawing forecasts of numbers and of moves, their scores by fold, and their intervals. What does not:
computing scores. Style, size and encoding are those of `drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.drawing import (
    BLUE,
    DASHED,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    RED,
    legend_below,
    need_rows,
    one_panel,
    png_of,
    styled,
)
from butterquant_assets.foundation.errors import DataError

SERIES_COLOURS = (MUTED, "#8c6bb1", GREEN, BLUE, ORANGE, RED)
BINS = 10

Floats = npt.NDArray[np.float64]


def values_with_intervals(
    frame: pd.DataFrame, title: str, label: str, reference: float, *, lower_is_better: bool
) -> bytes:
    """One point with its interval per name, beside a line at `reference`; blue where wholly better, orange where worse.

    Parameters
    ----------
    frame
        columns ``name``, ``value``, ``low``, ``high`` (bounds may be missing or infinite: then no bar), in the order to
        draw
    title, label
        of the plot and of its horizontal axis
    reference
        where the two sides of the comparison are equal
    lower_is_better
        which side of it is the better

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "values_with_intervals")
    below, above = (BLUE, ORANGE) if lower_is_better else (ORANGE, BLUE)
    with styled():
        figure, axes = one_panel(700, 110 + 34 * len(frame))
        axes.axvline(reference, color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1)
        for row, one in enumerate(frame.to_dict("records")):
            colour = below if one["high"] < reference else above if one["low"] > reference else INK
            if np.isfinite([one["low"], one["high"]]).all():
                axes.plot([one["low"], one["high"]], [row, row], color=colour, linewidth=2.4, alpha=0.55, zorder=2)
            axes.plot(one["value"], row, "o", color=colour, markeredgecolor="white", markersize=7, zorder=3)
            axes.annotate(
                f"{one['value']:.3f}", (one["value"], row), xytext=(0, 6), textcoords="offset points", fontsize=8,
                ha="center",
            )  # fmt: skip
        axes.set_yticks(range(len(frame)), list(frame["name"]))
        axes.set_ylim(len(frame) - 0.5, -0.6)
        axes.margins(x=0.08)
        axes.set(title=title, xlabel=label)
        axes.grid(axis="y", visible=False)
        return png_of(figure)


def values_by_fold(frame: pd.DataFrame, title: str, label: str) -> bytes:
    """A figure of each series by walk-forward fold, as lines.

    Parameters
    ----------
    frame
        columns ``fold`` (text, in time order), ``series``, ``value``
    title, label
        of the plot and of its vertical axis

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "values_by_fold")
    folds = list(dict.fromkeys(frame["fold"]))
    with styled():
        figure, axes = one_panel(700, 320)
        for name, colour in zip(dict.fromkeys(frame["series"]), _colours(frame["series"].nunique()), strict=True):
            line = frame[frame["series"] == name].set_index("fold")["value"].reindex(folds)
            axes.plot(range(len(folds)), line, "o-", color=colour, markersize=4.5, linewidth=1.5, label=name)
        axes.set_xticks(range(len(folds)), [fold[:7] for fold in folds], rotation=45, ha="right", fontsize=8)
        axes.set(title=title, ylabel=label, xlabel="fold, by the month of its retraining")
        legend_below(figure, 6)
        return png_of(figure)


def forecast_and_outcome(realised: npt.ArrayLike, forecasts: Mapping[str, npt.ArrayLike]) -> bytes:
    """Mean outcome against mean forecast by tenth of the forecast, on logarithmic axes; the diagonal is perfect.

    Parameters
    ----------
    realised
        volatilities that came, per year, shape (n,)
    forecasts
        positive, by name, shape (n,) each

    Returns
    -------
    PNG bytes
    """
    came = np.asarray(realised, dtype=np.float64)
    if came.size < BINS:
        raise DataError(f"{came.size} forecasts do not fill {BINS} bins; draw more")
    with styled():
        figure, axes = one_panel(520, 400)
        bounds = [np.inf, 0.0]
        for (name, values), colour in zip(forecasts.items(), _colours(len(forecasts)), strict=True):
            said, outcome = _means_by_bin(np.asarray(values, dtype=np.float64), came)
            axes.plot(
                said, outcome, "o-", color=colour, markersize=5, linewidth=1.3, markeredgecolor="white", label=name
            )
            bounds = [min(bounds[0], said.min()), max(bounds[1], said.max())]
        axes.plot(bounds, bounds, color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_percent)
            axis.set_minor_formatter(_percent)
            axis.set_tick_params(which="both", labelsize=7.5)
        axes.set(title="Volatility by tenth of the forecast", xlabel="mean forecast, % a year", ylabel="mean outcome")
        axes.legend(loc="upper left")
        return png_of(figure)


def _means_by_bin(forecast: Floats, outcome: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(forecast, kind="stable")
    parts = np.array_split(order, BINS)
    return np.array([forecast[part].mean() for part in parts]), np.array([outcome[part].mean() for part in parts])


def _percent(value: float, _: float) -> str:
    """Ticks at 1, 2, 5 x 10^k only, so that labels never overlap."""
    leading = f"{100 * value:.0e}"[0]
    return f"{100 * value:g}" if leading in "125" else ""


def _colours(count: int) -> tuple[str, ...]:
    if count > len(SERIES_COLOURS):
        raise DataError(f"{count} series cannot be told apart, at most {len(SERIES_COLOURS)}; draw fewer")
    return SERIES_COLOURS[:count]
