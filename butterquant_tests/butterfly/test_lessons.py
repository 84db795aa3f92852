"""The sample and its feedback rows: no row twice, the sample untouched and first."""

from __future__ import annotations

import pandas as pd
import pytest

from butterquant_assets.butterfly.lessons import with_feedback
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.market_cases import KEYS, tables


def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Half of a training set in disorder, and the other half as feedback rows."""
    rows = tables(20, labelled=2, tickers=2).training_set
    feedback = rows.iloc[1::2].assign(kind="feedback", weight=0.5, tracks="ai", route="champion")
    return rows.iloc[::2].sample(frac=1, random_state=0), feedback


def test_the_sample_comes_first_in_its_order_and_feedback_follows_with_its_weight() -> None:
    sample, feedback = parts()
    together = with_feedback(sample, feedback)
    assert list(together.columns) == [*sample.columns, "kind", "weight"]
    head = together.iloc[: len(sample)]
    pd.testing.assert_frame_equal(head[sample.columns], sample.reset_index(drop=True))
    assert (head["kind"] == "sample").all()
    assert (head["weight"] == 1.0).all()
    rest = together.iloc[len(sample) :].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        rest[[*sample.columns, "kind", "weight"]], feedback[rest.columns].reset_index(drop=True)
    )


def test_weights_the_sample_has_are_kept() -> None:
    sample, feedback = parts()
    together = with_feedback(sample.assign(weight=0.25), feedback)
    assert together.groupby("kind")["weight"].unique().map(list).to_dict() == {"feedback": [0.5], "sample": [0.25]}


def test_without_feedback_rows_the_sample_is_all_there_is() -> None:
    sample, feedback = parts()
    together = with_feedback(sample, feedback.iloc[:0])
    pd.testing.assert_frame_equal(together[sample.columns], sample.reset_index(drop=True))


def test_a_row_of_the_sample_or_a_repeated_one_is_refused() -> None:
    sample, feedback = parts()
    taken = sample.iloc[:1].assign(kind="feedback", weight=1.0)
    for doubled in (pd.concat([feedback, taken]), pd.concat([feedback, feedback.iloc[:1]])):
        with pytest.raises(DataError, match="1 feedback rows are in the training set already"):
            with_feedback(sample, doubled)
    assert not with_feedback(sample, feedback).duplicated(KEYS).any()
