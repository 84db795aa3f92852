"""The geometry baseline against closed forms and simulation, and which analyses belong to which rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from butterquant_assets.butterfly import geometry, pricing
from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.geometry import aligned, geometry_probabilities
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_tests.butterfly.market_cases import market, returns, simulate_exit


def test_probabilities_at_expiry_match_the_normal_distribution() -> None:
    """Class 0 of roi_expiry is |S' - K| > W - 0.9 D, so its probability is a difference of normal distributions."""
    analyses = market(60)
    held = (analyses["evaluation_session"] - analyses["session"]).dt.days / 365
    vol, root = analyses["iv_center"], np.sqrt(held)
    found = geometry_probabilities(analyses, "label_expiry")

    def below(level: pd.Series) -> np.ndarray:
        drift = (analyses["rate"] - vol**2 / 2) * held
        return norm.cdf((np.log(level / analyses["spot"]) - drift) / (vol * root))

    for threshold, classes in ((-0.10, [0]), (0.05, [0, 1]), (0.15, [0, 1, 2])):
        reach = analyses["width"] - (1 + threshold) * analyses["debit"]
        inside = below(analyses["center_strike"] + reach) - below(analyses["center_strike"] - reach)
        # 2,001 equally likely points resolve each boundary to one part in 2,001, and smoothing moves four more.
        assert found[:, classes].sum(axis=1) == pytest.approx(1 - inside, abs=3.5e-3)


@pytest.mark.parametrize("kind", ["tent", "expiry", "mark", "net"])
def test_probabilities_match_a_simulation_of_the_no_edge_market(kind: str) -> None:
    row = market(12).iloc[[4]]
    many = row.loc[row.index.repeat(40_000)].reset_index(drop=True)
    classes = pricing.label_of(returns(many, simulate_exit(many, 3))[f"roi_{kind}"]).astype(int)
    simulated = np.bincount(classes, minlength=4) / len(many)
    assert geometry_probabilities(row, f"label_{kind}")[0] == pytest.approx(simulated, abs=0.01)


def test_a_finer_grid_changes_little_and_no_probability_is_zero() -> None:
    analyses = market(30)
    coarse, fine = (geometry_probabilities(analyses, "label_mark", points=points) for points in (2001, 20_001))
    assert coarse == pytest.approx(fine, abs=3e-3)
    assert (coarse > 0).all()
    assert coarse.sum(axis=1) == pytest.approx(np.ones(len(analyses)))


def test_the_geometry_baseline_is_the_same_for_prices_ten_times_higher() -> None:
    analyses = market(30)
    money = ["spot", "lower_strike", "center_strike", "upper_strike", "width", "debit"]
    tenfold = analyses.assign(**{name: analyses[name] * 10 for name in money})
    plain, scaled = (geometry_probabilities(frame, "label_mark") for frame in (analyses, tenfold))
    assert scaled == pytest.approx(plain, abs=1.0001 / 2005)  # rounding may move one point across a class boundary


def test_chunks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    analyses = market(20)
    whole = geometry_probabilities(analyses, "label_net")
    monkeypatch.setattr(geometry, "ROWS_PER_CHUNK", 3)
    assert geometry_probabilities(analyses, "label_net").tolist() == whole.tolist()


def test_unusable_analyses_are_refused() -> None:
    analyses = market(9)
    with pytest.raises(ConfigError, match="'label_best' is no label"):
        geometry_probabilities(analyses, "label_best")
    with pytest.raises(DataError, match="1 analyses lack debit"):
        geometry_probabilities(analyses.assign(debit=analyses["debit"].where(analyses.index > 0)), "label_mark")
    with pytest.raises(DataError, match="do not follow their entry"):
        geometry_probabilities(analyses.assign(evaluation_session=analyses["session"]), "label_mark")


def test_commission_moves_the_classes_after_costs_downwards_and_no_other() -> None:
    analyses = market(30)
    free, dear = (
        {
            label: geometry_probabilities(analyses, label, costs=CostConfig(commission))
            for label in ("label_net", "label_mark")
        }
        for commission in (0.0, 2.0)
    )
    at_least = np.tril(np.ones((4, 4)))  # column k: probability of class k or better
    moved = dear["label_net"] @ at_least - free["label_net"] @ at_least
    assert (moved <= 1e-12).all()
    assert moved.min() < -0.01
    assert dear["label_mark"].tolist() == free["label_mark"].tolist()


def test_analyses_are_found_by_session_and_ticker_whatever_their_order() -> None:
    analyses = market(60)
    rows = analyses[["session", "ticker"]].iloc[[40, 3, 17]]
    found = aligned(rows, analyses.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(found[analyses.columns], analyses.iloc[[40, 3, 17]].reset_index(drop=True))


def test_a_row_without_analysis_is_refused() -> None:
    analyses = market(30)
    with pytest.raises(DataError, match=r"1 training rows have no analysis, for instance .*SIM00"):
        aligned(analyses[["session", "ticker"]], analyses.iloc[1:])
