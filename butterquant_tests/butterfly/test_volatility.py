"""The volatility model: finds what is there, claims nothing where there is nothing, and never looks ahead."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import volatility
from butterquant_assets.butterfly.short_term_schemas import evaluation_contract
from butterquant_assets.butterfly.short_term_training import ShortTermConfig, folds_of
from butterquant_assets.butterfly.volatility import LEARNERS, PREDICTORS, PRIMARY, TrainedVolatility
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.foundation.model_content import canonical_json
from butterquant_tests.butterfly.short_term_cases import DATA_VERSIONS, SMALL, made_up_rows


def _train(rows: pd.DataFrame, config: ShortTermConfig = SMALL, *, spread: bool = False) -> TrainedVolatility:
    return volatility.train_and_judge(
        rows, config, spread_over_episodes=spread, data_versions=DATA_VERSIONS, code_version="c" * 16
    )


@lru_cache
def _trained(planted: bool = True) -> TrainedVolatility:
    return _train(made_up_rows(planted))


def _figure(trained: TrainedVolatility, predictor: str, metric: str) -> float:
    table = trained.evaluation
    chosen = (table["predictor"] == predictor) & (table["metric"] == metric) & (table["part"] == "all")
    return float(table.loc[chosen, "value"].iloc[0])


def test_what_a_feature_knows_of_volatility_is_found_and_claimed() -> None:
    trained = _trained()
    verdict = trained.training["verdict"]
    assert verdict["beats_garch"]
    assert verdict["beats_references"]
    assert _figure(trained, PRIMARY, "rmse") < 0.93 * _figure(trained, "har_x", "rmse")
    assert _figure(trained, "garch_corrected", "rmse_over_garch") < 1.0
    assert trained.facts["verdict"] == verdict["sentence"]


def test_where_nothing_is_planted_no_learner_beats_the_references() -> None:
    trained = _trained(planted=False)
    assert not trained.training["verdict"]["beats_references"]
    for kind in LEARNERS:
        assert _figure(trained, kind, "rmse") > 0.99 * _figure(trained, "har_x", "rmse")


def test_removing_the_planted_bias_of_garch_is_seen_in_the_variance_ratio() -> None:
    trained = _trained(planted=False)
    assert _figure(trained, "garch", "variance_ratio") == pytest.approx(1 / 1.2**2, rel=0.1)
    assert _figure(trained, "garch_corrected", "variance_ratio") == pytest.approx(1.0, abs=0.1)


def test_scores_are_those_of_the_forecasts_kept_beside_them() -> None:
    trained = _trained()
    kept = trained.out_of_fold
    assert evaluation_contract("butterfly/volatility_model").validate(trained.evaluation).reasons() == []
    assert _figure(trained, "all_rows", "rows") == len(kept)
    for name in PREDICTORS:
        errors = kept["realised_vol_7"] - kept[f"vol_{name}"]
        assert _figure(trained, name, "rmse") == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-12)
        assert (kept[f"variance_{name}"] > 0).all()


def test_forecasts_of_a_fold_do_not_depend_on_anything_after_it() -> None:
    rows = made_up_rows()
    folds = folds_of(rows, SMALL)
    last = np.flatnonzero(folds[1].test).max()
    changed = rows.copy()
    random = np.random.default_rng(0)
    changed.loc[last + 1 :, "realised_vol_7"] = random.uniform(0.1, 2.0, len(rows) - last - 1)
    for other in (rows.iloc[: last + 1], changed):
        walked, whole = volatility.walk(other, SMALL), volatility.walk(rows, SMALL)
        for name in PREDICTORS:
            early = folds[0].test[: len(other)] | folds[1].test[: len(other)]
            one = walked.forecasts[name].variance[early]
            assert one.tobytes() == whole.forecasts[name].variance[: len(other)][early].tobytes()


def test_outcomes_of_tested_rows_do_not_reach_their_own_forecasts() -> None:
    rows = made_up_rows()
    fold = folds_of(rows, SMALL)[-1]
    changed = rows.copy()
    changed.loc[fold.test, "realised_vol_7"] *= 3.0
    one, other = volatility.walk(rows, SMALL), volatility.walk(changed, SMALL)
    for name in PREDICTORS:
        assert one.forecasts[name].volatility.tobytes() == other.forecasts[name].volatility.tobytes()


def test_the_same_rows_and_seed_give_the_same_bytes() -> None:
    again, trained = _train(made_up_rows()), _trained()
    assert again.version == trained.version
    assert again.files == trained.files
    assert again.plots == trained.plots
    assert canonical_json(again.training) == canonical_json(trained.training)
    pd.testing.assert_frame_equal(again.evaluation, trained.evaluation, check_exact=True)


def test_stored_models_forecast_what_the_trained_ones_do() -> None:
    trained, rows = _trained(), made_up_rows()
    restored = volatility.restore(trained.files, trained.training)
    for kind in LEARNERS:
        one, other = trained.models[kind].forecast(rows), restored[kind].forecast(rows)
        np.testing.assert_array_equal(one.variance, other.variance)
        np.testing.assert_array_equal(one.volatility, other.volatility)
        assert (one.volatility**2 < one.variance).all()


def test_another_seed_gives_another_version_and_on_sampled_rows_a_reserve() -> None:
    trained = _train(made_up_rows(), ShortTermConfig(400, 8, 400, seed=8), spread=True)
    assert trained.version != _trained().version
    assert "the sample itself knows some of the future" in trained.training["verdict"]["sentence"]
    assert "the sample itself" not in _trained().training["verdict"]["sentence"]


def test_too_few_rows_or_episodes_are_refused() -> None:
    with pytest.raises(DataError, match="400 rows from 8 episodes are needed"):
        _train(made_up_rows().iloc[:300])
