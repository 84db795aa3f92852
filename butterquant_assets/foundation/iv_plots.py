"""Plots of the report on volatility proxies: figures already computed in, PNG bytes out, the same bytes for the same.

What belongs here: drawing what the report found. What does not: computing it. Style, size and encoding are those of
`drawing`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from butterquant_assets.foundation.drawing import (
    BLUE,
    DASHED,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PALE_RED,
    RED,
    blank_figure,
    legend_below,
    need_rows,
    one_panel,
    png_of,
    styled,
)

MODEL_COLOURS = (RED, PALE_RED, ORANGE, GREEN, BLUE, MUTED)
SMILE_COLOURS = {"chain": INK, "smooth": BLUE, "document": ORANGE, "flat": GREEN}


def level_errors_by_year(errors: pd.DataFrame) -> bytes:
    """Median absolute error of each level model, one group of bars a year and one for all years.

    Parameters
    ----------
    errors
        columns ``model``, ``year``, ``error`` (ln of model over published)

    Returns
    -------
    PNG bytes
    """
    need_rows(errors, "level_errors_by_year")
    size = errors.assign(error=100.0 * errors["error"].abs())
    by_year = size.pivot_table(index="model", columns="year", values="error", aggfunc="median", sort=False)
    by_year["all"] = size.groupby("model")["error"].median()
    places = np.arange(by_year.shape[1])
    width = 0.8 / len(by_year)
    with styled():
        figure, axes = one_panel(700, 320)
        for number, (model, values) in enumerate(by_year.iterrows()):
            colour = MODEL_COLOURS[number % len(MODEL_COLOURS)]
            label = f"{model}: {values['all']:.1f} %"
            axes.bar(places + (number - (len(by_year) - 1) / 2) * width, values, width, color=colour, label=label)
        axes.set_xticks(places, [str(year) for year in by_year.columns])
        axes.set(title="Error of the at-the-money level against published volatility", ylabel="median error, %")
        axes.grid(axis="x", visible=False)
        legend_below(figure, 3)
        return png_of(figure)


def level_scatter(points: pd.DataFrame) -> bytes:
    """Predicted against published volatility, both axes logarithmic, with the diagonal and +-20 %.

    Parameters
    ----------
    points
        columns ``predicted``, ``published`` (per year)

    Returns
    -------
    PNG bytes
    """
    need_rows(points, "level_scatter")
    predicted, published = (100.0 * points[name].to_numpy(dtype=np.float64) for name in ("predicted", "published"))
    ends = np.array([min(predicted.min(), published.min()) / 1.1, max(predicted.max(), published.max()) * 1.1])
    with styled():
        figure, axes = one_panel(460, 420)
        axes.scatter(predicted, published, s=4, color=BLUE, alpha=0.3, linewidths=0, rasterized=True)
        axes.plot(ends, ends, color=INK, linewidth=1.0)
        for factor in (1 / 1.2, 1.2):
            axes.plot(ends, ends * factor, color=MUTED, linewidth=0.8, linestyle=DASHED)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        ticks = [tick for tick in (10, 15, 20, 30, 40, 60, 80) if ends[0] <= tick <= ends[1]]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(ticks, [str(tick) for tick in ticks])
            axis.set_ticks([], minor=True)
        axes.set(title="Fitted level (dashed: 20 % off)", xlabel="predicted, % a year", ylabel="published, % a year")
        return png_of(figure)


def smile_curves(curves: pd.DataFrame) -> bytes:
    """Implied volatility over that at the money by moneyness: one panel per underlying, chain and proxies.

    Parameters
    ----------
    curves
        columns ``ticker``, ``model``, ``log_moneyness``, ``ratio`` (NaN where not quoted)

    Returns
    -------
    PNG bytes
    """
    need_rows(curves, "smile_curves")
    tickers = sorted(curves["ticker"].unique())
    columns = min(len(tickers), 4)
    lines = -(-len(tickers) // columns)
    with styled():
        figure = blank_figure(7.0, 0.7 + 2.2 * lines)
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for number, (axes, ticker) in enumerate(zip(panels, tickers, strict=False)):
            for model, colour in SMILE_COLOURS.items():
                part = curves[(curves["ticker"] == ticker) & (curves["model"] == model)]
                strike = 100.0 * np.exp(part["log_moneyness"].to_numpy(dtype=np.float64))
                label = model if number == 0 else None
                axes.plot(strike, part["ratio"], color=colour, linewidth=2.2 if model == "chain" else 1.3, label=label)
            axes.set(title=ticker, xlabel="strike, % of spot")
        for axes in panels[len(tickers) :]:
            axes.set_visible(False)
        panels[0].set_ylabel("IV / at-the-money IV")
        legend_below(figure, len(SMILE_COLOURS))
        return png_of(figure)


def debit_errors(table: pd.DataFrame, models: Sequence[str]) -> bytes:
    """Median absolute error of the debit by underlying and wing, one bar per smile; the quotes' half-spread as a mark.

    Parameters
    ----------
    table
        columns ``model``, ``group`` (``ticker | wing``), ``value`` (fraction of the debit); the model ``quotes`` holds
        the half-spread
    models
        smiles to draw, in order

    Returns
    -------
    PNG bytes
    """
    need_rows(table, "debit_errors")
    groups = sorted(table["group"].unique(), key=_group_order)
    values = 100.0 * table.pivot_table(index="group", columns="model", values="value").reindex(groups)
    places = np.arange(len(groups))
    width = 0.8 / len(models)
    with styled():
        figure, axes = one_panel(700, 330)
        for number, model in enumerate(models):
            place = places + (number - (len(models) - 1) / 2) * width
            axes.bar(place, values[model], width, color=SMILE_COLOURS[model], label=model)
        if "quotes" in values:
            axes.scatter(
                places, values["quotes"], marker="_", s=260, color=INK, linewidths=1.4,
                label="half-spread of the quotes (log scale)", zorder=4,
            )  # fmt: skip
        axes.set_xticks(places, [group.replace(" | ", "\n") for group in groups], fontsize=7.0)
        axes.set(title="Error of the debit, given the chain's own level", ylabel="median error, % of debit")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(axis="x", visible=False)
        legend_below(figure, len(models) + 1)
        return png_of(figure)


def _group_order(group: str) -> tuple[str, float]:
    """By ticker, then narrow wings first and rules in words last."""
    ticker, wing = group.split(" | ")
    share = wing.removesuffix(" %")
    return ticker, float(share) if share.replace(".", "").isdigit() else np.inf
