"""Vintages: nothing later than its boundary touches one, geometry is learnt without outcomes, weights are honest."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.geometry import aligned, geometry_probabilities
from butterquant_assets.butterfly.vintages import MEMBER_PRIOR_ROWS, Vintage, Walk
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning.calibration import choose_calibrator
from butterquant_assets.learning.ensemble import fit_weights, to_files
from butterquant_tests.butterfly.market_cases import QUICK, Tables, edge_walk, tables, walk_of

SMALL = replace(QUICK, members=("logistic",), student_hidden=(16,), student_epochs=3, step_rows=10_000)
"""One vintage and the final one, in less than a second."""


def small_tables() -> Tables:
    return tables(140, seed=5, labelled=3, tickers=4)


@lru_cache
def small_walk() -> Walk:
    return walk_of(small_tables(), SMALL)


def files_of(vintage: Vintage) -> dict[str, bytes]:
    return to_files(vintage.ensemble)


def dates(frame: pd.DataFrame, column: str) -> np.ndarray:
    return frame[column].to_numpy().astype("datetime64[D]")


def known_at(given: Tables, vintage: Vintage) -> np.ndarray:
    """Rows whose outcome was known at the boundary, with the embargo to spare, shape (n,)."""
    limit = vintage.fold.boundary - np.timedelta64(QUICK.embargo_days, "D")
    return dates(given.training_set, "evaluation_session") < limit


def assert_same_predictions(one: Walk, other: Walk, rows: np.ndarray) -> None:
    assert rows.any()
    for name, values in one.predictions.items():
        assert values[rows].tobytes() == other.predictions[name][rows].tobytes(), name


def test_cutting_the_history_leaves_every_earlier_vintage_and_its_predictions_as_they_were() -> None:
    whole, given = edge_walk(), tables(edge=True)
    third = whole.vintages[2]
    cut = given.known_on(str(third.fold.boundary + 120))
    assert len(cut.training_set) < len(given.training_set)
    assert len(cut.analyses) < len(given.analyses)
    before = walk_of(cut)
    assert [vintage.name for vintage in before.vintages[:3]] == [vintage.name for vintage in whole.vintages[:3]]
    assert third.weighed_on >= QUICK.minimum_weighing_rows  # one with weights and calibration it has learnt
    for old, new in zip(whole.vintages[:3], before.vintages[:3], strict=True):
        assert files_of(old) == files_of(new)
        assert old.weighed_on == new.weighed_on
        assert old.calibration.reason == new.calibration.reason
    keys = pd.MultiIndex.from_frame(given.training_set[["session", "ticker"]])
    place = keys.get_indexer(pd.MultiIndex.from_frame(cut.training_set[["session", "ticker"]]))
    for old, new in zip(whole.vintages[:2], before.vintages[:2], strict=True):
        assert np.array_equal(place[new.fold.test], np.flatnonzero(old.fold.test))
        for name, values in before.predictions.items():
            assert values[new.fold.test].tobytes() == whole.predictions[name][old.fold.test].tobytes(), name
    # What the third had met by then: fewer rows at once may round differently, and no more than that.
    met = before.vintages[2].fold.test
    assert 0 < met.sum() < third.fold.test.sum()
    for name, values in before.predictions.items():
        np.testing.assert_allclose(values[met], whole.predictions[name][place[met]], atol=1e-6)
    assert files_of(whole.vintages[3]) != files_of(before.vintages[3])


def test_outcomes_not_known_at_a_boundary_change_nothing_in_its_vintage_or_earlier_ones() -> None:
    whole, given = edge_walk(), tables(edge=True)
    third = whole.vintages[2]
    later = ~known_at(given, third)
    rows = given.training_set.copy()
    rows.loc[later, "label_mark"] = 3.0 - rows.loc[later, "label_mark"]
    rows.loc[later, ["roi_mark", "roi_net"]] = -9.0
    other = walk_of(replace(given, training_set=rows))
    for old, new in zip(whole.vintages[:3], other.vintages[:3], strict=True):
        assert files_of(old) == files_of(new)
    # Nor in what they predicted afterwards, although the outcomes of these rows are the changed ones.
    met = np.logical_or.reduce([vintage.fold.test for vintage in whole.vintages[:3]])
    assert (met & later).any()
    assert_same_predictions(whole, other, met)
    # The final vintage has seen them: its members, weights and calibration are others, its student is the same.
    old, new = files_of(whole.final), files_of(other.final)
    changed = {path for path in old if old[path] != new.get(path)}
    assert any(path.startswith("members/") for path in changed)
    assert "ensemble.json" in changed
    assert not any(path.startswith("base/") for path in changed)


def test_the_student_learns_geometry_from_labelled_and_unlabelled_rows() -> None:
    given = tables(200, labelled=3, tickers=16)
    assert len(given.analyses) > 5 * len(given.training_set)
    walk = walk_of(given, replace(QUICK, members=("logistic",), step_rows=10_000, student_epochs=60))
    truth = geometry_probabilities(aligned(given.training_set, given.analyses), QUICK.label)[walk.tested]
    base = walk.predictions["base"][walk.tested]
    divergence = (truth * np.log(truth / base)).sum(axis=1).mean()
    assert divergence == pytest.approx(walk.student_error)
    assert divergence < 0.01
    # Contracts of this market resemble each other: one who said the same for all would not be far away either.
    same_for_all = (truth * np.log(truth / truth.mean(axis=0))).sum(axis=1).mean()
    assert divergence < 0.25 * same_for_all


def test_the_student_uses_no_outcome() -> None:
    given = small_tables()
    labels = given.training_set["label_mark"].sample(frac=1, random_state=0).to_numpy()
    other = walk_of(replace(given, training_set=given.training_set.assign(label_mark=labels)), SMALL)
    for old, new in zip(small_walk().vintages, other.vintages, strict=True):
        first, second = files_of(old), files_of(new)
        student = [path for path in first if path.startswith("base/")]
        assert len(student) == 2
        assert all(first[path] == second[path] for path in student)
        assert first["members/logistic/tensors.safetensors"] != second["members/logistic/tensors.safetensors"]


def test_the_student_of_a_vintage_has_seen_no_analysis_from_its_boundary_on() -> None:
    given = small_tables()
    walk, first = small_walk(), small_walk().vintages[0]
    later = dates(given.analyses, "session") >= first.fold.boundary
    analyses, features = given.analyses.copy(), given.features.copy()
    analyses.loc[later, "iv_center"] *= 1.5
    features.loc[later, "current_iv"] *= 1.5
    other = walk_of(replace(given, analyses=analyses, features=features), SMALL)
    assert files_of(first) == files_of(other.vintages[0])
    base = "base/tensors.safetensors"
    assert files_of(walk.final)[base] != files_of(other.final)[base]


def test_weights_and_calibrator_rest_on_rows_met_by_earlier_vintages_and_known_at_the_boundary() -> None:
    walk, given = edge_walk(), tables(edge=True)
    entered, left = dates(given.training_set, "session"), dates(given.training_set, "evaluation_session")
    labels, episode = given.training_set["label_mark"].to_numpy().astype(int), given.training_set["episode"].to_numpy()
    names = ["base", *QUICK.members]
    learnt = 0
    for vintage in walk.vintages:
        known = (entered >= walk.vintages[0].fold.boundary) & known_at(given, vintage)
        assert vintage.weighed_on == known.sum()
        if known.sum() < QUICK.minimum_weighing_rows:
            assert vintage.ensemble.weights == pytest.approx(dict.fromkeys(names, 1 / 3))
        else:
            prior = dict.fromkeys(QUICK.members, MEMBER_PRIOR_ROWS) | {"base": QUICK.base_prior_rows}
            plain = fit_weights({name: walk.predictions[name][known] for name in names}, labels[known], prior=prior)
            assert vintage.ensemble.weights == plain
            learnt += 1
        chosen = choose_calibrator(
            walk.predictions["pool"][known],
            labels[known],
            entered[known],
            leave=left[known],
            groups=episode[known],
            minimum_rows=QUICK.minimum_calibration_rows,
            embargo_days=QUICK.embargo_days,
        )
        assert vintage.ensemble.calibrator.version() == chosen.calibrator.version()
        assert vintage.calibration.reason == chosen.reason
    assert learnt >= 2
    assert walk.final.calibration.table["rows"].max() > 100  # methods were indeed compared


def test_predictions_are_those_of_the_vintage_of_the_time() -> None:
    walk, given = edge_walk(), tables(edge=True)
    X = given.training_set[list(FEATURES)].to_numpy()
    covered = np.zeros(len(X), dtype=int)
    for vintage in walk.vintages[:-1]:
        met = vintage.fold.test
        covered += met
        assert not (met & vintage.fold.train).any()
        np.testing.assert_array_equal(walk.predictions["model"][met], vintage.ensemble.predict(X[met]))
    assert covered.max() == 1
    assert np.array_equal(covered == 1, walk.tested)
    for values in walk.predictions.values():
        assert np.isnan(values[~walk.tested]).all()
        assert values[walk.tested].sum(axis=1) == pytest.approx(np.ones(walk.tested.sum()))
    assert walk.final.fold.train.all()
    assert not walk.final.fold.test.any()


def test_a_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    given = small_tables()
    one, same, other = (
        [files_of(vintage) for vintage in walk.vintages]
        for walk in (small_walk(), walk_of(given, SMALL), walk_of(given, replace(SMALL, seed=8)))
    )
    assert one == same
    assert all(first["base/tensors.safetensors"] != second["base/tensors.safetensors"]
               for first, second in zip(one, other, strict=True))  # fmt: skip


def test_the_order_of_analyses_and_features_does_not_matter() -> None:
    given = small_tables()
    shuffled = replace(
        given,
        analyses=given.analyses.sample(frac=1, random_state=1),
        features=given.features.sample(frac=1, random_state=2),
    )
    one, other = small_walk(), walk_of(shuffled, SMALL)
    assert [files_of(vintage) for vintage in one.vintages] == [files_of(vintage) for vintage in other.vintages]


def test_weights_of_rows_count_where_the_table_has_them_and_later_ones_do_not_reach_back() -> None:
    given = small_tables()
    walk, first = small_walk(), small_walk().vintages[0]
    ones = walk_of(replace(given, training_set=given.training_set.assign(weight=1.0)), SMALL)
    assert [files_of(vintage) for vintage in ones.vintages] == [files_of(vintage) for vintage in walk.vintages]
    later = np.where(first.fold.train, 1.0, 0.25)
    weighed = walk_of(replace(given, training_set=given.training_set.assign(weight=later)), SMALL)
    assert files_of(weighed.vintages[0]) == files_of(first)
    tensors = "members/logistic/tensors.safetensors"
    assert files_of(weighed.final)[tensors] != files_of(walk.final)[tensors]


def test_analyses_without_features_are_left_out_of_the_students_lessons() -> None:
    given = small_tables()
    labelled = pd.MultiIndex.from_frame(given.training_set[["session", "ticker"]])
    kept = given.features[pd.MultiIndex.from_frame(given.features[["session", "ticker"]]).isin(labelled)]
    assert len(kept) < len(given.features)
    fewer = walk_of(replace(given, features=kept), SMALL)
    missing = given.analyses[pd.MultiIndex.from_frame(given.analyses[["session", "ticker"]]).isin(labelled)]
    none = walk_of(replace(given, features=kept, analyses=missing), SMALL)
    assert files_of(fewer.final) == files_of(none.final)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"minimum_rows": 5000}, r"at least 5000 rows from 8 episodes are needed \(\d+ rows in all\)"),
        ({"minimum_episodes": 500}, "rows from .* episodes had left .*at least 300 rows from 500 episodes"),
    ],
)
def test_too_few_rows_or_episodes_are_refused_with_the_reason(changed: dict[str, int], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        walk_of(small_tables(), replace(SMALL, **changed))


def test_a_training_row_without_analysis_is_refused() -> None:
    given = small_tables()
    with pytest.raises(DataError, match="1 training rows have no analysis, for instance"):
        walk_of(replace(given, analyses=given.analyses.iloc[1:]), SMALL)
