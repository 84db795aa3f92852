"""Plots of the signal line: valid, small, the same bytes for the same figures."""

from __future__ import annotations

import io
from collections.abc import Callable

import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.foundation.drawing import MAX_BYTES
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.foundation.signal_plots import calibration_curve, threshold_scan


def curve() -> pd.DataFrame:
    rows = [
        (0.1, 50, 0.12, 0.05, 0.2),
        (0.35, 5000, 0.33, 0.31, 0.35),
        (0.9, 0, float("nan"), float("nan"), float("nan")),
    ]
    return pd.DataFrame(rows, columns=["mean_predicted", "trades", "observed", "low", "high"])


def scan() -> pd.DataFrame:
    rows = [
        ("fund", period, t, 100, -t, t == 0.0) for period in ("chosen_on", "confirmed_on") for t in (-5.0, 0.0, 5.0)
    ]
    return pd.DataFrame(rows, columns=["gate", "period", "threshold", "trades", "mean_pnl_bps", "in_force"])


@pytest.mark.parametrize("draw", [lambda: calibration_curve(curve()), lambda: threshold_scan(scan(), "fund")])
def test_a_plot_is_a_small_png_and_always_the_same(draw: Callable[[], bytes]) -> None:
    png = draw()
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert 1_000 < len(png) < MAX_BYTES
    assert draw() == png


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(DataError, match="calibration_curve"):
        calibration_curve(curve().iloc[2:])
    with pytest.raises(DataError, match="market gate"):
        threshold_scan(scan(), "market")
