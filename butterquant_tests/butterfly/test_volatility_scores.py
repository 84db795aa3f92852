"""Scores of volatility forecasts: recomputed by hand, honest on little evidence, and claiming only what is shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import volatility_scores as scores
from butterquant_assets.butterfly.short_term_schemas import evaluation_contract
from butterquant_assets.butterfly.volatility_forecasts import REFERENCE_FORECASTS, Forecast
from butterquant_assets.foundation.errors import DataError

BOUNDARIES = ("2015-01-01", "2016-01-01")


def _case(
    quality: dict[str, float], episodes: int = 20, rows: int = 400, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray, dict[str, Forecast]]:
    """Rows, folds and forecasts; a predictor's quality is the standard deviation of its error in logs."""
    random = np.random.default_rng(seed)
    truth = 0.25 * np.exp(0.3 * random.standard_normal(rows))
    frame = pd.DataFrame(
        {
            "session": pd.to_datetime("2015-01-02") + pd.to_timedelta(np.arange(rows) // 4, unit="D"),
            "episode": [f"e{k * episodes // rows}" for k in range(rows)],
            "realised_vol_7": truth,
        }
    )
    made = {}
    for name in (*REFERENCE_FORECASTS, "learner"):
        vol = truth * np.exp(quality.get(name, 0.3) * random.standard_normal(rows))
        made[name] = Forecast(vol**2, vol)
    return frame, np.repeat([0, 1], rows // 2), made


def _scores(quality: dict[str, float], episodes: int = 20) -> scores.Scores:
    frame, fold, made = _case(quality, episodes)
    return scores.score(frame, fold, BOUNDARIES, made, seed=1)


def test_every_figure_is_recomputed_from_the_forecasts() -> None:
    frame, fold, made = _case({"learner": 0.1})
    found = scores.score(frame, fold, BOUNDARIES, made, seed=1)
    realised = frame["realised_vol_7"].to_numpy()
    for part, mask in {"2015-01-01": fold == 0, "2016-01-01": fold == 1, "all": fold >= 0}.items():
        for name, forecast in made.items():
            errors = realised[mask] - forecast.volatility[mask]
            assert found.figure(name, "rmse", part) == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-12)
            ratio = realised[mask] ** 2 / forecast.variance[mask]
            assert found.figure(name, "qlike", part) == pytest.approx((ratio - np.log(ratio) - 1).mean(), rel=1e-12)
        ours, garch = (found.figure(name, "rmse", part) for name in ("learner", "garch"))
        assert found.figure("learner", "rmse_over_garch", part) == pytest.approx(ours / garch, rel=1e-12)
    assert found.figure("all_rows", "rows") == 400
    assert found.figure("all_rows", "sessions") == 100
    assert found.figure("all_rows", "episodes") == 20
    assert found.figure("learner", "rmse_over_garch_low") < found.ratios["learner", "garch"][0]
    assert found.figure("learner", "rmse_over_garch_high") > found.ratios["learner", "garch"][0]
    assert evaluation_contract("butterfly/volatility_model").validate(found.table).reasons() == []


def test_rows_that_no_fold_tests_do_not_count() -> None:
    frame, fold, made = _case({})
    fold = np.where(np.arange(400) < 200, fold, -1)
    for forecast in made.values():
        forecast.volatility[200:] = forecast.variance[200:] = np.nan
    found = scores.score(frame, fold, BOUNDARIES[:1], made, seed=1)
    assert found.figure("all_rows", "rows") == 200


def test_a_better_learner_is_found_better_and_a_worse_one_worse() -> None:
    better = scores.verdict(_scores({"learner": 0.1}), "learner", spread_over_episodes=False)
    assert better.beats_garch
    assert better.beats_references
    assert better.high < 1
    assert "better than GARCH and every other reference" in better.sentence
    assert "more than the 15% to 25% that were hoped for" in better.sentence
    worse = scores.verdict(_scores({"learner": 0.9}), "learner")
    assert not worse.beats_garch
    assert worse.sentence.endswith("it forecasts worse than GARCH.")


def test_beating_garch_alone_is_not_beating_every_reference() -> None:
    verdict = scores.verdict(_scores({"learner": 0.2, "har_rv": 0.15, "garch_corrected": 0.2}), "learner")
    assert verdict.beats_garch
    assert not verdict.beats_references
    assert "not shown better than garch_corrected and har_rv" in verdict.sentence
    assert "the sample itself knows some of the future" in verdict.sentence


def test_few_episodes_show_nothing_and_one_has_no_interval() -> None:
    few = scores.verdict(_scores({"learner": 0.05}, episodes=5), "learner")
    assert not few.beats_garch
    assert "fewer than 6 episodes" in few.sentence
    one = scores.verdict(_scores({"learner": 0.05}, episodes=1), "learner")
    assert not one.beats_garch
    assert one.to_json()["high"] is None


def test_equal_forecasters_are_told_apart_no_more_often_than_chance_allows() -> None:
    claims = 0
    for seed in range(60):
        frame, fold, made = _case({}, seed=seed)
        found = scores.score(frame, fold, BOUNDARIES, made, seed=1)
        claims += scores.verdict(found, "learner").beats_garch
    # 2.5 % a side; at most 5 of 60 has probability .997 under it
    assert claims <= 5


def test_the_comparison_by_session_looks_four_overlaps_back_and_needs_sessions_enough() -> None:
    frame, fold, made = _case({"learner": 0.2})
    found = scores.score(frame, fold, BOUNDARIES, made, seed=1)
    errors = [(frame["realised_vol_7"] - made[name].volatility) ** 2 for name in ("garch", "learner")]
    daily = (errors[0] - errors[1]).groupby(frame["session"]).mean().to_numpy()
    n, h = len(daily), 25
    variance = 0.0
    for apart in range(-24, 25):  # Newey and West with the weights of Bartlett, written out
        pairs = [(daily[t] - daily.mean()) * (daily[t + apart] - daily.mean()) for t in range(n) if 0 <= t + apart < n]
        variance += (1 - abs(apart) / h) * sum(pairs) / n
    corrected = np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    expected = corrected * daily.mean() / np.sqrt(variance / n)
    assert found.figure("learner", "dm_statistic_squared_error") == pytest.approx(expected, rel=1e-9)
    short, few, forecasts = _case({"learner": 0.1}, rows=100)
    untested = scores.score(short, few, BOUNDARIES, forecasts, seed=1)
    assert np.isnan(untested.figure("learner", "dm_p_value_qlike"))
    assert "too few sessions for Diebold-Mariano" in scores.verdict(untested, "learner").sentence


def test_a_price_that_did_not_move_has_a_finite_loss_and_is_counted() -> None:
    frame, fold, made = _case({})
    frame.loc[3, "realised_vol_7"] = 0.0
    found = scores.score(frame, fold, BOUNDARIES, made, seed=1)
    assert np.isfinite(found.figure("learner", "qlike"))
    assert found.figure("all_rows", "floored_rows") == 1


@pytest.mark.parametrize("bad", [np.nan, 0.0, -0.1, np.inf])
def test_a_forecast_that_is_none_is_refused_with_its_predictor(bad: float) -> None:
    frame, fold, made = _case({})
    made["learner"].variance[7] = bad
    with pytest.raises(DataError, match="1 of 400 forecasts of learner are not positive"):
        scores.score(frame, fold, BOUNDARIES, made, seed=1)


def test_figures_by_fold_and_pooled_are_those_of_the_table() -> None:
    found = _scores({})
    by_fold = found.by_fold("rmse")
    assert list(dict.fromkeys(by_fold["fold"])) == list(BOUNDARIES)
    assert len(by_fold) == 2 * 5
    pooled = found.pooled("rmse_over_garch").set_index("name")
    assert list(pooled.index) == ["garch_corrected", "har_rv", "har_x", "learner"]
    assert pooled.loc["learner", "value"] == found.figure("learner", "rmse_over_garch")
