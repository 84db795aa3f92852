"""Plots of the volatility report: valid, small, the same bytes for the same figures."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.foundation import iv_plots
from butterquant_assets.foundation.errors import DataError


def errors() -> pd.DataFrame:
    random = np.random.default_rng(0)
    models, years = np.repeat(["a", "b", "c"], 500), np.tile(np.arange(2015, 2020), 300)
    return pd.DataFrame({"model": models, "year": years, "error": 0.1 * random.standard_normal(1500)})


def points() -> pd.DataFrame:
    published = 0.1 * np.exp(2.0 * np.random.default_rng(1).random(3000))
    return pd.DataFrame({"predicted": published * 1.1, "published": published})


def curves(tickers: int) -> pd.DataFrame:
    m = np.linspace(-0.15, 0.15, 31)
    parts = [
        pd.DataFrame({"ticker": f"T{number}", "model": model, "log_moneyness": m, "ratio": 1.0 - slope * m})
        for number in range(tickers)
        for model, slope in (("chain", 2.0), ("smooth", 1.0), ("document", 0.5), ("flat", 0.0))
    ]
    return pd.concat(parts)


def debits() -> pd.DataFrame:
    groups = [f"{ticker} | {wing}" for ticker in ("AAA", "all") for wing in ("2 %", "10 %", "own")]
    rows = [(model, group, 0.05) for model in ("smooth", "flat", "quotes") for group in groups]
    return pd.DataFrame(rows, columns=["model", "group", "value"])


DRAWN: dict[str, Callable[[], bytes]] = {
    "errors": lambda: iv_plots.level_errors_by_year(errors()),
    "scatter": lambda: iv_plots.level_scatter(points()),
    "one_smile": lambda: iv_plots.smile_curves(curves(1)),
    "six_smiles": lambda: iv_plots.smile_curves(curves(6)),
    "debits": lambda: iv_plots.debit_errors(debits(), ("smooth", "flat")),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_small_png_with_the_same_bytes_each_time(name: str) -> None:
    png = DRAWN[name]()
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.width <= 700
    assert len(png) < 60_000
    assert png == DRAWN[name]()


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        iv_plots.level_scatter(points()[:0])
