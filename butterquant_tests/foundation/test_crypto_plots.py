"""Plots of the crypto market tables: small, and the same bytes for the same figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation import crypto_plots
from butterquant_assets.foundation.drawing import MAX_BYTES
from butterquant_assets.foundation.errors import DataError


def shares(coins: int, days: int) -> pd.DataFrame:
    """Shares with a few gaps."""
    draw = np.random.default_rng(3)
    values = np.where(draw.random((coins, days)) < 0.05, draw.random((coins, days)), 1.0)
    names = pd.date_range("2024-01-01", periods=days).strftime("%Y-%m-%d")
    return pd.DataFrame(values, index=[f"COIN{number:02d}" for number in range(coins)], columns=names)


def test_the_coverage_map_of_fifty_coins_and_120_days_fits_the_event_log_and_repeats() -> None:
    frame = shares(50, 120)
    png = crypto_plots.coverage_map(frame)
    assert png[:4] == b"\x89PNG"
    assert len(png) <= MAX_BYTES
    assert png == crypto_plots.coverage_map(frame.sample(frac=1.0, random_state=1))
    assert png != crypto_plots.coverage_map(frame.assign(**{frame.columns[3]: 0.0}))


def test_funding_of_many_coins_fits_the_event_log_and_is_drawn_per_eight_hours() -> None:
    stamps = pd.date_range("2024-01-01", periods=120 * 3, freq="8h")
    rows = pd.concat([pd.DataFrame({"settled_at": stamps, "coin": f"C{number}"}) for number in range(20)])
    rows = rows.assign(funding_rate=np.random.default_rng(4).normal(1e-4, 2e-4, len(rows)), interval_hours=8.0)
    png = crypto_plots.funding(rows)
    assert len(png) <= MAX_BYTES
    halved = rows.assign(funding_rate=rows["funding_rate"] / 2, interval_hours=4.0)
    assert png == crypto_plots.funding(halved)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(DataError, match="coverage_map"):
        crypto_plots.coverage_map(pd.DataFrame())
    with pytest.raises(DataError, match="funding"):
        crypto_plots.funding(pd.DataFrame({"settled_at": [], "funding_rate": [], "interval_hours": []}))
