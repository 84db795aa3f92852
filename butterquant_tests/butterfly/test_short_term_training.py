"""What the short-term models share: rows joined without loss, folds that look back only."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.butterfly.short_term_schemas import SHORT_TERM_SET
from butterquant_assets.butterfly.short_term_training import (
    NetworkSettings,
    ShortTermConfig,
    evaluation_rows,
    folds_of,
    parts_of,
    walked_folds,
)
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.short_term_cases import SMALL, made_up_rows


def test_the_made_up_rows_keep_the_contract_of_real_ones() -> None:
    kept = {name: check for name, check in SHORT_TERM_SET.validate(made_up_rows()).checks.items() if not check.passed}
    # made-up features have no units, so only their ranges may be off
    assert set(kept) <= {"schema"}


def test_targets_of_training_rows_are_known_before_the_first_tested_session() -> None:
    rows = made_up_rows()
    folds = folds_of(rows, SMALL)
    assert len(folds) >= 2
    for fold in folds:
        parts = parts_of(rows, fold, SMALL)
        known = rows.loc[parts.train, "target_session"].max()
        assert known + np.timedelta64(SMALL.embargo_days, "D") < rows.loc[parts.test, "session"].min()
        assert rows.loc[parts.fit, "target_session"].max() < rows.loc[parts.validation, "session"].min()
        assert not (parts.fit & parts.validation).any()
        assert ((parts.fit | parts.validation) <= parts.train).all()
    tests = walked_folds(rows, folds)
    numbers = tests.fold
    assert sorted(set(numbers)) == [-1, *range(len(folds))]
    assert (np.diff(numbers) >= 0).all()
    assert tests.tested.tolist() == np.any([fold.test for fold in folds], axis=0).tolist()
    assert tests.boundaries == tuple(facts["boundary"] for facts in tests.summary)


def test_too_little_evidence_is_refused_with_what_is_missing() -> None:
    with pytest.raises(DataError, match="at least 5000 rows from 8"):
        folds_of(made_up_rows(), ShortTermConfig(minimum_train_rows=5000, minimum_train_episodes=8))
    with pytest.raises(DataError, match="rows from 80 episodes are needed"):
        folds_of(made_up_rows(), ShortTermConfig(minimum_train_rows=400, minimum_train_episodes=80))


def test_a_setting_of_the_network_leaves_the_others_as_they_are() -> None:
    changed, default = NetworkSettings(max_epochs=3), ShortTermConfig().mlp
    assert changed.max_epochs == 3
    assert (changed.hidden, changed.dropout, changed.batch_size) == (default.hidden, default.dropout, 256)


def test_an_evaluation_is_long_sorted_and_free_of_infinities() -> None:
    table = evaluation_rows({("b", "all"): {"x": 1.0, "low": -np.inf}, ("a", "2015-01-01"): {"x": 2.0}})
    assert table[["predictor", "part", "metric"]].to_numpy().tolist() == [
        ["a", "2015-01-01", "x"],
        ["b", "all", "low"],
        ["b", "all", "x"],
    ]
    assert table["value"].tolist()[0::2] == [2.0, 1.0]
    assert np.isnan(table["value"][1])
