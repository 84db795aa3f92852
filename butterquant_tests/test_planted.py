from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from benchmarks.bench_edge import (
    ANALYSIS,
    EDGE,
    Null,
    Planted,
    Rows,
    build,
    judge_null,
    judge_planted,
    true_probabilities,
)
from benchmarks.planted import N_CLASSES, planted_probabilities
from butterquant_assets.butterfly import pricing
from butterquant_assets.butterfly.config import SamplingConfig
from butterquant_assets.butterfly.evaluation import EdgeVerdict
from butterquant_assets.butterfly.geometry import aligned, geometry_probabilities
from butterquant_assets.butterfly.iv_proxy import LegVols
from butterquant_assets.butterfly.strikes import Strikes
from butterquant_assets.definitions import Settings
from butterquant_assets.foundation.calendar import sessions
from butterquant_assets.market import simulator
from butterquant_assets.market.simulator import TENORS, SimulatedMarket

Floats = npt.NDArray[np.float64]

QUOTA = SamplingConfig(low_days=10, normal_days=12, high_days=10, tickers_per_day=8)
FAIR_SEEDS, PLANTED_SEEDS = (11, 12), (21, 22, 23, 24, 25, 26)

DRAWS, PATHS, TICKERS, SEED = 1500, 20_000, 3, 5
ENTRY, DAYS_LEFT = 10, 21
HELD = (3, 14)  # sessions; where few are held, one too many or too few shows


def log_loss(truth: Floats, guess: Floats) -> Floats:
    """Expected log-loss of each row."""
    found: Floats = -(truth * np.log(guess)).sum(axis=1)
    return found


def realised(rows: Rows, probabilities: Floats) -> Floats:
    """Log-loss of the labels that came about."""
    label = rows.training_set["label_mark"].to_numpy().astype(int)
    loss: Floats = -np.log(probabilities[np.arange(len(label)), label])
    return loss


def geometry(rows: Rows) -> Floats:
    return geometry_probabilities(aligned(rows.training_set, rows.analyses), "label_mark")


@pytest.fixture(scope="module")
def planted() -> list[Rows]:
    return [build(seed, EDGE, QUOTA.tickers_per_day, QUOTA) for seed in PLANTED_SEEDS]


def short_market(seed: int = SEED) -> SimulatedMarket:
    days = sessions()
    days = days[(days >= np.datetime64("2015-03-02")) & (days <= np.datetime64("2015-05-29"))]
    return simulator.simulate(
        days, 12.0 + 0.2 * np.arange(len(days), dtype=np.float64), seed=seed, edge=1.0, tickers=TICKERS
    )


def redrawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedMarket]:
    """The same market, with the same variances and premia, under other price shocks."""
    original = simulator._stream

    def with_other_shocks(seed: int, purpose: int, ticker: int) -> np.random.Generator:
        shocks = purpose in (simulator._PRICE, simulator._MARKET)
        return original(1000 + draw if shocks else seed, purpose, ticker)

    monkeypatch.setattr(simulator, "_stream", with_other_shocks)
    for draw in range(DRAWS):  # noqa: B007 - read by the function above
        yield short_market()


def butterflies(market: SimulatedMarket) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One butterfly above the money for each ticker and holding period, and its volatilities at exit."""
    vols = simulator.implied_vols(market, ENTRY + max(HELD) + 1)
    held, share = (values.ravel() for values in np.meshgrid(HELD, np.arange(TICKERS), indexing="ij"))
    leave, spot = ENTRY + held, np.full(held.size, 100.0)
    vol = vols[leave, share, TENORS.index(DAYS_LEFT)]
    strikes = Strikes(spot - 3.0, spot + 2.0, spot + 7.0, np.full(held.size, 5.0))
    # What was paid is anything that leaves every class a chance.
    debit = 0.85 * pricing.value(strikes.center, strikes, DAYS_LEFT, simulator.RATE, LegVols(vol, vol, vol))
    analyses = pd.DataFrame(
        {
            "session": market.sessions[np.full(held.size, ENTRY)],
            "evaluation_session": market.sessions[leave],
            "ticker": np.array(market.tickers)[share],
            "spot": spot,
            "lower_strike": strikes.lower,
            "center_strike": strikes.center,
            "upper_strike": strikes.upper,
            "width": strikes.width,
            "days_left": float(DAYS_LEFT),
            "rate": simulator.RATE,
            "debit": debit,
        }
    )
    labels = pd.DataFrame({f"exit_iv_{leg}": vol for leg in ("lower", "center", "upper")})
    return analyses, labels


def legs(analyses: pd.DataFrame, labels: pd.DataFrame) -> tuple[Strikes, LegVols]:
    names = ("lower_strike", "center_strike", "upper_strike", "width")
    vols = LegVols(*(labels[f"exit_iv_{leg}"].to_numpy() for leg in ("lower", "center", "upper")))
    return Strikes(*(analyses[name].to_numpy() for name in names)), vols


def exit_spots(market: SimulatedMarket, row: Any) -> Floats:
    """Exit spots of one row, session by session as the simulator's docstring says, shape (PATHS,)."""
    share, leave = (
        market.tickers.index(row.ticker),
        int(np.searchsorted(market.sessions, np.datetime64(row.evaluation_session, "D"))),
    )
    rng, log_spot = np.random.default_rng(leave), np.zeros(PATHS)
    for t in range(ENTRY + 1, leave + 1):
        variance = market.premium[share] * market.priced_variance[t, share]
        days = (market.sessions[t] - market.sessions[t - 1]).astype(int)
        shock = np.sqrt(variance) * rng.standard_normal(PATHS)
        log_spot += simulator.RATE * days / 365 - variance / 2 + shock
    spots: Floats = row.spot * np.exp(log_spot)
    return spots


def test_the_probabilities_are_the_frequencies_with_which_the_simulator_ends_in_each_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market = short_market()
    analyses, labels = butterflies(market)
    expected = planted_probabilities(analyses, labels, market)
    share = np.searchsorted(np.array(market.tickers), analyses["ticker"].to_numpy(dtype=str))
    leave = np.searchsorted(market.sessions, analyses["evaluation_session"].to_numpy().astype("datetime64[D]"))
    counts = np.zeros((len(analyses), N_CLASSES))
    strikes, vols = legs(analyses, labels)
    for drawn in redrawn(monkeypatch):
        np.testing.assert_array_equal(drawn.priced_variance, market.priced_variance)
        spot = analyses["spot"].to_numpy() * drawn.close[leave, share] / drawn.close[ENTRY, share]
        mark = pricing.value(spot, strikes, DAYS_LEFT, simulator.RATE, vols)
        roi = (mark - analyses["debit"].to_numpy()) / analyses["debit"].to_numpy()
        counts[np.arange(len(spot)), np.digitize(roi, [-0.10, 0.05, 0.15])] += 1
    frequency = counts / DRAWS
    assert (expected > 0.02).all()
    # Four standard errors, and what 2001 quantiles and the smoothing leave open.
    np.testing.assert_array_less(
        np.abs(frequency - expected), 4 * np.sqrt(expected * (1 - expected) / DRAWS) + 2 / 2001
    )


@pytest.mark.parametrize("factor", [0.01, 20.0])
def test_the_drift_is_the_riskless_rate_less_half_the_true_variance(factor: float) -> None:
    # Little variance shows the rate, much of it its half; in an ordinary market both drown in noise.
    market = short_market()
    market = replace(market, priced_variance=factor * market.priced_variance)
    analyses, labels = butterflies(market)
    strikes, vols = legs(analyses, labels)
    # The class then turns on whether the spot rises or falls, on this side of the centre.
    analyses["debit"] = pricing.value(analyses["spot"], strikes, DAYS_LEFT, simulator.RATE, vols) / 1.05
    expected = planted_probabilities(analyses, labels, market)
    spot = np.column_stack([exit_spots(market, row) for row in analyses.itertuples()])
    roi = pricing.value(spot, strikes, DAYS_LEFT, simulator.RATE, vols) / analyses["debit"].to_numpy() - 1
    np.testing.assert_allclose((roi >= 0.05).mean(axis=0), expected[:, 2:].sum(axis=1), atol=4 * 0.5 / PATHS**0.5)


def test_without_edge_only_the_variance_path_to_come_separates_truth_and_geometry() -> None:
    markets = [build(seed, 0.0, QUOTA.tickers_per_day, QUOTA) for seed in FAIR_SEEDS]
    truth, guess = (
        np.concatenate([true_probabilities(m) for m in markets]),
        np.concatenate([geometry(m) for m in markets]),
    )
    divergence = log_loss(truth, guess) - log_loss(truth, truth)
    assert len(truth) > 400
    assert 0.0 < divergence.mean() < 0.01


def test_the_labels_of_the_simulated_market_come_as_often_as_the_probabilities_say(planted: list[Rows]) -> None:
    loss, classes = [], []
    for rows in planted:
        truth, label = true_probabilities(rows), rows.training_set["label_mark"].to_numpy().astype(int)
        loss.append((realised(rows, truth) - log_loss(truth, truth)).mean())
        classes.append((np.eye(N_CLASSES)[label] - truth).mean(axis=0))
    # Markets are independent of each other, rows of one market are not.
    for values in (np.array(loss)[:, None], np.array(classes)):
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        np.testing.assert_array_less(np.abs(values.mean(axis=0)), 4 * error)
        assert (error < 0.04).all()


def test_with_an_edge_the_truth_beats_geometry_by_what_it_promises(planted: list[Rows]) -> None:
    promised, kept = [], []
    for rows in planted:
        truth, guess = true_probabilities(rows), geometry(rows)
        promised.append((log_loss(truth, guess) - log_loss(truth, truth)).mean())
        kept.append((realised(rows, guess) - realised(rows, truth)).mean())
    assert np.mean(promised) > 0.04
    assert np.mean(kept) == pytest.approx(np.mean(promised), rel=0.5)


def test_a_row_has_the_same_probabilities_in_any_company(planted: list[Rows]) -> None:
    rows = planted[0]
    state, outcomes = aligned(rows.training_set, rows.analyses), aligned(rows.training_set, rows.labels)
    together = planted_probabilities(state, outcomes, rows.market)
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-12)
    for place in (0, 63, 64, len(state) - 1):
        alone = planted_probabilities(state.iloc[[place]], outcomes.iloc[[place]], rows.market)
        np.testing.assert_array_equal(alone[0], together[place])


def test_markets_are_analysed_as_the_product_analyses_its_sample_source(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).analysis_in_use == ANALYSIS


@pytest.mark.parametrize(("false_positives", "met"), [(0, True), (5, True), (6, False)])
def test_at_most_five_of_forty_null_markets_may_speak_for_the_model(
    false_positives: int, met: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    markets = [
        Null(
            seed,
            EdgeVerdict(0.0, -1.0, 1.0, 9, 9, seed < false_positives, ""),
            0.0,
            {"model": 0.03, "truth": 0.02 + seed / 1000},
            {"all": (0.1, 0.05, 0.2, 9)},
            1.0,
        )
        for seed in range(40)
    ]
    result, calibration = judge_null(markets)
    assert (result.ours, result.reference, result.met) == (40 - false_positives, 35, met)
    assert (calibration.ours, calibration.met) == (pytest.approx(0.03), True)
    assert calibration.reference == pytest.approx(0.02 + 0.95 * 0.039)
    assert f"{false_positives} false positives" in (said := capsys.readouterr().out)
    assert "the model is below it in 40" in said
    assert "all: took rows in 40, enough to judge in 40; interval of the mean ROI above 0 in 40, below 0 in 0" in said


@pytest.mark.parametrize(("gain", "share", "met"), [(0.07, 0.7, True), (0.05, 0.5, False), (-0.02, 0.0, False)])
def test_shares_are_pooled_over_rows_and_a_model_worse_than_geometry_misses_the_target(
    gain: float, share: float, met: bool
) -> None:
    # The larger market has all the weight it should, the smaller one a share of zero.
    sizes, gains = (1000, 10), (gain, 0.0)
    markets = [
        Planted(seed, np.full(n, 0.1), {"model": np.full(n, g)}, np.arange(n) >= n // 2, True, 1.0)
        for seed, (n, g) in enumerate(zip(sizes, gains, strict=True))
    ]
    attainable, whole, last = judge_planted(markets)
    assert attainable.ours == pytest.approx(0.1)
    for result in (whole, last):
        assert result.ours == pytest.approx(share * 1000 / 1010, abs=1e-8)
        assert result.met == met
