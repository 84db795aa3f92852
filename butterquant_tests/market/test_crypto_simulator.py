"""The simulated crypto market: repeatable, coherent, fair without an edge, and known with one."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest

from butterquant_assets.foundation.errors import ConfigError, InsufficientHistoryError
from butterquant_assets.market.crypto_simulator import (
    DISPUTED,
    DRIFT,
    MEMORY,
    PLANTED_THRESHOLD,
    STEEPNESS,
    CryptoMarket,
)
from butterquant_assets.market.crypto_state import FIELDS, CryptoHours, CryptoMarketConfig
from butterquant_assets.market.crypto_traits import coin_names

Floats = npt.NDArray[np.float64]
DAYS = 120


def hours_of(days: int = DAYS, **settings: object) -> CryptoHours:
    market = CryptoMarket(CryptoMarketConfig(**{"seed": 3, "coins": 12} | settings))  # type: ignore[arg-type]
    return market.hours(market.first_hour, market.first_hour + 24 * days)


def digest(hours: CryptoHours, rows: slice = slice(None), coins: slice = slice(None)) -> str:
    parts = [np.ascontiguousarray(getattr(hours, name)[rows, coins]).tobytes() for name in FIELDS]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.fixture(scope="module")
def fair() -> CryptoHours:
    return hours_of()


@pytest.fixture(scope="module")
def planted() -> CryptoHours:
    return hours_of(edge=0.6)


@pytest.mark.parametrize("edge", [0.0, 0.3])
def test_a_longer_market_or_one_asked_for_in_pieces_has_the_same_bytes(edge: float) -> None:
    long = hours_of(30, edge=edge)
    assert digest(hours_of(12, edge=edge)) == digest(long, slice(0, 288))
    market = CryptoMarket(CryptoMarketConfig(seed=3, coins=12, edge=edge))
    late = market.hours(market.first_hour + 500, market.first_hour + 607)
    early = market.hours(market.first_hour + 5, market.first_hour + 6)
    assert digest(late) == digest(long, slice(500, 607))
    assert digest(early) == digest(long, slice(5, 6))


@pytest.mark.parametrize("edge", [0.0, 0.3])
def test_more_coins_change_no_byte_of_the_others(edge: float) -> None:
    few, many = hours_of(20, coins=2, edge=edge), hours_of(20, coins=13, edge=edge)
    assert digest(few) == digest(many, coins=slice(0, 2))


def test_another_seed_is_another_market(fair: CryptoHours) -> None:
    assert digest(hours_of(5)) != digest(hours_of(5, seed=4))


def test_the_fair_market_is_the_one_it_always_was(fair: CryptoHours) -> None:
    """Published figures of an earlier version, rounded as exchanges round them: nothing planted touches this market."""
    assert fair.close[-1, :6].tolist() == [16089.5, 1194.92, 5.0763, 0.06243, 1.31084, 33.6619]
    np.testing.assert_allclose(
        np.nansum(fair.volume[:, :3], axis=0), [107744301852.8001, 70228032486.2, 4792677274.199995], rtol=1e-14
    )
    assert np.nansum(fair.funding[:, 0]) == pytest.approx(0.0149602654, abs=1e-12)
    assert (fair.drift[~np.isnan(fair.drift)] == 0).all()


def test_every_name_says_that_the_coin_is_simulated() -> None:
    names = coin_names(50)
    assert names[:3] == ("SIMBTC", "SIMETH", "SIMC03")
    assert all(name.startswith("SIM") for name in names)
    assert len(set(names)) == 50


def test_bars_are_coherent(fair: CryptoHours) -> None:
    for prefix in ("", "mark_", "index_"):
        opened, high, low, close = (getattr(fair, prefix + name) for name in ("open", "high", "low", "close"))
        known = ~np.isnan(close)
        assert (high >= np.maximum(opened, close))[known].all()
        assert (low <= np.minimum(opened, close))[known].all()
        assert (low > 0)[known].all()
    known = ~np.isnan(fair.volume)
    assert ((fair.taker_buy >= 0) & (fair.taker_buy <= fair.volume))[known].all()
    assert np.array_equal(np.round(fair.volume[known] * 10), np.round(fair.volume[known] * 10, 6))
    assert (fair.open_interest > 0)[known].all()


def test_bars_open_where_the_last_one_closed_unless_trading_was_halted(fair: CryptoHours) -> None:
    moves = fair.open[1:] != fair.close[:-1]
    resumed = (fair.volume[:-1] == 0) & (fair.volume[1:] > 0)
    known = ~np.isnan(fair.open[1:]) & ~np.isnan(fair.close[:-1])
    assert not (moves & known & ~resumed).any()


def test_an_outage_is_flat_and_without_volume_while_the_index_moves_on(fair: CryptoHours) -> None:
    halted = fair.volume == 0
    assert halted.any()
    assert (fair.high == fair.low)[halted].all()
    assert (fair.open == fair.close)[halted].all()
    assert (fair.taker_buy == 0)[halted].all()
    assert (fair.index_high > fair.index_low)[halted].mean() > 0.9


def test_funding_settles_at_the_hours_of_its_interval_by_the_formula(fair: CryptoHours) -> None:
    settled = ~np.isnan(fair.funding)
    found = set()
    for coin in range(fair.funding.shape[1]):
        for hour in np.flatnonzero(~np.isnan(fair.close[:, coin]))[48:]:
            interval = int(fair.interval[hour, coin])
            assert settled[hour, coin] == (hour % interval == 0)
            if settled[hour, coin] and not np.isnan(fair.premium[hour - interval, coin]):
                mean = float(np.mean(fair.premium[hour - interval : hour, coin]))
                per_eight = mean + min(max(1e-4 - mean, -5e-4), 5e-4)
                assert fair.funding[hour, coin] == pytest.approx(per_eight * interval / 8, abs=2e-10)
                found.add(interval)
    assert {8, 4, 2} <= found
    rates = fair.funding[:, 0][settled[:, 0]]
    assert 0.2 < np.mean(rates == 1e-4) < 0.8, "a third to half of real settlements are exactly the interest"


def test_crowded_longs_pay(fair: CryptoHours) -> None:
    returns = np.log(fair.close[71::8, 0] / fair.close[:-71:8, 0])
    paid = fair.funding[72::8, 0][: len(returns)]
    assert np.corrcoef(returns[: len(paid)], paid)[0, 1] > 0.3


def test_coins_come_late_and_are_delisted() -> None:
    hours = hours_of(200, coins=40)
    known = ~np.isnan(hours.close)
    assert known[:, :6].all()
    late = ~known[0] & known[-1]
    gone = known[0] & ~known[-1]
    assert late.any()
    assert gone.any()
    changes = np.abs(np.diff(known.astype(int), axis=0)).sum(axis=0)
    assert changes.max() <= 2


def windows(hours: CryptoHours) -> dict[str, Floats]:
    """What is published at the end of each hour from the 25th on, in plain loops."""
    close, signed = np.log(hours.close), 2 * hours.taker_buy - hours.volume
    rows = range(25, len(close))
    return {
        "share": np.array([signed[t - 6 : t].sum(0) / hours.volume[t - 24 : t].sum(0) for t in rows]),
        "interest": np.array([np.log(hours.open_interest[t - 1] / hours.open_interest[t - 7]) for t in rows]),
        "moved": np.array([close[t - 1] - close[t - 7] for t in rows]),
        "trend": np.array([close[t - 1] - close[t - 25] for t in rows]),
        "flow": np.array([signed[t - 24 : t].sum(0) / hours.volume[t - 24 : t].sum(0) for t in rows]),
        "building": np.array(
            [
                np.log(hours.open_interest[t - 1] / hours.open_interest[t - 25]) * np.sign(close[t - 1] - close[t - 25])
                for t in rows
            ]
        ),
        "busy": np.array(
            [
                np.log(4 * np.maximum(hours.volume[t - 6 : t].sum(0), 0.1) / hours.volume[t - 24 : t].sum(0))
                * np.sign(close[t - 1] - close[t - 7])
                for t in rows
            ]
        ),
        "premium": hours.premium[24:-1],
        "funded": hours.mark_close[24:-1] / hours.index_close[24:-1] - 1,
    }


def standardised(hours: CryptoHours) -> Floats:
    """Simple return from open to close in units of the hour's true volatility, from the 25th hour on."""
    found: Floats = ((hours.close / hours.open - 1) / np.sqrt(hours.variance))[25:]
    return found


def test_without_an_edge_nothing_published_predicts_a_return() -> None:
    hours = hours_of(300, coins=6, seed=11)
    outcome = standardised(hours)
    for name, signal in windows(hours).items():
        paid = np.nanmean(np.sign(signal - np.nanmedian(signal, axis=0)) * outcome, axis=1)
        statistic = paid.mean() / (paid.std() / np.sqrt(len(paid)))
        assert abs(statistic) < 3.5, f"{name} predicts returns of the fair market, t = {statistic:.1f}"
    assert (hours.drift == 0).all()


def test_the_planted_drift_is_what_its_description_says_computed_from_published_figures(planted: CryptoHours) -> None:
    known = windows(planted)
    names = ("share", "interest", "moved", "trend", "flow", "building", "busy")
    scales = [np.full(planted.close.shape[1], value) for value in (0.04, 0.08, 0.012, 0.02, 0.06, 0.06, 0.15)]
    expected, carried = np.empty_like(known["trend"]), np.zeros(planted.close.shape[1])
    for row in range(len(expected)):
        scored = {}
        for position, name in enumerate(names):
            value = np.nan_to_num(known[name][row])
            scored[name] = np.tanh(value / (2 * 1.2533 * scales[position]))
            scales[position] = scales[position] + (np.abs(value) - scales[position]) / 720
        leading = 100 * (0.6 * scored["share"] + 0.4 * scored["interest"] - scored["moved"]) / 2
        score = 0.35 * (scored["trend"] + scored["busy"]) + 0.15 * (scored["flow"] + scored["building"])
        stands = np.where(np.sign(score) * leading >= -PLANTED_THRESHOLD, 1.0, -DISPUTED)
        carried = MEMORY * carried + (1 - MEMORY) * np.sign(score) * np.abs(score) ** STEEPNESS * stands
        expected[row] = 0.6 * DRIFT * carried
    told = (planted.drift / np.sqrt(planted.variance))[25:]
    always = ~np.isnan(planted.close).any(axis=0)
    gap = np.abs(told - expected)[1000:, always]
    assert (gap < 0.02).mean() > 0.9, "rounding and outages may move a few hours across the threshold"
    assert np.corrcoef(told[1000:, always].ravel(), expected[1000:, always].ravel())[0, 1] > 0.99


def test_no_drift_explodes_at_the_largest_edge() -> None:
    hours = hours_of(edge=1.0)
    strength = np.abs(hours.drift / np.sqrt(hours.variance))
    assert 0.1 < np.nanmean(strength) < 0.5
    assert np.nanmax(strength) < DRIFT * DISPUTED / 3
    daily = np.diff(np.log(hours.close[::24]), axis=0)
    fair_daily = np.diff(np.log(hours_of().close[::24]), axis=0)
    assert np.nanstd(daily) < 1.5 * np.nanstd(fair_daily)


def test_the_attainable_is_known_and_following_the_drift_attains_it(planted: CryptoHours) -> None:
    strength = (planted.drift / np.sqrt(planted.variance))[25:]
    paid = np.sign(strength) * standardised(planted)
    usable = ~np.isnan(paid)
    error = paid[usable].std() / np.sqrt(usable.sum() / 4)
    assert paid[usable].mean() == pytest.approx(np.abs(strength[usable]).mean(), abs=3 * error)
    assert paid[usable].mean() > 3 * error


def test_an_hour_before_the_market_is_refused() -> None:
    market = CryptoMarket(CryptoMarketConfig(coins=2))
    with pytest.raises(InsufficientHistoryError, match="begins at hour 464592"):
        market.hours(market.first_hour - 1, market.first_hour)


@pytest.mark.parametrize(
    "settings", [{"seed": -1}, {"edge": 1.1}, {"edge": -0.1}, {"first_day": "soon"}, {"coins": 1}, {"coins": 1000}]
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        CryptoMarket(CryptoMarketConfig(**settings))  # type: ignore[arg-type]
