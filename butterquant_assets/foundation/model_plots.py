"""Plots of a trained model: figures already computed in, PNG bytes out, the same bytes for the same figures.

What belongs here: drawing what training, calibration and evaluation found. What does not: computing it, and studies of
hyper-parameters (`study_plots`). Style, size and encoding are those of `drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    PALE_BLUE,
    RED,
    blank_figure,
    legend_below,
    need_rows,
    one_panel,
    png_of,
    styled,
)
from butterquant_assets.foundation.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]

MEMBER_COLOURS = {"base": "#b9b9b9", "mlp": BLUE, "xgboost": ORANGE, "lightgbm": GREEN, "logistic": RED}
OTHER_COLOURS = ("#8a6fae", "#4aa3a2", "#c9a227", "#9c6b4e", INK)
NORMAL_95 = 1.645  # two-sided 90 %
MOST_TICKS = 12


def class_reliability(table: pd.DataFrame, class_names: Sequence[str]) -> bytes:
    """Observed frequency against stated probability, one panel a class, with the rows of each bin beneath.

    Parameters
    ----------
    table
        columns ``class`` (0 .. k - 1), ``lower``, ``upper`` (bounds of the bin), ``count``, ``mean_predicted``,
        ``observed``; empty bins may be there or not
    class_names
        length k

    Returns
    -------
    PNG bytes
    """
    used = table[table["count"] > 0]
    need_rows(used, "class_reliability")
    unknown = sorted(set(used["class"]) - set(range(len(class_names))))
    if unknown:
        raise DataError(f"the reliability table has classes {unknown}, but {len(class_names)} class names were given")
    columns = min(len(class_names), 2)
    lines = -(-len(class_names) // columns)
    with styled():
        figure = blank_figure(7.0, 0.45 + 2.75 * lines)
        cells = figure.add_gridspec(lines, columns)
        for k, name in enumerate(class_names):
            inner = cells[divmod(k, columns)].subgridspec(2, 1, height_ratios=(4, 1), hspace=0.02)
            upper = figure.add_subplot(inner[0])
            lower = figure.add_subplot(inner[1], sharex=upper)
            _reliability_panel(upper, lower, used[used["class"] == k])
            upper.set_title(name)
            if k % columns == 0:
                upper.set_ylabel("observed frequency")
                lower.set_ylabel("rows")
            if k // columns == lines - 1:
                lower.set_xlabel("stated probability")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, columnspacing=1.6)
        return png_of(figure)


def fold_losses(folds: pd.DataFrame) -> bytes:
    """Log-loss of the model and of the geometry baseline by fold, and beneath their difference with its interval.

    Parameters
    ----------
    folds
        columns ``boundary`` (date or text), ``model``, ``geometry``, ``difference`` (geometry minus model: above 0 the
        model is better), ``low``, ``high`` (nats; bounds may be missing), in the order of time

    Returns
    -------
    PNG bytes
    """
    need_rows(folds, "fold_losses")
    at = np.arange(len(folds))
    model, geometry, difference, low, high = (
        folds[name].to_numpy(np.float64) for name in ("model", "geometry", "difference", "low", "high")
    )
    with styled():
        figure = blank_figure(7.0, 4.2)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        upper.plot(
            at - 0.09, geometry, "D", color=ORANGE, markersize=6, markeredgecolor="white", label="geometry baseline"
        )
        upper.plot(at + 0.09, model, "o", color=BLUE, markersize=7, markeredgecolor="white", label="model")
        upper.set(title="Out-of-fold log-loss by fold", ylabel="nats a row")
        upper.margins(y=0.15)
        legend_below(figure, 2)
        lower.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
        lower.vlines(at, low, high, color=BLUE, linewidth=2.4, alpha=0.5, zorder=2)
        lower.plot(at, difference, "o", color=BLUE, markeredgecolor="white", zorder=3)
        lower.set(title="Gain of the model (bars: 95 % over episodes)", ylabel="nats a row")
        lower.set_xlabel("first month of the fold's test rows")
        lower.margins(y=0.12)
        _month_ticks(lower, folds["boundary"])
        for axes in (upper, lower):
            axes.grid(axis="x", visible=False)
        return png_of(figure)


def importance(frame: pd.DataFrame, most: int = 25) -> bytes:
    """Increase of the held-out log-loss when a feature is permuted, largest first, with intervals.

    Parameters
    ----------
    frame
        columns ``feature``, ``increase``, ``low``, ``high`` (nats; bounds may be missing), in any order
    most
        how many features to draw

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "importance")
    shown = frame.sort_values(["increase", "feature"], ascending=[False, True]).head(most)
    at = np.arange(len(shown))
    increase, low, high = (1000 * shown[name].to_numpy(np.float64) for name in ("increase", "low", "high"))
    beyond = np.nan_to_num(low, nan=-1.0) > 0
    with styled():
        figure, axes = one_panel(700, 100 + 19 * len(shown))
        axes.barh(at, increase, height=0.68, color=np.where(beyond, BLUE, PALE_BLUE).tolist(), zorder=2)
        axes.hlines(at, low, high, color=INK, linewidth=1.1, zorder=3)
        axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
        axes.set_yticks(at, list(shown["feature"]))
        axes.invert_yaxis()
        axes.margins(y=0.015)
        title = "Permutation importance on held-out rows"
        axes.set(title=title, xlabel="increase of the log-loss, thousandths of a nat (dark: interval above 0)")
        axes.grid(axis="y", visible=False)
        return png_of(figure)


def ensemble_weights(frame: pd.DataFrame) -> bytes:
    """Weight of each member by vintage, stacked to 1.

    Parameters
    ----------
    frame
        columns ``boundary`` (date or text), ``member``, ``weight`` (a member absent from a vintage weighs 0), vintages
        in the order of time

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "ensemble_weights")
    vintages = list(dict.fromkeys(frame["boundary"]))
    members = list(dict.fromkeys(frame["member"]))
    table = frame.pivot_table(index="boundary", columns="member", values="weight", aggfunc="sum").reindex(vintages)
    at = np.arange(len(vintages))
    others = iter(OTHER_COLOURS * len(members))
    with styled():
        figure, axes = one_panel(700, 280)
        start = np.zeros(len(vintages))
        for member in members:
            weight = np.nan_to_num(table[member].to_numpy(np.float64))
            colour = MEMBER_COLOURS.get(member) or next(others)
            bars = axes.bar(at, weight, bottom=start, width=0.72, color=colour, edgecolor="white", label=member)
            if len(vintages) <= MOST_TICKS:
                texts = [f"{share:.2f}" if share >= 0.08 else "" for share in weight]
                axes.bar_label(bars, texts, label_type="center", fontsize=8, color=INK if member == "base" else "white")
            start += weight
        _month_ticks(axes, pd.Series(vintages))
        axes.set(title="Ensemble weights by vintage", xlabel="first month the vintage served", ylim=(0, 1))
        axes.set_ylabel("weight")
        axes.set_xlim(-0.6, max(len(vintages), 6) - 0.4)
        axes.grid(axis="x", visible=False)
        legend_below(figure, min(len(members), 6))
        return png_of(figure)


def calibration_methods(frame: pd.DataFrame) -> bytes:
    """Out-of-fold log-loss and calibration error of each calibration method; the chosen one is filled.

    Parameters
    ----------
    frame
        columns ``method``, ``log_loss`` (nats), ``ece`` (fraction), ``chosen`` (bool), in the order to draw; methods
        without a log-loss are left out

    Returns
    -------
    PNG bytes
    """
    frame = frame[frame["log_loss"].notna()]
    need_rows(frame, "calibration_methods")
    at = np.arange(len(frame))
    chosen = frame["chosen"].to_numpy(dtype=bool)
    with styled():
        figure = blank_figure(7.0, 0.95 + 0.27 * len(frame))
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, column, factor, title, form in (
            (left, "log_loss", 1, "Log-loss out of fold, nats", "{:.4f}"),
            (right, "ece", 100, "Calibration error (ECE), %", "{:.1f}"),
        ):
            values = factor * frame[column].to_numpy(np.float64)
            span = float(np.nanmax(values) - np.nanmin(values)) or abs(float(values[0])) or 1.0
            for y, value, filled in zip(at, values, chosen, strict=True):
                axes.plot(
                    value, y, "o", markersize=8, color=BLUE, markerfacecolor=BLUE if filled else "white", zorder=3
                )
                axes.annotate(form.format(value), (value, y), xytext=(8, -3), textcoords="offset points", fontsize=8)
            axes.set_xlim(float(np.nanmin(values)) - 0.12 * span, float(np.nanmax(values)) + 0.38 * span)
            axes.set_title(title)
            axes.grid(axis="x", visible=False)
        left.set_yticks(
            at, [f"{name} (chosen)" if yes else name for name, yes in zip(frame["method"], chosen, strict=True)]
        )
        left.invert_yaxis()
        left.margins(y=0.12)
        return png_of(figure)


def expected_roi(frame: pd.DataFrame) -> bytes:
    """Realised against expected return by bin of the expected return, with intervals and the trades of each bin.

    Parameters
    ----------
    frame
        columns ``expected``, ``realised``, ``low``, ``high`` (fractions of the debit; bounds may be missing), ``rows``

    Returns
    -------
    PNG bytes
    """
    need_rows(frame, "expected_roi")
    expected, realised, low, high = (
        100 * frame[name].to_numpy(np.float64) for name in ("expected", "realised", "low", "high")
    )
    ends = _padded(np.concatenate([expected, realised]), 0.12)
    with styled():
        figure, axes = one_panel(520, 380)
        axes.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
        axes.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1, label="as expected")
        axes.vlines(expected, low, high, color=BLUE, linewidth=2.4, alpha=0.45, zorder=2, label="95 % over episodes")
        axes.plot(
            expected, realised, "o-", color=BLUE, markeredgecolor="white", linewidth=1.4, zorder=3, label="realised"
        )
        for x, y, rows in zip(expected, np.fmax(high, realised), frame["rows"], strict=True):
            axes.annotate(
                f"{rows:,}", (x, y), xytext=(0, 5), textcoords="offset points", fontsize=7.5, color=MUTED, ha="center"
            )
        axes.set(title="Return expected and realised (numbers: trades)", xlabel="expected, % of the debit")
        axes.set_ylabel("realised after costs, % of the debit")
        axes.legend(loc="best")
        return png_of(figure)


def _reliability_panel(upper: Axes, lower: Axes, rows: pd.DataFrame) -> None:
    stated, observed, count = (rows[name].to_numpy(np.float64) for name in ("mean_predicted", "observed", "count"))
    edges = rows["upper"].to_numpy(np.float64)
    end = float(max([0.1, *edges, *observed])) + 0.03
    band = NORMAL_95 * np.sqrt(stated * (1 - stated) / count)
    upper.plot([0, end], [0, end], color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1, label="perfect")
    upper.vlines(
        stated, np.maximum(stated - band, 0), np.minimum(stated + band, 1), color=PALE_BLUE, linewidth=5, zorder=2,
        label="chance, 90 % (were rows independent)",
    )  # fmt: skip
    upper.plot(stated, observed, "o-", color=BLUE, markeredgecolor="white", linewidth=1.3, zorder=3, label="observed")
    upper.set(xlim=(0, end), ylim=(0, end))
    upper.tick_params(labelbottom=False)
    width = edges - rows["lower"].to_numpy(np.float64)
    lower.bar(edges - width, count, width, align="edge", color=PALE_BLUE, edgecolor="white")
    lower.set_ylim(0, float(max([1.0, *count])) * 1.15)
    lower.yaxis.set_major_locator(_few_ticks())
    lower.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=2, integer=True)


def _month_ticks(axes: Axes, boundaries: pd.Series) -> None:
    """Months as labels, thinned so that they do not touch."""
    names = [value.strftime("%Y-%m") if hasattr(value, "strftime") else str(value) for value in boundaries]
    every = -(-len(names) // MOST_TICKS)
    axes.set_xticks(range(0, len(names), every), names[::every], fontsize=8)


def _padded(values: Floats, share: float) -> Floats:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = share * ((high - low) or 1.0)
    return np.array([low - room, high + room])
