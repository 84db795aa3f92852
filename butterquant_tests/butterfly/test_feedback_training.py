"""Training with feedback rows: they teach members once their outcome is known, and judge nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import success_report
from butterquant_assets.butterfly.success_report import Findings, Outlook
from butterquant_assets.butterfly.vintages import Vintage, Walk, train_vintages
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.ensemble import to_files
from butterquant_tests.butterfly.market_cases import COSTS, QUICK, Tables, tables, trained, walk_of

SMALL = replace(QUICK, members=("logistic",), student_hidden=(16,), student_epochs=3, step_rows=10_000)
"""One vintage and the final one, in less than a second."""
TENSORS = "members/logistic/tensors.safetensors"


def sample() -> Tables:
    return tables(140, seed=5, labelled=3, tickers=4)


@lru_cache
def feedback(weight: float = 1.0) -> pd.DataFrame:
    """Every labelled row of the ticker that the sample leaves out."""
    rows = tables(140, seed=5, labelled=4, tickers=4).training_set
    rows = rows[~rows["ticker"].isin(sample().training_set["ticker"])].reset_index(drop=True)
    return rows.assign(kind="feedback", weight=weight, tracks="ai", route="champion")


@lru_cache
def plain_walk() -> Walk:
    return walk_of(sample(), SMALL)


def walk_with(rows: pd.DataFrame) -> Walk:
    given = sample()
    return train_vintages(given.training_set, given.analyses, given.features, SMALL, COSTS, rows)


def files_of(vintage: Vintage) -> dict[str, bytes]:
    return to_files(vintage.ensemble)


def known_at(rows: pd.DataFrame, vintage: Vintage) -> np.ndarray:
    """Rows whose outcome was known at the boundary, with the embargo to spare."""
    left = rows["evaluation_session"].to_numpy().astype("datetime64[D]")
    return left < vintage.fold.boundary - np.timedelta64(SMALL.embargo_days, "D")


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take the most time by far; here they do not matter."""

    def look(found: Findings) -> Outlook:
        return Outlook(b"report", {}, {})

    monkeypatch.setattr(success_report, "look", look)


def test_an_empty_ledger_gives_the_model_that_none_gives_byte_for_byte(no_report: None) -> None:
    without, empty = trained(sample(), SMALL), trained(sample(), SMALL, feedback=feedback().iloc[:0])
    assert without.files == empty.files
    assert without.version == empty.version
    assert without.training == empty.training
    pd.testing.assert_frame_equal(without.evaluation, empty.evaluation, check_exact=True)


def test_feedback_rows_teach_members_and_leave_geometry_alone() -> None:
    walk = walk_with(feedback())
    assert walk.final.feedback == len(feedback())
    assert 0 < walk.vintages[0].feedback < len(feedback())
    for one, other in zip(plain_walk().vintages, walk.vintages, strict=True):
        assert files_of(one)[TENSORS] != files_of(other)[TENSORS]
        assert files_of(one)["base/tensors.safetensors"] == files_of(other)["base/tensors.safetensors"]


def test_outcomes_not_known_at_a_boundary_teach_nothing_before_it() -> None:
    walk, rows = walk_with(feedback()), feedback().copy()
    first = walk.vintages[0]
    later = ~known_at(rows, first)
    assert first.feedback == (~later).sum()
    rows.loc[later, "label_mark"] = 3.0 - rows.loc[later, "label_mark"]
    for other in (walk_with(rows), walk_with(rows[~later])):
        assert files_of(other.vintages[0]) == files_of(first)
        met = first.fold.test
        assert other.predictions["model"][met].tobytes() == walk.predictions["model"][met].tobytes()
        assert files_of(other.final)[TENSORS] != files_of(walk.final)[TENSORS]


def test_the_last_vintage_decides_only_on_days_after_everything_it_has_learnt_from() -> None:
    later = feedback().tail(1)
    days = pd.Timedelta(days=200)
    moved = later.assign(session=later["session"] + days, evaluation_session=later["evaluation_session"] + days)
    walk = walk_with(pd.concat([feedback(), moved], ignore_index=True))
    assert walk.final.fold.boundary > plain_walk().final.fold.boundary
    assert walk.final.fold.boundary > moved["evaluation_session"].iloc[0].to_datetime64()
    assert [v.name for v in walk.vintages[:-1]] == [v.name for v in plain_walk().vintages[:-1]]


def test_nothing_is_judged_calibrated_or_weighed_on_feedback_rows(no_report: None) -> None:
    plain, walk = plain_walk(), walk_with(feedback())
    assert len(walk.predictions["model"]) == len(sample().training_set)
    np.testing.assert_array_equal(walk.tested, plain.tested)
    for one, other in zip(plain.vintages, walk.vintages, strict=True):
        assert one.weighed_on == other.weighed_on
        assert len(other.fold.train) == len(sample().training_set)
    model = trained(sample(), SMALL, feedback=feedback())
    judged = set(model.predictions["ticker"])
    assert judged <= set(sample().training_set["ticker"])
    assert judged.isdisjoint(feedback()["ticker"])
    assert len(model.predictions) == walk.tested.sum() * model.predictions["predictor"].nunique()


def test_weights_change_the_fit_and_the_card_says_what_was_learnt_from(no_report: None) -> None:
    light, heavy = walk_with(feedback(0.25)), walk_with(feedback(4.0))
    assert files_of(light.final)[TENSORS] != files_of(heavy.final)[TENSORS]
    model = trained(sample(), SMALL, feedback=feedback(0.25))
    found = model.training["training"]["feedback"]
    assert found["rows"] == len(feedback())
    assert found["weight"] == pytest.approx(0.25 * len(feedback()))
    assert found["rows_by_tracks"] == {"ai": len(feedback())}
    assert found["rows_by_vintage"] == {vintage.name: vintage.feedback for vintage in light.vintages}
    assert "feedback" not in trained(sample(), SMALL).training["training"]
    assert model.version != trained(sample(), SMALL, feedback=feedback(4.0)).version


def test_a_feedback_row_that_the_training_set_holds_is_refused() -> None:
    own = sample().training_set.iloc[:1].assign(kind="feedback", weight=1.0)
    with pytest.raises(DataError, match="1 feedback rows are in the training set already"):
        walk_with(own)
