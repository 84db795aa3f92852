"""Plots of monitoring over time: figures already computed in, PNG bytes out, the same bytes for the same figures.

What belongs here: drawing drift, regime and decay by month. What does not: judging them. Style, size and encoding are
those of `drawing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.drawing import (
    BLUE,
    DASHED,
    INK,
    MUTED,
    ORANGE,
    RED,
    legend_below,
    need_rows,
    png_of,
    side_by_side,
    styled,
    year_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_MONTHS = 36

Floats = npt.NDArray[np.float64]


def drift_over_time(table: pd.DataFrame, title: str) -> bytes:
    """Every column's statistic over its threshold by month, as a heat map; alarms are marked.

    Parameters
    ----------
    table
        columns ``month`` (datetime), ``column``, ``statistic``, ``threshold`` (may be missing), ``alarm``; the newest
        36 months are drawn
    title
        of the plot

    Returns
    -------
    PNG bytes
    """
    need_rows(table, "drift_over_time")
    months = sorted(table["month"].unique())[-SHOWN_MONTHS:]
    shown = table[table["month"].isin(months)].assign(ratio=lambda frame: frame["statistic"] / frame["threshold"])
    columns = list(dict.fromkeys(shown["column"]))
    ratio = shown.pivot_table(index="column", columns="month", values="ratio", dropna=False).reindex(
        index=columns, columns=months
    )
    marks = shown[shown["alarm"]]
    with styled():
        figure, (axes,) = side_by_side(700, 110 + 15 * len(columns), 1)
        drawn = axes.imshow(ratio.to_numpy(dtype=np.float64), cmap="YlOrRd", vmin=0.0, vmax=1.5, aspect="auto")
        at = [months.index(month) for month in marks["month"]]
        axes.plot(at, [columns.index(name) for name in marks["column"]], "o", color=INK, markersize=4)
        axes.set_yticks(range(len(columns)), columns, fontsize=7.5)
        _month_ticks(axes, months)
        axes.grid(visible=False)
        axes.set(title=title)
        figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02, label="statistic / threshold")
        return png_of(figure)


def regime_over_time(table: pd.DataFrame) -> bytes:
    """VIX, move of single stocks and how much they move together, by month beside the months before; alarms in red.

    Parameters
    ----------
    table
        columns ``month``, ``metric`` (``vix_level`` in points, ``realised_vol`` a year, ``correlation`` 0 .. 1),
        ``value``, ``reference`` (may be missing), ``alarm``

    Returns
    -------
    PNG bytes
    """
    need_rows(table, "regime_over_time")
    titles = {"vix_level": "VIX, points", "realised_vol": "Stock moves, % a year", "correlation": "Moving together, %"}
    with styled():
        figure, panels = side_by_side(700, 300, 3)
        for axes, (metric, title) in zip(panels, titles.items(), strict=True):
            rows = table[table["metric"] == metric].sort_values("month")
            times = 1.0 if metric == "vix_level" else 100.0
            first = axes is panels[0]
            axes.plot(rows["month"], times * rows["value"], color=BLUE, linewidth=1.2, label="month" if first else None)
            axes.plot(
                rows["month"],
                times * rows["reference"],
                color=MUTED,
                linewidth=1.1,
                linestyle=DASHED,
                label="sessions before" if first else None,
            )
            alarm = rows[rows["alarm"]]
            axes.plot(alarm["month"], times * alarm["value"], "o", color=RED, markersize=4.5)
            axes.set(title=title)
            year_ticks(axes, 5)
        panels[0].plot([], [], "o", color=RED, markersize=4.5, label="regime change")
        legend_below(figure, 3)
        return png_of(figure)


def calibration_over_time(table: pd.DataFrame) -> bytes:
    """Log-loss of live predictions less what was promised, with its interval, and calibration error, by month.

    Parameters
    ----------
    table
        columns ``month``, ``excess``, ``low``, ``high`` (nats; may be missing), ``ece``, ``ece_limit``, ``alarm``

    Returns
    -------
    PNG bytes
    """
    need_rows(table, "calibration_over_time")
    rows = table.sort_values("month")
    at = np.arange(len(rows))
    with styled():
        figure, (left, right) = side_by_side(700, 310, 2)
        _intervals(left, at, rows, "excess")
        left.set(title="Log-loss less promised, nats")
        right.plot(at, rows["ece"], "o-", color=BLUE, markersize=4, linewidth=1.2, label="calibration error")
        right.plot(at, rows["ece_limit"], color=MUTED, linestyle=DASHED, linewidth=1.1, label="95 % by chance")
        right.set(title="Calibration error", ylim=(0, None))
        for axes in (left, right):
            _month_ticks(axes, list(rows["month"]))
        legend_below(figure, 3)
        return png_of(figure)


def decisions_over_time(table: pd.DataFrame) -> bytes:
    """Realised less expected ROI over the last months, with its interval: of decisions taken and of all candidates.

    Parameters
    ----------
    table
        columns ``month``, ``track`` (``ai``, ``all_candidates``), ``trailing``, ``low``, ``high`` (fractions; may be
        missing), ``trailing_decisions``, ``alarm``

    Returns
    -------
    PNG bytes
    """
    need_rows(table, "decisions_over_time")
    titles = {"ai": "Taken by the AI track", "all_candidates": "All candidates"}
    with styled():
        figure, panels = side_by_side(700, 310, 2)
        for axes, (track, title) in zip(panels, titles.items(), strict=True):
            rows = table[table["track"] == track].sort_values("month")
            scaled = rows.assign(**{name: 100 * rows[name] for name in ("trailing", "low", "high")})
            _intervals(axes, np.arange(len(rows)), scaled, "trailing", named=axes is panels[0])
            count = int(rows["trailing_decisions"].iloc[-1]) if len(rows) else 0
            axes.set(title=f"{title} ({count:,})")
            _month_ticks(axes, list(rows["month"]))
        panels[0].set(ylabel="realised less expected ROI, points")
        legend_below(figure, 2)
        return png_of(figure)


def _intervals(axes: Axes, at: npt.NDArray[np.int64], rows: pd.DataFrame, name: str, *, named: bool = True) -> None:
    alarm = rows["alarm"].to_numpy(dtype=bool)
    values, low, high = (rows[column].to_numpy(dtype=np.float64) for column in (name, "low", "high"))
    axes.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
    axes.vlines(at, low, high, color=BLUE, linewidth=2.4, alpha=0.4, zorder=2)
    axes.plot(at, values, "o", color=BLUE, markersize=5, zorder=3, label="by month, with interval" if named else None)
    axes.plot(at[alarm], values[alarm], "o", color=ORANGE, markersize=6.5, zorder=4, label="alarm" if named else None)


def _month_ticks(axes: Axes, months: list[Any]) -> None:
    step = max(1, -(-len(months) // 8))
    at = range(0, len(months), step)
    axes.set_xticks(list(at), [f"{pd.Timestamp(months[k]):%Y-%m}" for k in at], fontsize=7, rotation=30)
