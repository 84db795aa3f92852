"""Small plots for assets: frames in, PNG bytes out, the same bytes for the same frame.

What belongs here: drawing what samples, labels and training gave. What does not: computing what is drawn, beyond
counting and binning; what all plots share (`drawing`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    PALE_BLUE,
    RED,
    bare_cells,
    legend_below,
    need_rows,
    one_panel,
    png_of,
    styled,
)
from butterquant_assets.foundation.errors import DataError

if TYPE_CHECKING:
    pass

STRATUM_COLOURS = {"low": GREEN, "normal": BLUE, "high": RED}
RELIABILITY_BINS = 10


def strata_over_time(days: pd.DataFrame) -> bytes:
    """VIX by session, coloured by stratum; sampled sessions are marked.

    Parameters
    ----------
    days
        columns ``session`` (datetime), ``vix_close`` (points), ``stratum`` (``low``, ``normal``, ``high``), ``taken``
        (bool)

    Returns
    -------
    PNG bytes
    """
    need_rows(days, "strata_over_time")
    with styled():
        figure, axes = one_panel(700, 300)
        for level in (15, 25):
            axes.axhline(level, color=MUTED, linewidth=0.8, linestyle=DASHED, zorder=1)
        for stratum, colour in STRATUM_COLOURS.items():
            part = days[days["stratum"] == stratum]
            taken = part[part["taken"].astype(bool)]
            axes.scatter(part["session"], part["vix_close"], s=3, color=colour, alpha=0.35, linewidths=0, zorder=2)
            label = f"{stratum}: {len(taken):,} of {len(part):,} taken"
            axes.scatter(
                taken["session"], taken["vix_close"], s=26, color=colour, edgecolors="white", linewidths=0.7,
                label=label, zorder=3,
            )  # fmt: skip
        axes.set(title="Sampled sessions by VIX stratum", ylabel="VIX close, points")
        axes.grid(axis="x", visible=False)
        legend_below(figure, 3)
        return png_of(figure)


def label_distribution(frame: pd.DataFrame) -> bytes:
    """Share of each class under every label definition, one stacked bar per ``label_*`` column.

    Parameters
    ----------
    frame
        columns ``label_*`` with classes 0 .. 3; missing labels are left out

    Returns
    -------
    PNG bytes
    """
    columns = _columns(frame, "label_")
    shares = np.array([_class_shares(frame[column]) for column in columns])
    with styled():
        figure, axes = one_panel(700, 110 + 42 * len(columns))
        rows = range(len(columns))
        start = np.zeros(len(columns))
        for k, name in enumerate(CLASS_NAMES):
            bars = axes.barh(rows, shares[:, k], left=start, color=CLASS_COLOURS[k], label=name, height=0.66)
            texts = [f"{share:.0f} %" if share >= 4 else "" for share in shares[:, k]]
            axes.bar_label(bars, texts, label_type="center", fontsize=8.5, color="white" if k in (0, 3) else INK)
            start += shares[:, k]
        counts = [int(frame[column].notna().sum()) for column in columns]
        names = [f"{column.removeprefix('label_')} ({n:,})" for column, n in zip(columns, counts, strict=True)]
        axes.set_yticks(rows, names)
        axes.invert_yaxis()
        axes.set(title="Classes by label definition (rows)", xlabel="share of rows, %", xlim=(0, 100))
        axes.grid(axis="y", visible=False)
        legend_below(figure, 4)
        return png_of(figure)


def roi_by_definition(frame: pd.DataFrame) -> bytes:
    """Quantiles of each ``roi_*`` column: 5-95 % as a line, 25-75 % as a box, median and mean as marks.

    Parameters
    ----------
    frame
        columns ``roi_*`` as fractions of the debit; missing values are left out

    Returns
    -------
    PNG bytes
    """
    columns = _columns(frame, "roi_")
    with styled():
        figure, axes = one_panel(700, 110 + 42 * len(columns))
        axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
        for row, column in enumerate(columns):
            values = 100 * frame[column].dropna().to_numpy(dtype=np.float64)
            if not values.size:
                raise DataError(f"{column} has no value; nothing can be drawn")
            low, first, median, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
            axes.plot([low, high], [row, row], color=BLUE, linewidth=1.4, zorder=2)
            axes.barh(row, third - first, left=first, height=0.5, color=PALE_BLUE, edgecolor=BLUE, zorder=3)
            axes.plot([median, median], [row - 0.25, row + 0.25], color=INK, linewidth=1.8, zorder=4)
            axes.plot(values.mean(), row, marker="D", markersize=5, color=ORANGE, markeredgecolor="white", zorder=5)
        means = [100 * float(frame[column].mean()) for column in columns]
        names = [
            f"{column.removeprefix('roi_')} (mean {mean:+.0f} %)" for column, mean in zip(columns, means, strict=True)
        ]
        axes.set_yticks(range(len(columns)), names)
        axes.invert_yaxis()
        axes.set(title="Return on the debit by definition", xlabel="%: line 5-95, box 25-75, bar median, diamond mean")
        axes.grid(axis="y", visible=False)
        return png_of(figure)


def confusion_matrix(matrix: npt.ArrayLike, class_names: Sequence[str]) -> bytes:
    """Counts by true and predicted class; colour is the share of the true class.

    Parameters
    ----------
    matrix
        counts, true class by row, predicted class by column, shape (k, k)
    class_names
        length k

    Returns
    -------
    PNG bytes
    """
    counts = np.asarray(matrix, dtype=np.int64)
    k = len(class_names)
    if counts.shape != (k, k):
        raise DataError(f"the confusion matrix has shape {counts.shape}, expected ({k}, {k}) for the class names given")
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    with styled():
        figure, axes = one_panel(520, 400)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, j in np.ndindex(k, k):
            text = f"{counts[i, j]:,}\n{100 * shares[i, j]:.0f} %" if total[i, 0] else f"{counts[i, j]}\nno rows"
            axes.text(j, i, text, ha="center", va="center", color="white" if shares[i, j] > 0.55 else INK)
        axes.set_xticks(range(k), [textwrap.fill(name, 11) for name in class_names])
        axes.set_yticks(range(k), list(class_names))
        axes.set(title="Rows by true and predicted class", xlabel="predicted", ylabel="true")
        bare_cells(axes)
        return png_of(figure)


def training_curves(history: pd.DataFrame) -> bytes:
    """Training and validation log-loss by epoch; the lowest validation loss is marked.

    Parameters
    ----------
    history
        columns ``epoch``, ``train_loss``, ``validation_loss`` (nats)

    Returns
    -------
    PNG bytes
    """
    from matplotlib.ticker import MaxNLocator

    need_rows(history, "training_curves")
    best = history.iloc[int(history["validation_loss"].argmin())]
    with styled():
        figure, axes = one_panel(700, 300)
        axes.plot(history["epoch"], history["train_loss"], color=BLUE, linewidth=1.6, label="training")
        axes.plot(history["epoch"], history["validation_loss"], color=ORANGE, linewidth=1.6, label="validation")
        axes.axvline(best["epoch"], color=MUTED, linewidth=0.8, linestyle=DASHED)
        label = f"kept: epoch {int(best['epoch'])}, {best['validation_loss']:.3f}"
        axes.plot(best["epoch"], best["validation_loss"], "o", color=ORANGE, markeredgecolor="white", label=label)
        axes.set(title="Log-loss by epoch", xlabel="epoch", ylabel="nats")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best")
        return png_of(figure)


def reliability(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> bytes:
    """Observed frequency against stated probability, over all classes, in ten bins, with 90 % binomial bands.

    Parameters
    ----------
    probabilities
        shape (n, k), rows sum to 1
    labels
        classes 0 .. k - 1, shape (n,)

    Returns
    -------
    PNG bytes
    """
    stated = np.asarray(probabilities, dtype=np.float64)
    if not stated.size:
        raise DataError("there are no probabilities; nothing can be drawn")
    happened = (np.asarray(labels)[:, None] == np.arange(stated.shape[1])).ravel()
    stated = stated.ravel()
    bucket = np.clip((stated * RELIABILITY_BINS).astype(np.int64), 0, RELIABILITY_BINS - 1)
    counts = np.bincount(bucket, minlength=RELIABILITY_BINS)
    used = counts > 0
    mean = np.bincount(bucket, weights=stated, minlength=RELIABILITY_BINS)[used] / counts[used]
    frequency = np.bincount(bucket, weights=happened, minlength=RELIABILITY_BINS)[used] / counts[used]
    width = 1.645 * np.sqrt(mean * (1 - mean) / counts[used])
    with styled():
        figure, axes = one_panel(520, 400)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1)
        axes.errorbar(
            mean, mean, yerr=width, fmt="none", ecolor=PALE_BLUE, elinewidth=5, zorder=2,
            label="chance, 90 % (were rows independent)",
        )  # fmt: skip
        axes.plot(mean, frequency, "o-", color=BLUE, markeredgecolor="white", linewidth=1.4, zorder=3, label="observed")
        for x, y, count in zip(mean, frequency, counts[used], strict=True):
            axes.annotate(f"{count:,}", (x, y), xytext=(7, -10), textcoords="offset points", fontsize=7.5, color=MUTED)
        axes.set(
            title="Reliability (numbers: forecasts in the bin)",
            xlabel="stated probability",
            ylabel="observed frequency",
        )
        axes.set(xlim=(-0.02, 1.04), ylim=(-0.05, 1.07))
        axes.legend(loc="upper left")
        return png_of(figure)


def _columns(frame: pd.DataFrame, prefix: str) -> list[str]:
    columns = [str(column) for column in frame.columns if str(column).startswith(prefix)]
    if not columns:
        raise DataError(f"there is no {prefix}* column among {', '.join(map(str, frame.columns))}")
    need_rows(frame, f"{prefix}* plot")
    return columns


def _class_shares(labels: pd.Series) -> npt.NDArray[np.float64]:
    known = labels.dropna().to_numpy(dtype=np.int64)
    if not known.size:
        raise DataError(f"{labels.name} has no label; nothing can be drawn")
    shares: npt.NDArray[np.float64] = 100.0 * np.bincount(known, minlength=len(CLASS_NAMES)) / known.size
    return shares
