"""Plots of decisions: figures already computed in, PNG bytes out, the same bytes for the same figures.

What belongs here: drawing thresholds, decisions and what came of them. What does not: computing it, beyond counting and
binning. Style, size and encoding are those of `drawing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.drawing import (
    BLUE,
    DASHED,
    GREEN,
    MUTED,
    ORANGE,
    PALE_BLUE,
    RED,
    legend_below,
    need_rows,
    png_of,
    side_by_side,
    styled,
    year_ticks,
)
from butterquant_assets.foundation.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRACK_COLOURS = {"ai": BLUE, "baseline": ORANGE, "blend": GREEN}
POPULATION_NAMES = {"all_candidates": "All candidates", "taken": "Taken by the AI track"}
BINS = 40
SHOWN_SHARE = (0.001, 0.999)  # a few extreme candidates would squeeze all others into one bar

Floats = npt.NDArray[np.float64]


def expected_against_realised(calibration: pd.DataFrame) -> bytes:
    """Realised return by quintile of the expected one, with interval and count, beside the expected return.

    Parameters
    ----------
    calibration
        columns ``population`` (``all_candidates``, ``taken``), ``quintile`` (1 .. 5), ``mean_expected_roi``,
        ``mean_roi_net``, ``low``, ``high`` (fractions; bounds may be missing), ``decisions``; one route only

    Returns
    -------
    PNG bytes
    """
    need_rows(calibration, "expected_against_realised")
    populations = [name for name in POPULATION_NAMES if (calibration["population"] == name).any()]
    with styled():
        figure, panels = side_by_side(700, 330, len(populations))
        for axes, name in zip(panels, populations, strict=True):
            rows = calibration[calibration["population"] == name].sort_values("quintile")
            if rows["quintile"].duplicated().any():
                raise DataError(f"quintiles of {name} are repeated; give the rows of one route")
            _calibration_panel(axes, rows, with_names=axes is panels[0])
            axes.set(title=POPULATION_NAMES[name], xlabel="quintile of expected ROI, and trades")
        panels[0].set(ylabel="mean ROI after costs, %")
        legend_below(figure, 2)
        return png_of(figure)


def tracks_over_time(history: pd.DataFrame) -> bytes:
    """Mean return so far and accuracy of the last 30 days of each track.

    Parameters
    ----------
    history
        columns ``day`` (datetime), ``track``, ``accuracy``, ``mean_roi_net_so_far`` (fractions; missing where there is
        no trade), ``decisions_so_far``; one route only

    Returns
    -------
    PNG bytes
    """
    need_rows(history, "tracks_over_time")
    if history.duplicated(["day", "track"]).any():
        raise DataError("days of a track are repeated; give the rows of one route")
    with styled():
        figure, (left, right) = side_by_side(700, 330, 2)
        for track, colour in TRACK_COLOURS.items():
            rows = history[history["track"] == track].sort_values("day")
            if rows.empty:
                continue
            label = f"{track} ({int(rows['decisions_so_far'].iloc[-1]):,} trades)"
            left.plot(rows["day"], 100 * rows["mean_roi_net_so_far"], color=colour, linewidth=1.5, label=label)
            right.plot(rows["day"], 100 * rows["accuracy"], color=colour, linewidth=1.0, alpha=0.85)
        left.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
        right.axhline(50, color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1)
        left.set(title="Mean ROI after costs so far, %")
        right.set(title="Trades won, last 30 days, %", ylim=(-3, 103))
        _robust_limits(left, 100 * history["mean_roi_net_so_far"].to_numpy(dtype=np.float64))
        for axes in (left, right):
            year_ticks(axes, 7)
        legend_below(figure, 3)
        return png_of(figure)


def threshold_scan(scan: pd.DataFrame, chosen: float | None) -> bytes:
    """Mean return of what each threshold takes, with its simultaneous interval, and how many rows it takes.

    Parameters
    ----------
    scan
        columns ``threshold``, ``mean_roi_net``, ``low``, ``high`` (fractions; may be missing), ``rows``, ``eligible``
    chosen
        the threshold in use, or None

    Returns
    -------
    PNG bytes
    """
    need_rows(scan, "threshold_scan")
    eligible = scan["eligible"].to_numpy(dtype=bool)
    x, mean, low, high = (
        100 * scan[name].to_numpy(dtype=np.float64) for name in ("threshold", "mean_roi_net", "low", "high")
    )
    with styled():
        figure, (left, right) = side_by_side(700, 320, 2)
        left.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
        left.fill_between(x, low, high, where=eligible.tolist(), color=BLUE, alpha=0.18, linewidth=0)
        left.plot(x[eligible], mean[eligible], "o-", color=BLUE, markersize=4, label="mean, band: 95 % for all at once")
        if not eligible.all():
            left.plot(
                x[~eligible], mean[~eligible], "o", color=MUTED, markersize=3.5, mfc="none", label="too few taken"
            )
        right.bar(x, scan["rows"], width=0.75 * _spacing(x), color=np.where(eligible, BLUE, MUTED).tolist())
        name = "no threshold is chosen" if chosen is None else f"chosen: E > {100 * chosen:.1f} %"
        for axes, label in ((left, name), (right, None)):
            at = np.nan if chosen is None else 100 * chosen
            axes.axvline(at, color=RED, linewidth=1.2, linestyle=DASHED, label=label)
            axes.set(xlabel="threshold on the expected ROI, %", xlim=(x.min() - _spacing(x), x.max() + _spacing(x)))
        left.set(title="Mean ROI after costs, %")
        right.set(title="Rows taken")
        right.grid(axis="x", visible=False)
        shown = np.concatenate([low[eligible], high[eligible], mean])
        _robust_limits(left, shown)
        legend_below(figure, 3)
        return png_of(figure)


def expected_roi_distribution(decisions: pd.DataFrame, thresholds: Mapping[str, float | None]) -> bytes:
    """Candidates by expected return, under the training folds' class values and under the document's.

    Parameters
    ----------
    decisions
        columns ``expected_roi``, ``expected_roi_document`` (fractions; missing values are left out); one row a
        candidate
    thresholds
        by column name, what each must exceed; None or absent: there is none

    Returns
    -------
    PNG bytes
    """
    titles = {"expected_roi": "Class means of training folds", "expected_roi_document": "The document's class values"}
    need_rows(decisions, "expected_roi_distribution")
    with styled():
        figure, panels = side_by_side(700, 300, 2)
        for axes, (column, title) in zip(panels, titles.items(), strict=True):
            values = 100 * decisions[column].dropna().to_numpy(dtype=np.float64)
            _histogram(axes, values, thresholds.get(column))
            axes.set(title=title, xlabel="expected ROI, %")
            axes.grid(axis="x", visible=False)
        panels[0].set(ylabel="candidates")
        return png_of(figure)


def _calibration_panel(axes: Axes, rows: pd.DataFrame, *, with_names: bool) -> None:
    at = rows["quintile"].to_numpy(dtype=np.float64)
    expected, realised, low, high = (
        100 * rows[name].to_numpy(dtype=np.float64) for name in ("mean_expected_roi", "mean_roi_net", "low", "high")
    )
    names = ("realised, 95 % over months", "expected") if with_names else (None, None)
    axes.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
    axes.vlines(at, low, high, color=BLUE, linewidth=2.4, alpha=0.45, zorder=2)
    axes.plot(at, realised, "o-", color=BLUE, markeredgecolor="white", linewidth=1.3, zorder=4, label=names[0])
    axes.plot(at, expected, "D", color=ORANGE, mfc="none", mew=1.5, markersize=8, zorder=5, label=names[1])
    ticks = [f"{int(number)}\n{count:,}" for number, count in zip(at, rows["decisions"], strict=True)]
    axes.set_xticks(at, ticks)
    axes.set(xlim=(0.5, 5.5))
    axes.grid(axis="x", visible=False)


def _histogram(axes: Axes, values: Floats, threshold: float | None) -> None:
    """Counts by bin; what lies above the threshold is darker, and its share is told."""
    if not values.size:
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", color=MUTED)
        return
    low, high = np.quantile(values, SHOWN_SHARE)
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low - 1.0, low + 1.0])
    over = values > (np.inf if threshold is None else 100 * threshold)
    shown = np.clip(values, edges[0], edges[-1])
    below, above = (np.histogram(shown[part], edges)[0] for part in (~over, over))
    axes.bar(edges[:-1], below, np.diff(edges), color=PALE_BLUE, align="edge")
    axes.bar(edges[:-1], above, np.diff(edges), below, color=BLUE, align="edge")
    text, box = "no threshold: nothing is taken", {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    if threshold is not None:
        axes.axvline(100 * threshold, color=RED, linewidth=1.2, linestyle=DASHED)
        text = f"{100 * over.mean():.0f} % above {100 * threshold:.1f} %"
    axes.set_ylim(0, 1.2 * float((below + above).max()))
    axes.text(0.98, 0.97, text, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, bbox=box)


def _robust_limits(axes: Axes, values: Floats) -> None:
    """Vertical limits that hold most values and 0: the first trades' means swing wildly and would flatten the rest."""
    known = values[np.isfinite(values)]
    if not known.size:
        return
    low, high = min(0.0, float(np.quantile(known, 0.02))), max(0.0, float(np.quantile(known, 0.98)))
    room = 0.08 * max(high - low, 1.0)
    axes.set_ylim(low - room, high + room)


def _spacing(x: Floats) -> float:
    return float(np.diff(np.sort(x)).min()) if len(x) > 1 else 1.0
