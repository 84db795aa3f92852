from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.foundation.calendar import session_on_or_before, sessions
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.simulator import (
    RATE,
    TENORS,
    SimulatedMarket,
    implied_vols,
    simulate,
    visible_vix,
)
from butterquant_assets.quant.black_scholes import butterfly_value

DAYS = sessions()[slice(*np.searchsorted(sessions(), np.array(["2011-01-03", "2019-01-01"], dtype="datetime64[D]")))]


def wavy_vix(low: float = 10.0, high: float = 30.0) -> np.ndarray:
    """A VIX path that visits all strata, 250 sessions a wave."""
    return (low + high) / 2 + (high - low) / 2 * np.sin(np.arange(len(DAYS)) * 2 * np.pi / 250)


def market(seed: int = 1, edge: float = 0.0, tickers: int = 20, vix: np.ndarray | None = None) -> SimulatedMarket:
    return simulate(DAYS, wavy_vix() if vix is None else vix, seed=seed, edge=edge, tickers=tickers)


def adjusted_log(simulated: SimulatedMarket) -> np.ndarray:
    return np.log(simulated.close * np.cumprod(simulated.split_ratio, axis=0))


def t_statistic(by_cluster: np.ndarray) -> float:
    return float(by_cluster.mean() / (by_cluster.std(ddof=1) / np.sqrt(len(by_cluster))))


def butterfly_excess(simulated: SimulatedMarket, dte: int, step: int) -> np.ndarray:
    """Per entry session and ticker, (value at evaluation - debit exp(r tau)) / debit."""
    vols = implied_vols(simulated, len(DAYS) - 60)
    tenor = {days: position for position, days in enumerate(TENORS)}
    shares = np.cumprod(simulated.split_ratio, axis=0)
    excess = []
    for t in range(0, len(vols) - 60, step):
        expiry = DAYS[t] + np.timedelta64(dte, "D")
        evaluation = session_on_or_before([expiry - np.timedelta64(5 if dte >= 30 else 3, "D")])[0]
        e, left = int(np.searchsorted(DAYS, evaluation)), int((expiry - evaluation).astype(int))
        spot, vol = simulated.close[t], vols[t, :, tenor[dte]]
        width = 1.25 * spot * vol * np.sqrt(dte / 365)
        debit = butterfly_value(spot, spot - width, spot, spot + width, dte / 365, RATE, vol, vol, vol)
        later, later_vol = simulated.close[e] * shares[e] / shares[t], vols[e, :, tenor[left]]
        value = butterfly_value(
            later, spot - width, spot, spot + width, left / 365, RATE, later_vol, later_vol, later_vol
        )
        excess.append((value - debit * np.exp(RATE * (dte - left) / 365)) / debit)
    return np.array(excess)


@pytest.mark.parametrize("dte", [21, 30, 45])
def test_with_no_edge_a_butterfly_costs_exactly_what_it_is_worth(dte):
    # Entries are further apart than a holding period, so sessions are independent clusters.
    per_session = np.concatenate([butterfly_excess(market(seed), dte, step=31).mean(axis=1) for seed in range(10)])
    assert abs(t_statistic(per_session)) < 3
    assert abs(per_session.mean()) < 0.05


def test_a_planted_edge_pays_whoever_buys_butterflies_on_shares_whose_options_are_too_dear():
    dear_minus_cheap = {}
    for edge in (0.0, 1.0):
        spreads = []
        for seed in range(3):
            simulated = market(seed, edge)
            dear = market(seed, 1.0).premium < 1
            excess = butterfly_excess(simulated, 30, step=31)
            spreads.append(excess[:, dear].mean(axis=1) - excess[:, ~dear].mean(axis=1))
        dear_minus_cheap[edge] = t_statistic(np.concatenate(spreads))
    assert dear_minus_cheap[1.0] > 5
    assert abs(dear_minus_cheap[0.0]) < 3


def test_realised_over_implied_variance_shows_the_planted_premium():
    for edge in (0.0, 0.8):
        simulated = market(2, edge, tickers=40)
        returns = np.diff(adjusted_log(simulated), axis=0)
        seen = np.log((returns**2).sum(axis=0) / simulated.priced_variance[1:].sum(axis=0))
        np.testing.assert_allclose(seen, np.log(simulated.premium), atol=0.2)
        assert np.abs(np.log(simulated.premium)).max() <= edge
    assert np.abs(np.log(simulated.premium)).max() > 0.6


def test_returns_are_gaussian_given_the_variance_and_fat_tailed_without_it():
    simulated = market(3, 0.5, tickers=50)
    variance = simulated.premium * simulated.priced_variance[1:]
    returns = np.diff(adjusted_log(simulated), axis=0)
    carry = RATE / 365 * np.diff(DAYS).astype(float)[:, None] - variance / 2
    score = ((returns - carry) / np.sqrt(variance)).ravel()
    assert score.std() == pytest.approx(1.0, abs=0.02)
    assert np.mean(score**4) / np.mean(score**2) ** 2 == pytest.approx(3.0, abs=0.15)
    plain = returns / returns.std(axis=0)
    assert np.median((plain**4).mean(axis=0)) > 4


def test_what_options_are_priced_with_does_not_depend_on_the_edge():
    fair, planted = market(4, 0.0), market(4, 1.0)
    assert (fair.priced_variance == planted.priced_variance).all()
    assert (fair.premium == 1).all()


def test_more_sessions_or_tickers_change_nothing_that_was_there():
    whole = market(5, 0.5)
    shorter = simulate(DAYS[:900], wavy_vix()[:900], seed=5, edge=0.5, tickers=20)
    wider = market(5, 0.5, tickers=30)
    for name in ("open", "high", "low", "close", "volume", "split_ratio", "priced_variance"):
        assert (getattr(shorter, name) == getattr(whole, name)[:900]).all(), name
        assert (getattr(wider, name)[:, :20] == getattr(whole, name)).all(), name


def test_bars_are_consistent_and_in_whole_cents():
    simulated = market(6)
    for prices in (simulated.open, simulated.close):
        assert (simulated.low <= prices).all()
        assert (prices <= simulated.high).all()
    assert (np.round(simulated.high, 2) == simulated.high).all()
    assert simulated.low.min() > 0
    assert (simulated.volume % 100 == 0).all()


def test_the_intraday_range_follows_the_variance_of_the_session():
    simulated = market(7)
    measured = np.log(simulated.high / simulated.low) ** 2 / (4 * np.log(2))  # Parkinson (1980)
    # The bridge's two extremes are drawn independently, which widens the range a little beyond Brownian motion's.
    ratio = measured.mean(axis=0) / (0.7 * simulated.priced_variance).mean(axis=0)
    assert (np.abs(ratio - 1) < 0.2).all()


def test_some_shares_split_and_the_adjusted_price_does_not_jump():
    simulated = market(8, tickers=50)
    rows, columns = np.nonzero(simulated.split_ratio != 1)
    assert len(rows) >= 5
    moves = np.diff(adjusted_log(simulated), axis=0)[rows - 1, columns]
    assert (np.abs(moves) < 6 * np.sqrt(simulated.priced_variance[rows, columns])).all()


def test_implied_volatility_is_the_root_of_the_variance_to_come():
    simulated = market(9, tickers=3)
    vols = implied_vols(simulated, 500)
    for t in (0, 123, 499):
        for position, days in enumerate(TENORS):
            inside = (simulated.sessions > DAYS[t]) & (simulated.sessions <= DAYS[t] + np.timedelta64(days, "D"))
            expected = np.sqrt(simulated.priced_variance[inside].sum(axis=0) / (days / 365))
            np.testing.assert_allclose(vols[t, :, position], np.maximum(expected, 1e-4), rtol=1e-9)


def test_implied_volatility_beyond_the_simulation_is_refused():
    with pytest.raises(ConfigError, match="simulate longer"):
        implied_vols(market(9, tickers=3), len(DAYS) - 5)


def test_the_visible_vix_is_the_last_published_one_and_before_it_the_indexs_own():
    rng = np.random.default_rng(0)
    index = np.exp(np.cumsum(rng.normal(0, 0.01, 400)))
    days, index_days = DAYS[300:400], DAYS[:400]
    vix_days, vix = DAYS[[350, 351, 353]], np.array([20.0, 21.0, 23.0])
    visible = visible_vix(days, vix_days, vix, index_days, index)
    assert visible[50:54].tolist() == [20.0, 21.0, 21.0, 23.0]
    assert visible[-1] == 23.0
    assert visible[:50].mean() == pytest.approx(100 * 0.01 * np.sqrt(252) / 0.85, rel=0.2)
    changed = index.copy()
    changed[330:] *= 2
    assert (visible_vix(days, vix_days, vix, index_days, changed)[:30] == visible[:30]).all()


def test_an_index_that_begins_too_late_is_refused():
    with pytest.raises(ConfigError, match="expected at least 60"):
        visible_vix(DAYS[30:40], DAYS[30:31], np.array([20.0]), DAYS[:100], np.ones(100))
