"""Factors of real perpetuals: eleven coins of 2023-24, thirty-nine of May and June 2026, and one with gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.signals.alignment import funding_per_8h, hourly_grid
from butterquant_assets.signals.factors import CLEAN_HOURS, FACTORS, TAIL_HOURS, Flag, compute_factors
from butterquant_assets.signals.panel import HourlyPanel
from butterquant_assets.signals.scaling import centre_and_scale
from butterquant_tests.shared_data import data_dir
from butterquant_tests.signals.plain_factors import plain_factors

pytestmark = pytest.mark.slow

BARS = ("high", "low", "close", "volume")


def table(name, suffix):
    frame = pd.read_parquet(data_dir() / f"{name}.parquet")
    stamps = frame["timestamp"].dt.tz_localize(None)
    return frame.assign(hour=stamps, settled_at=stamps, coin=frame["symbol"].str.removesuffix(suffix))


def panel_of(bars, first, last, **inputs):
    """A panel of all coins of some bars; what is not given is missing."""
    hours = np.arange(np.datetime64(first, "us"), np.datetime64(last, "us"), np.timedelta64(1, "h"))
    coins = tuple(sorted(bars["coin"].unique()))
    grids = {name: hourly_grid(bars, name, hours, coins) for name in BARS}
    for name in ("taker_buy_volume", "open_interest", "mark", "index"):
        frame, column = inputs.get(name, (bars.iloc[:0], "close"))
        grids[name] = hourly_grid(frame, column, hours, coins)
    grids["funding_8h"] = funding_per_8h(inputs["funding"], hours, coins)
    return HourlyPanel(hours=hours, coins=coins, defective=np.zeros(grids["close"].shape, dtype=bool), **grids)


@pytest.fixture(scope="module")
def binance():
    bars, interest = table("crypto_perp_1h", "USDT"), table("crypto_open_interest_1h", "USDT")
    interest = interest[interest["hour"] == interest["hour"].dt.floor("h")]
    funding = table("crypto_funding", "USDT")
    first, last = "2023-01-01T00", "2025-01-01T00"
    return panel_of(bars, first, last, open_interest=(interest, "open_interest"), funding=funding)


def assert_as_of(panel, found, rows):
    for last in rows:
        tail = compute_factors(panel.rows(slice(last + 1 - TAIL_HOURS, last + 1)))
        for name in FACTORS:
            assert tail.values[name][-1].tobytes() == found.values[name][last].tobytes(), (name, last)


def test_two_years_of_eleven_coins(binance):
    found = compute_factors(binance)
    assert_as_of(binance, found, [5_000, 12_345, 17_543])
    recent = slice(CLEAN_HOURS, None)
    for name in ("T", "M", "C", "V", "I"):
        assert np.isfinite(found.values[name][recent]).mean() > 0.98, name
    known = np.isfinite(found.values["O"][recent]).mean(axis=0) > 0.5
    assert {coin for coin, there in zip(binance.coins, known, strict=True) if there} == {"BTC", "ETH", "SOL", "XRP"}
    alone = (found.flags & Flag.B_FUNDING_ONLY) > 0
    np.testing.assert_array_equal(alone, np.isfinite(found.values["B"]))
    # A score that says as much up as down, and uses its range.
    for name in ("T", "M", "C"):
        values = found.values[name][np.isfinite(found.values[name])]
        assert abs(np.median(values)) < 10
        assert 25 < values.std() < 75


def test_real_funding_often_has_no_median_deviation(binance):
    shares = []
    for column in binance.funding_8h.T:
        centre, _ = centre_and_scale(column)
        windows = np.flatnonzero(~np.isnan(centre))[::97]
        tied = [np.nanmedian(np.abs(column[max(t - 720, 0) : t] - centre[t])) == 0.0 for t in windows]
        shares.append(np.mean(tied))
    assert 0.2 < np.mean(shares) < 0.7


@pytest.mark.parametrize("coin", ["BTC", "SOL"])
def test_real_factors_equal_the_plain_ones(binance, coin):
    part = binance.rows(slice(4_000, 6_500))
    found = compute_factors(part)
    for name, plain in plain_factors(part, coin).items():
        ours = found.atr14 if name == "atr14" else found.values[name]
        np.testing.assert_allclose(ours[:, part.column(coin)], plain, rtol=1e-9, atol=1e-7, err_msg=name)


def test_a_month_of_thirty_nine_okx_swaps():
    half_hours, mark = table("okx_swap_30m", "-USDT-SWAP"), table("okx_mark_1h", "-USDT-SWAP")
    bars = half_hours.assign(hour=half_hours["hour"].dt.floor("h")).groupby(["hour", "coin"], as_index=False)
    bars = bars.agg({"high": "max", "low": "min", "close": "last", "volume": "sum"})
    panel = panel_of(
        bars, "2026-05-26T21", "2026-06-25T00", mark=(mark, "close"), funding=table("okx_funding", "-USDT-SWAP")
    )
    found = compute_factors(panel)
    assert len(panel.coins) == 39
    for name in ("T", "M", "C", "V", "B", "I"):
        assert np.isfinite(found.values[name][CLEAN_HOURS:]).mean() > 0.95, name
    assert not found.defect[CLEAN_HOURS:].any()
    short = compute_factors(panel.rows(slice(0, 500)))
    for name in FACTORS:
        assert short.values[name].tobytes() == found.values[name][:500].tobytes(), name


def test_every_hour_that_a_collector_lost_is_a_defect():
    bars = table("defective_crypto_1h", "USDT")
    bars = bars.assign(coin="SOL").drop_duplicates("hour")
    first, last = bars["hour"].min(), bars["hour"].max() + pd.Timedelta("1h")
    others = bars.assign(coin="BTC"), bars.assign(coin="ETH")
    funding = pd.DataFrame({"settled_at": bars["hour"].iloc[:0], "coin": [], "funding_rate": []})
    panel = panel_of(pd.concat([bars, *others]), first, last, funding=funding)
    gaps = np.flatnonzero(np.isnan(panel.close[:, panel.column("SOL")]))
    assert len(gaps) == 212
    found = compute_factors(panel)
    within = np.zeros(len(panel.hours), dtype=bool)
    for gap in gaps:
        within[gap : gap + CLEAN_HOURS] = True
        assert np.isnan(found.values["T"][gap : gap + 162, 0]).all()
    np.testing.assert_array_equal(found.defect[:, panel.column("SOL")], within)
