"""Plots of forecasts: valid, small, the same bytes for the same figures, and drawn from the figures given."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.foundation import forecast_plots
from butterquant_assets.foundation.drawing import MAX_BYTES
from butterquant_assets.foundation.errors import DataError


def ratios(shift: float = 0.0) -> pd.DataFrame:
    value = np.array([0.98, 0.95, 0.91, 1.05]) + shift
    frame = pd.DataFrame({"name": list("abcd"), "value": value, "low": value - 0.04, "high": value + 0.04})
    return frame.assign(low=frame["low"].where(frame["name"] != "b", -np.inf), high=frame["high"].replace(1.02, np.nan))


def folds(series: int = 6) -> pd.DataFrame:
    frame = pd.DataFrame({"fold": np.repeat([f"20{k:02d}-01-01" for k in range(10, 24)], series)})
    random = np.random.default_rng(0)
    return frame.assign(
        series=[f"predictor {k}" for k in range(series)] * 14, value=random.uniform(0.8, 1.2, 14 * series)
    )


def outcomes(n: int = 500) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    random = np.random.default_rng(1)
    realised = 0.2 * np.exp(0.5 * random.standard_normal(n))
    return realised, {name: realised * np.exp(0.3 * random.standard_normal(n)) for name in ("garch", "lightgbm")}


DRAWN: dict[str, Callable[[], bytes]] = {
    "ratios": lambda: forecast_plots.values_with_intervals(ratios(), "t", "l", 1.0, lower_is_better=True),
    "gains": lambda: forecast_plots.values_with_intervals(ratios(-1.0), "t", "l", 0.0, lower_is_better=False),
    "folds": lambda: forecast_plots.values_by_fold(folds(), "t", "l"),
    "one fold": lambda: forecast_plots.values_by_fold(folds().iloc[:6], "t", "l"),
    "outcomes": lambda: forecast_plots.forecast_and_outcome(*outcomes()),
    "few outcomes": lambda: forecast_plots.forecast_and_outcome(*outcomes(10)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_a_small_png_and_always_the_same(name: str) -> None:
    content = DRAWN[name]()
    assert DRAWN[name]() == content
    assert len(content) <= MAX_BYTES
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    assert len(set(image.convert("RGB").get_flattened_data())) > 10


def test_other_figures_give_another_plot() -> None:
    one = forecast_plots.values_with_intervals(ratios(), "t", "l", 1.0, lower_is_better=True)
    assert forecast_plots.values_with_intervals(ratios(0.01), "t", "l", 1.0, lower_is_better=True) != one
    assert forecast_plots.values_with_intervals(ratios(), "t", "l", 1.0, lower_is_better=False) != one
    realised, made = outcomes()
    assert forecast_plots.forecast_and_outcome(realised * 2, made) != forecast_plots.forecast_and_outcome(
        realised, made
    )


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(DataError, match="no rows to draw"):
        forecast_plots.values_with_intervals(ratios().iloc[:0], "t", "l", 1.0, lower_is_better=True)
    with pytest.raises(DataError, match="no rows to draw"):
        forecast_plots.values_by_fold(folds().iloc[:0], "t", "l")
    with pytest.raises(DataError, match="7 series cannot be told apart"):
        forecast_plots.values_by_fold(folds(7), "t", "l")
    with pytest.raises(DataError, match="5 forecasts do not fill 10 bins"):
        forecast_plots.forecast_and_outcome(*outcomes(5))
