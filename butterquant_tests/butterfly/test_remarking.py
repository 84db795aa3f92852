"""Trades priced again: at their own volatilities nothing changes, and a market without edge pays interest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from butterquant_assets.butterfly import labels, pricing, remarking
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.iv_proxy import leg_vols_of
from butterquant_assets.butterfly.strikes import Strikes, strikes_of
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.cases import NO_VOLS, analysed, made_up_bars
from butterquant_tests.butterfly.report_cases import fair_trades

COSTS = CostConfig()


def _trades(count: int = 60, smile: str = "smooth") -> pd.DataFrame:
    analyses, labelled, _ = fair_trades(count, noise=0.2, smile=smile)
    return remarking.labelled_trades(analyses, labelled)


def test_real_analyses_and_labels_priced_again_at_their_own_volatilities_are_themselves() -> None:
    analyses = analysed().analyses
    found = labels.label_trades(analyses, made_up_bars(), NO_VOLS, "2016-09-30", AnalysisConfig(), COSTS)
    trades = remarking.labelled_trades(analyses, found)
    again = remarking.remark(trades, leg_vols_of(trades), remarking.exit_vols_of(trades), COSTS)
    np.testing.assert_allclose(again.debit, trades["debit"], rtol=1e-9)
    np.testing.assert_allclose(again.roi, trades["roi_mark"], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(again.roi_net, trades["roi_net"], rtol=1e-7, atol=1e-10)
    level = remarking.exit_level_of(trades, "smooth")
    same = remarking.remark_at_levels(trades, trades["current_iv"].to_numpy(), level, "smooth", COSTS)
    np.testing.assert_allclose(same.roi, trades["roi_mark"], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("smile", ["smooth", "document", "flat"])
def test_the_exit_level_is_recovered_under_every_smile(smile: str) -> None:
    trades = _trades(smile=smile)
    level = remarking.exit_level_of(trades, smile)  # type: ignore[arg-type]
    again = remarking.remark_at_levels(trades, trades["current_iv"].to_numpy(), level, smile, COSTS)  # type: ignore[arg-type]
    np.testing.assert_allclose(again.roi, trades["roi_mark"], rtol=1e-7, atol=1e-9)


def test_a_shift_that_leaves_no_positive_volatility_leaves_no_price() -> None:
    trades = _trades()
    low = remarking.shifted(leg_vols_of(trades), -9.0, 0.0, 0.0)
    assert np.isnan(low.lower).all()
    found = remarking.remark(trades, low, remarking.exit_vols_of(trades), COSTS)
    for values in (found.debit, found.mark, found.roi, found.roi_net):
        assert np.isnan(values).all()


def test_a_debit_outside_its_bounds_is_no_trade() -> None:
    trades = _trades()
    own = leg_vols_of(trades)
    dear = type(own)(own.lower, 1.3 * own.center, own.upper)  # the centre is sold twice
    debit = pricing.value(trades["spot"], strikes_of(trades), trades["dte"], 0.04, dear)
    tradable = (debit > 0) & (debit < trades["width"].to_numpy())
    assert 0 < tradable.sum() < len(trades)
    found = remarking.remark(trades, dear, remarking.exit_vols_of(trades), COSTS)
    np.testing.assert_array_equal(np.isnan(found.roi), ~tradable)
    np.testing.assert_array_equal(np.isnan(found.debit), ~tradable)


def test_other_strikes_are_priced_and_missing_ones_have_no_price() -> None:
    trades = _trades()
    own = strikes_of(trades)
    wider = Strikes(own.center - 1.5 * own.width, own.center, own.center + 1.5 * own.width, 1.5 * own.width)
    gone = np.arange(len(trades)) % 2 == 0
    holed = Strikes(*(np.where(gone, np.nan, leg) for leg in (wider.lower, wider.center, wider.upper, wider.width)))
    vols = leg_vols_of(trades), remarking.exit_vols_of(trades)
    found = remarking.remark(trades, *vols, COSTS, holed)
    np.testing.assert_array_equal(np.isnan(found.roi), gone)
    assert (found.debit[~gone] > trades["debit"][~gone]).all()


# the worked example of REFERENCE section 1: S 100, wings 95/100/105, 45 days, 25 %, 5 days left
EXAMPLE = pd.DataFrame(
    {
        "spot": [100.0],
        "lower_strike": [95.0],
        "center_strike": [100.0],
        "upper_strike": [105.0],
        "width": [5.0],
        "dte": [45],
        "days_left": [5],
        "rate": [0.04],
        "iv_lower": [0.25],
        "iv_center": [0.25],
        "iv_upper": [0.25],
        "debit": [1.1012],
    }
)


def test_without_edge_the_tent_of_the_worked_example_earns_28_percent_and_the_mark_nothing() -> None:
    found = remarking.no_edge_returns(EXAMPLE)
    assert 100 * found.tent[0] == pytest.approx(28.3, abs=0.1)
    assert 100 * found.mark[0] == pytest.approx(0.4, abs=0.05)


def test_without_edge_and_smile_every_mark_earns_exactly_the_interest() -> None:
    trades = _trades(200)
    held = (trades["dte"] - trades["days_left"]) / 365
    found = remarking.no_edge_returns(trades)
    np.testing.assert_allclose(found.mark, np.expm1(trades["rate"] * held), atol=1e-8)
    assert (found.tent > found.mark).all()


@pytest.mark.parametrize("smile", [False, True])
def test_expected_returns_equal_the_mean_over_many_equally_likely_prices(smile: bool) -> None:
    trades = _trades(40)
    found = remarking.no_edge_returns(trades, smile=smile)
    deviate = ndtri((np.arange(100_001) + 0.5) / 100_001)
    for row in range(len(trades)):
        one = trades.iloc[[row]]
        legs, vols = strikes_of(one), leg_vols_of(one)
        if not smile:
            vols = type(vols)(vols.center, vols.center, vols.center)
        years, vol = (one["dte"] - one["days_left"]).iloc[0] / 365, one["iv_center"].iloc[0]
        spot = one["spot"].iloc[0] * np.exp((0.04 - vol**2 / 2) * years + vol * np.sqrt(years) * deviate)
        debit = pricing.value(one["spot"], legs, one["dte"], 0.04, vols)
        mark = pricing.value(spot, legs, one["days_left"].iloc[0], 0.04, vols)
        assert found.tent[row] == pytest.approx(pricing.roi_tent(spot, legs, debit).mean(), abs=2e-4)
        assert found.mark[row] == pytest.approx(pricing.roi_mark(mark, debit).mean(), abs=2e-5)


def test_a_row_does_not_depend_on_the_rows_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    trades = _trades(70)
    vols = leg_vols_of(trades), remarking.exit_vols_of(trades)
    whole, expected = remarking.remark(trades, *vols, COSTS), remarking.no_edge_returns(trades, smile=True)
    for row in (0, 33, len(trades) - 1):
        one = trades.iloc[[row]]
        alone = remarking.remark(one, leg_vols_of(one), remarking.exit_vols_of(one), COSTS)
        assert alone.roi[0] == whole.roi[row]
        assert alone.roi_net[0] == whole.roi_net[row]
        fair = remarking.no_edge_returns(one, smile=True)
        assert (fair.tent[0], fair.mark[0]) == (expected.tent[row], expected.mark[row])
    monkeypatch.setattr(remarking, "ROWS_PER_CHUNK", 7)
    assert remarking.no_edge_returns(trades, smile=True).mark.tobytes() == expected.mark.tobytes()


def test_labels_without_their_analysis_and_keys_held_twice_are_refused() -> None:
    analyses, labelled, _ = fair_trades(20)
    with pytest.raises(DataError, match="1 labels have no analysis"):
        remarking.labelled_trades(analyses.iloc[1:], labelled)
    with pytest.raises(DataError, match="the analyses hold"):
        remarking.labelled_trades(pd.concat([analyses, analyses.iloc[:1]]), labelled)
    missing = labelled.assign(missing_reason=["after_data_end"] + [""] * (len(labelled) - 1))
    assert len(remarking.labelled_trades(analyses, missing)) == len(labelled) - 1
