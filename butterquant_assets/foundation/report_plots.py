"""Plots of reports: figures already computed in, PNG bytes out, the same bytes for the same figures.

What belongs here: drawing what a report found. What does not: computing it. Style, size and encoding are those of
`drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.drawing import (
    BLUE,
    CLASS_COLOURS,
    CLASS_NAMES,
    DASHED,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    RED,
    bare_cells,
    legend_below,
    need_rows,
    png_of,
    side_by_side,
    styled,
)
from butterquant_assets.foundation.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES_COLOURS = (ORANGE, GREEN, BLUE, RED, MUTED)
Floats = npt.NDArray[np.float64]


def stacked_classes(frame: pd.DataFrame, title: str) -> bytes:
    """Share of each class, one bar a row, with a gap between blocks.

    Parameters
    ----------
    frame
        columns ``block`` and ``name`` (texts), ``share_0`` .. ``share_3`` (fractions), in the order to draw
    title
        of the plot

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "stacked_classes")
    at = np.arange(len(frame)) + 0.6 * _blocks(frame["block"])
    with styled():
        figure, (axes,) = side_by_side(700, 120 + 21 * len(frame), 1)
        start = np.zeros(len(frame))
        for k, name in enumerate(CLASS_NAMES):
            share = 100.0 * frame[f"share_{k}"].to_numpy(np.float64)
            bars = axes.barh(at, share, left=start, color=CLASS_COLOURS[k], label=name, height=0.82)
            texts = [f"{value:.0f} %" if value >= 5 else "" for value in share]
            axes.bar_label(bars, texts, label_type="center", fontsize=8, color="white" if k in (0, 3) else INK)
            start += share
        axes.set_yticks(at, list(frame["name"]))
        axes.invert_yaxis()
        axes.set(title=title, xlabel="share of trades, %", xlim=(0, 100))
        axes.grid(axis="y", visible=False)
        legend_below(figure, 4)
        return png_of(figure)


def means_with_intervals(frame: pd.DataFrame, title: str, label: str) -> bytes:
    """Means with their intervals, one point a row, coloured by name, with a gap between blocks.

    Parameters
    ----------
    frame
        columns ``block``, ``name``, ``series`` (decides the colour), ``value``, ``low``, ``high`` (fractions; bounds
        may be missing), in the order to draw
    title, label
        of the plot and of its horizontal axis

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "means_with_intervals")
    at = np.arange(len(frame)) + 0.6 * _blocks(frame["block"])
    colours = dict(zip(dict.fromkeys(frame["series"]), SERIES_COLOURS, strict=False))
    with styled():
        figure, (axes,) = side_by_side(700, 110 + 21 * len(frame), 1)
        axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
        for y, row in zip(at, frame.to_dict("records"), strict=True):
            colour = colours[row["series"]]
            axes.plot([100 * row["low"], 100 * row["high"]], [y, y], color=colour, linewidth=2.2, alpha=0.6, zorder=2)
            axes.plot(100 * row["value"], y, "o", color=colour, markeredgecolor="white", markersize=6.5, zorder=3)
            text = f"{100 * row['value']:+.0f}"
            axes.annotate(
                text, (100 * row["value"], y), xytext=(0, 4.5), textcoords="offset points", fontsize=7, ha="center"
            )
        axes.set_yticks(at, list(frame["name"]))
        axes.invert_yaxis()
        axes.margins(y=0.04)
        axes.set(title=title, xlabel=label)
        axes.grid(axis="y", visible=False)
        return png_of(figure)


def agreement(same: npt.ArrayLike, confusion: npt.ArrayLike, names: Sequence[str], pair: tuple[str, str]) -> bytes:
    """Pairwise agreement of definitions, and the confusion of one pair.

    Parameters
    ----------
    same
        share of trades in the same class, shape (k, k), symmetric
    confusion
        share of all trades by class of the first (row) and second (column) definition of `pair`, shape (4, 4)
    names
        of the definitions, length k
    pair
        the two definitions of `confusion`

    Returns
    -------
    PNG bytes
    """
    shares, joint = np.asarray(same, dtype=np.float64), np.asarray(confusion, dtype=np.float64)
    if shares.shape != (len(names), len(names)) or joint.shape != (4, 4):
        raise DataError(
            f"agreement has shapes {shares.shape} and {joint.shape}, expected ({len(names)}, {len(names)}) and (4, 4)"
        )
    with styled():
        figure, (left, right) = side_by_side(700, 330, 2)
        _heat(left, shares, list(names), list(names), "Same class, % of trades")
        _heat(right, joint, list(CLASS_NAMES), list(CLASS_NAMES), f"Class by {pair[0]} and {pair[1]}, % of trades")
        left.set(xlabel="definition", ylabel="definition")
        right.set(xlabel=f"class by {pair[1]}", ylabel=f"class by {pair[0]}")
        return png_of(figure)


def label_sensitivity(frame: pd.DataFrame) -> bytes:
    """Share of labels that change and mean shift of the return, by shift of the volatilities.

    Parameters
    ----------
    frame
        columns ``name``, ``changed_class``, ``roi_shift``, ``roi_shift_low``, ``roi_shift_high`` (fractions), in the
        order to draw

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "label_sensitivity")
    at = np.arange(len(frame))
    with styled():
        figure, (left, right) = side_by_side(700, 110 + 26 * len(frame), 2)
        bars = left.barh(at, 100 * frame["changed_class"], color=BLUE, height=0.62)
        left.bar_label(bars, [f" {100 * share:.1f}" for share in frame["changed_class"]], fontsize=8)
        left.set_yticks(at, list(frame["name"]))
        left.set(title="Labels that change class", xlabel="% of trades")
        left.margins(x=0.15)
        shift, low, high = (100 * frame[name].to_numpy(np.float64) for name in _bounds("roi_shift"))
        right.axvline(0, color=MUTED, linewidth=0.9)
        right.hlines(at, low, high, color=ORANGE, linewidth=2.2, alpha=0.6)
        right.plot(shift, at, "o", color=ORANGE, markeredgecolor="white")
        right.set_yticks(at, [""] * len(at))
        right.set(title="Shift of the mean ROI", xlabel="points of the debit, 95 % over episodes")
        for axes in (left, right):
            axes.invert_yaxis()
            axes.grid(axis="y", visible=False)
        return png_of(figure)


def tent_against_mark(bars: pd.DataFrame, distances: pd.DataFrame) -> bytes:
    """What the tent manufactures: means beside those of a market without edge, and ROI by distance from the centre.

    Parameters
    ----------
    bars
        columns ``name``, ``tent``, ``mark`` (fractions), in the order to draw
    distances
        columns ``distance`` (in widths), ``mean_tent``, ``mean_expiry``, ``mean_mark`` (fractions), ascending

    Returns
    -------
    PNG bytes
    """
    need_rows(bars, "tent_against_mark")
    at = np.arange(len(bars))
    with styled():
        figure, (left, right) = side_by_side(700, 330, 2)
        for offset, name, colour in ((-0.2, "tent", ORANGE), (0.2, "mark", BLUE)):
            drawn = left.bar(at + offset, 100 * bars[name], 0.38, color=colour, label=name)
            left.bar_label(drawn, [f"{100 * value:+.0f}" for value in bars[name]], fontsize=7.5)
        left.axhline(0, color=MUTED, linewidth=0.9)
        left.set_xticks(at, list(bars["name"]), fontsize=8)
        left.margins(y=0.12)
        left.set(title="Mean ROI, % of the debit", xlabel="VIX stratum; no edge: expected on a fair market")
        left.grid(axis="x", visible=False)
        for name, colour in (("tent", ORANGE), ("expiry", GREEN), ("mark", BLUE)):
            right.plot(
                distances["distance"], 100 * distances[f"mean_{name}"], "o-", color=colour, markersize=4, label=name
            )
        right.axhline(0, color=MUTED, linewidth=0.9)
        right.axvline(1, color=MUTED, linewidth=0.8, linestyle=DASHED)
        right.set(title="Mean ROI by exit price, %", xlabel="|S' - K| in widths (dashed: the wing)")
        right.legend(loc="upper right")
        return png_of(figure)


def roi_by_quintile(frame: pd.DataFrame, title: str) -> bytes:
    """Mean return by quintile, one line with interval a series.

    Parameters
    ----------
    frame
        columns ``series``, ``quintile`` (1 .. 5), ``value``, ``low``, ``high`` (fractions)
    title
        of the plot

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "roi_by_quintile")
    series = list(dict.fromkeys(frame["series"]))
    with styled():
        figure, (axes,) = side_by_side(700, 350, 1)
        axes.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
        for number, name in enumerate(series):
            rows = frame[frame["series"] == name].sort_values("quintile")
            x = rows["quintile"].to_numpy(np.float64) + 0.09 * (number - (len(series) - 1) / 2)
            value, low, high = (100 * rows[column].to_numpy(np.float64) for column in ("value", "low", "high"))
            colour = SERIES_COLOURS[number]
            axes.vlines(x, low, high, color=colour, linewidth=2.2, alpha=0.45)
            axes.plot(x, value, "o-", color=colour, markeredgecolor="white", label=name, linewidth=1.4)
        axes.set_xticks(range(1, 6), ["1 (options cheap)", "2", "3", "4", "5 (options dear)"])
        axes.set(title=title, xlabel="quintile of vol_mispricing (bars: 95 % over episodes)", ylabel="mean roi_mark, %")
        axes.grid(axis="x", visible=False)
        legend_below(figure, len(series))
        return png_of(figure)


def wing_rules(frame: pd.DataFrame) -> bytes:
    """Width over spot, debit over width and share of losers by price of the underlying, one line a rule.

    Parameters
    ----------
    frame
        columns ``rule``, ``bucket``, ``width_over_spot`` with ``_low`` and ``_high``, ``debit_over_width``,
        ``share_0`` (fractions), buckets in the order to draw

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "wing_rules")
    buckets = list(dict.fromkeys(frame["bucket"]))
    panels = (
        ("width_over_spot", "Width, % of spot"),
        ("debit_over_width", "Debit, % of width"),
        ("share_0", "Lowest class, %"),
    )
    with styled():
        figure, all_axes = side_by_side(700, 320, 3)
        for axes, (column, title) in zip(all_axes, panels, strict=True):
            for rule, colour in zip(dict.fromkeys(frame["rule"]), (BLUE, ORANGE), strict=False):
                rows = frame[frame["rule"] == rule].set_index("bucket").reindex(buckets)
                at = np.arange(len(buckets))
                if f"{column}_low" in rows:
                    low, high = (100 * rows[f"{column}_{side}"].to_numpy(np.float64) for side in ("low", "high"))
                    axes.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)
                label = rule if axes is all_axes[0] else None
                axes.plot(at, 100 * rows[column], "o-", color=colour, markersize=4.5, label=label)
            axes.set_xticks(range(len(buckets)), buckets, rotation=60, ha="right", fontsize=7.5)
            axes.set(title=title)
            axes.set_ylim(bottom=0)
        all_axes[0].set(xlabel="(band: 5-95 % of trades)")
        all_axes[1].set(xlabel="price of the underlying, USD")
        legend_below(figure, 2)
        return png_of(figure)


def _blocks(names: pd.Series) -> Floats:
    """Number of each row's block, counted where the name changes."""
    return np.asarray((names != names.shift()).cumsum() - 1, dtype=np.float64)


def _bounds(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _heat(axes: Axes, shares: Floats, rows: list[str], columns: list[str], title: str) -> None:
    image: Any = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    image.set_rasterized(True)
    for i, j in np.ndindex(*shares.shape):
        colour = "white" if shares[i, j] > 0.55 else INK
        axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_title(title, fontsize=9)
    bare_cells(axes)
