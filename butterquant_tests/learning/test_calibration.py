"""What calibrators do to probabilities, and which one is chosen on what evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.learning.calibration import (
    METHODS,
    Calibrator,
    ChosenCalibrator,
    choose_calibrator,
    fit_calibrator,
)
from butterquant_assets.learning.metrics import evaluate
from butterquant_assets.learning.reliability import calibration_guarantee

FIRST = np.datetime64("2010-01-04")


def sample(sessions: int, seed: int = 0, rows: int = 10) -> dict[str, np.ndarray]:
    """Weekly sessions, held six weeks, so that outcomes become known on a session; labels drawn as predicted."""
    random = np.random.default_rng(seed)
    order = np.repeat(FIRST + 7 * np.arange(sessions), rows)
    p = random.dirichlet([2, 0.6, 0.4, 2], size=order.size)
    y = (p.cumsum(axis=1) < random.random((order.size, 1))).sum(axis=1).clip(0, 3)
    groups = np.repeat(np.arange(sessions) // 5, rows)
    return {"probabilities": p, "labels": y, "order": order, "leave": order + 42, "groups": groups}


def sharpened(p: np.ndarray) -> np.ndarray:
    return p**2 / (p**2).sum(axis=1, keepdims=True)


def biased(p: np.ndarray) -> np.ndarray:
    weights = p * np.array([0.3, 1.5, 1.5, 1.0])
    return weights / weights.sum(axis=1, keepdims=True)


def choose(rows: dict[str, np.ndarray], **options: float) -> ChosenCalibrator:
    return choose_calibrator(**rows, **options)  # type: ignore[arg-type]


class Scores(ClassifierMixin, BaseEstimator):
    """An estimator whose decision function is its input."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Scores:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[X.argmax(axis=1)]


# Calibrators


def test_no_calibration_changes_not_a_bit() -> None:
    p = np.array([[0.0, 0.25, 0.25, 0.5], [1.0, 0.0, 0.0, 0.0]])
    assert (Calibrator("none").apply(p) == p).all()


def test_each_method_follows_its_formula_by_hand() -> None:
    p = np.array([[0.2, 0.8]])
    temperature = Calibrator("temperature", {"temperature": np.array([2.0])})
    assert temperature.apply(p) == pytest.approx(np.sqrt(p) / np.sqrt(p).sum())
    sigmoid = Calibrator("sigmoid", {"slope": np.array([2.0, 1.0]), "intercept": np.array([0.0, np.log(2.0)])})
    first, second = (1 / 16) / (1 + 1 / 16), 8 / 9
    assert sigmoid.apply(p) == pytest.approx(np.array([[first, second]]) / (first + second))
    isotonic = Calibrator(
        "isotonic",
        {"knots": np.array([[0.1, 0.3, 0.3], [0.2, 0.4, 0.7]]), "values": np.array([[0.1, 0.5, 0.5], [0.1, 0.2, 0.9]])},
    )
    assert isotonic.apply(p) == pytest.approx(np.array([[0.3, 0.9]]) / 1.2)
    venn_abers = Calibrator(
        "venn_abers",
        {"thresholds": np.array([[0.1, 0.2], [0.9, 0.9]]), "values": np.array([[0.1, 0.2, 0.4], [0.6, 0.7, 0.7]])},
    )
    assert venn_abers.apply(p) == pytest.approx(np.array([[0.4, 0.6]]))


# Isotonic values differ by the bound 1 / (n + 2) that keeps ours from certainty; each curve is compared exactly in
# test_calibration_tables.
@pytest.mark.parametrize(("method", "tolerance"), [("sigmoid", 2e-5), ("isotonic", 4 / 3002), ("temperature", 1e-5)])
def test_calibrated_probabilities_are_those_of_scikit_learn(method: str, tolerance: float) -> None:
    rows, fresh = sample(300, seed=1), sample(30, seed=2)
    p, y, asked = biased(rows["probabilities"]), rows["labels"], biased(fresh["probabilities"])
    p, asked = (np.clip(values.astype(np.float32).astype(np.float64), 1e-7, 1 - 1e-7) for values in (p, asked))
    # scikit-learn calibrates what the decision function gives: the scores of our formula.
    score = {"sigmoid": lambda q: np.log(q / (1 - q)), "isotonic": lambda q: q, "temperature": np.log}[method]
    theirs = CalibratedClassifierCV(FrozenEstimator(Scores().fit(score(p), y)), method=method)
    theirs.fit(score(p), y)
    ours = fit_calibrator(method, p, y).apply(asked)
    difference = np.abs(ours - theirs.predict_proba(score(asked)))
    assert difference.max() < tolerance
    assert np.median(difference) < 1e-6


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("distort", [sharpened, biased])
def test_each_method_improves_what_it_can_repair_and_hardly_harms_the_rest(method: str, distort: object) -> None:
    rows, fresh = sample(300, seed=3), sample(300, seed=4)
    raw = distort(fresh["probabilities"])  # type: ignore[operator]
    calibrator = fit_calibrator(method, distort(rows["probabilities"]), rows["labels"])  # type: ignore[operator]
    before, after = (evaluate(p, fresh["labels"]) for p in (raw, calibrator.apply(raw)))
    assert after["log_loss"] < before["log_loss"] - 0.001
    if not (method == "temperature" and distort is biased):  # one number cannot turn one class against another
        assert after["log_loss"] < before["log_loss"] - 0.05
        assert after["ece"] < before["ece"] / 2
    harmless = fit_calibrator(method, rows["probabilities"], rows["labels"]).apply(fresh["probabilities"])
    uncalibrated = evaluate(fresh["probabilities"], fresh["labels"])["log_loss"]
    assert evaluate(harmless, fresh["labels"])["log_loss"] < uncalibrated + 0.02


@settings(max_examples=40)
@given(
    raw=arrays.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(4)), elements=st.floats(1e-9, 1)),
    seed=st.integers(0, 1000),
    asked=arrays.arrays(np.float64, (5, 4), elements=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]))),
)
def test_any_few_rows_give_probabilities_that_sum_to_one(raw: np.ndarray, seed: int, asked: np.ndarray) -> None:
    p = raw / raw.sum(axis=1, keepdims=True)
    y = np.random.default_rng(seed).integers(0, 4, len(p))
    for method in METHODS[1:]:
        calibrated = fit_calibrator(method, p, y).apply(asked)
        assert ((calibrated > 0) & (calibrated <= 1)).all()
        assert np.abs(calibrated.sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_rows_does_not_matter_and_equal_rows_give_equal_bytes(method: str) -> None:
    rows, shuffle = sample(60, seed=5), np.random.default_rng(0).permutation(600)
    p, y = rows["probabilities"], rows["labels"]
    one, two = fit_calibrator(method, p, y), fit_calibrator(method, p, y)
    assert one.version() == two.version()
    shuffled = fit_calibrator(method, p[shuffle], y[shuffle])
    assert np.abs(shuffled.apply(p) - one.apply(p)).max() < 1e-9


@pytest.mark.parametrize("method", ["isotonic", "venn_abers"])
def test_curves_never_fall(method: str) -> None:
    rows = sample(100, seed=6)
    values = fit_calibrator(method, rows["probabilities"], rows["labels"]).tables["values"]
    assert (np.diff(values, axis=1) >= 0).all()


def test_a_steep_sigmoid_still_gives_probabilities() -> None:
    steep = Calibrator("sigmoid", {"slope": np.full(2, 1e4), "intercept": np.full(2, -1e5)})
    assert steep.apply([[0.5, 0.5]]) == pytest.approx(np.array([[0.5, 0.5]]))


def test_a_version_changes_with_every_number_and_with_the_method() -> None:
    one = Calibrator("sigmoid", {"slope": np.ones(4), "intercept": np.zeros(4)})
    other = Calibrator("sigmoid", {"slope": np.ones(4), "intercept": np.array([0, 0, 0, 1e-16])})
    versions = {one.version(), other.version(), Calibrator("none").version()}
    assert len(versions) == 3
    assert one.version() == Calibrator("sigmoid", dict(reversed(one.tables.items()))).version()
    assert all(len(version) == 16 for version in versions)


def test_tables_cannot_be_changed_behind_the_back_of_a_calibrator() -> None:
    given_table = np.array([2.0])
    calibrator = Calibrator("temperature", {"temperature": given_table})
    given_table[0] = 5.0
    assert calibrator.tables["temperature"] == [2.0]
    with pytest.raises(ValueError, match="read-only"):
        calibrator.tables["temperature"][0] = 3.0


@pytest.mark.parametrize(
    ("method", "tables", "message"),
    [
        ("sigmoid", {"slope": [1.0]}, r"tables \['slope'\]; expected \['intercept', 'slope'\]"),
        ("none", {"slope": [1.0]}, r"expected \[\]"),
        ("temperature", {"temperature": [1.0, 2.0]}, "shapes"),
        ("temperature", {"temperature": [0.0]}, "above 0"),
        ("sigmoid", {"slope": [1.0], "intercept": [1.0, 2.0]}, "shapes"),
        ("sigmoid", {"slope": [np.nan], "intercept": [1.0]}, "not finite"),
        ("isotonic", {"knots": [[0.1, 0.2]], "values": [[0.1, 0.2, 0.3]]}, "shapes"),
        ("isotonic", {"knots": [[0.2, 0.1]], "values": [[0.1, 0.2]]}, "do not ascend"),
        ("venn_abers", {"thresholds": [[0.1, 0.2]], "values": [[0.1, 0.2]]}, "shapes"),
    ],
)
def test_tables_that_do_not_fit_the_method_are_refused(method: str, tables: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Calibrator(method, {name: np.array(table) for name, table in tables.items()})


def test_what_cannot_be_fitted_or_applied_is_refused() -> None:
    with pytest.raises(ConfigError, match="'platt' is no calibration method; use one of none"):
        fit_calibrator("platt", [[0.25] * 4], [0])
    with pytest.raises(DataError, match="no rows"):
        fit_calibrator("sigmoid", np.empty((0, 4)), [])
    with pytest.raises(DataError, match="no class"):
        fit_calibrator("sigmoid", [[0.25] * 4], [4])
    for method in ("none", "temperature", "sigmoid"):
        calibrator = fit_calibrator(method, [[0.25] * 4, [0.1, 0.2, 0.3, 0.4]], [0, 1])
        with pytest.raises(DataError, match="1 rows hold missing probabilities, first row 0"):
            calibrator.apply([[np.nan] * 4])
    with pytest.raises(ValueError, match="expected"):
        calibrator.apply([[0.5, 0.5]])


# The choice


def test_probabilities_that_are_right_are_left_alone() -> None:
    chosen = choose(sample(120, seed=0))
    assert chosen.calibrator.method == "none"
    assert chosen.reason.startswith("none: no method gains more than 2 standard errors; ")
    table = chosen.table.set_index("method")
    assert table["chosen"].to_dict() == {method: method == "none" for method in METHODS}
    assert table.loc["none", "gain"] == 0


def test_right_probabilities_are_seldom_touched_over_many_samples() -> None:
    methods = [choose(sample(100, seed=seed)).calibrator.method for seed in range(20)]
    assert methods.count("none") >= 17


@pytest.mark.parametrize(
    ("distort", "method"), [(sharpened, "temperature"), (biased, "sigmoid")], ids=["sharpened", "biased"]
)
def test_the_method_that_fits_the_distortion_is_chosen_and_keeps_its_promise(distort: object, method: str) -> None:
    rows = sample(200, seed=11)
    rows["probabilities"] = distort(rows["probabilities"])  # type: ignore[operator]
    chosen = choose(rows)
    assert chosen.calibrator.method == method
    assert chosen.reason.startswith(f"{method}: {method} has a walk-forward log-loss of ")
    held_out = sample(200, seed=12)
    raw = distort(held_out["probabilities"])  # type: ignore[operator]
    guarantee = calibration_guarantee(chosen.calibrator.apply(raw), raw, held_out["labels"], seed=0)
    assert guarantee.holds
    assert guarantee.ece_uncalibrated > 2 * guarantee.ece_limit


def test_the_table_holds_the_scores_of_the_walk_forward_probabilities() -> None:
    rows = sample(120, seed=13)
    rows["probabilities"] = sharpened(rows["probabilities"])
    chosen = choose(rows)
    assert chosen.table["method"].tolist() == list(METHODS)
    y = rows["labels"]
    for figures in chosen.table.itertuples():
        p = chosen.candidates[str(figures.method)]
        scored = np.isfinite(p).all(axis=1)
        theirs = evaluate(p[scored], y[scored])
        assert figures.rows == scored.sum()
        assert (figures.log_loss, figures.brier, figures.ece) == tuple(theirs[n] for n in ("log_loss", "brier", "ece"))
        raw = evaluate(rows["probabilities"][scored], y[scored])["log_loss"]
        assert figures.gain == pytest.approx(raw - theirs["log_loss"], abs=1e-12)
    best = chosen.table.loc[chosen.table["chosen"]].iloc[0]
    assert best["gain"] > best["standard_error"] > 0


def test_a_block_is_calibrated_by_what_was_known_when_it_began_and_by_nothing_else() -> None:
    rows = sample(80, seed=14)
    p, y = biased(rows["probabilities"]), rows["labels"]
    candidates = choose({**rows, "probabilities": p}).candidates
    entered, left = rows["order"], rows["leave"]
    scored = np.isfinite(candidates["sigmoid"]).all(axis=1)
    start = entered[scored].min()
    known = left < start
    assert known.sum() >= 300
    assert (left < start - 7).sum() < 300
    first = fit_calibrator("sigmoid", p[known], y[known])
    one_session = entered == start
    assert (candidates["sigmoid"][one_session] == first.apply(p[one_session])).all()


@pytest.mark.parametrize("weeks", [45, 60, 85])
def test_rows_after_a_date_change_nothing_before_it(weeks: int) -> None:
    rows = sample(120, seed=15)
    rows["probabilities"] = biased(rows["probabilities"])
    whole = choose(rows)
    cut = FIRST + 7 * weeks
    before = rows["order"] < cut
    part = choose({name: values[before] for name, values in rows.items()})
    assert np.isfinite(part.out_of_fold).any()
    assert np.array_equal(whole.out_of_fold[before], part.out_of_fold, equal_nan=True)
    for method in METHODS:
        assert np.array_equal(whole.candidates[method][before], part.candidates[method], equal_nan=True)


def test_outcomes_not_known_at_a_date_change_nothing_before_it() -> None:
    rows = sample(120, seed=16)
    rows["probabilities"] = biased(rows["probabilities"])
    whole, cut = choose(rows), FIRST + 7 * 70
    other = choose({**rows, "labels": np.where(rows["leave"] >= cut, (rows["labels"] + 1) % 4, rows["labels"])})
    before = rows["order"] <= cut
    assert np.array_equal(whole.out_of_fold[before], other.out_of_fold[before], equal_nan=True)
    assert not np.array_equal(whole.out_of_fold, other.out_of_fold, equal_nan=True)


def test_the_choice_itself_is_made_walk_forward() -> None:
    rows = sample(150, seed=17)
    rows["probabilities"] = biased(rows["probabilities"])
    chosen = choose(rows)
    scored = np.isfinite(chosen.out_of_fold).all(axis=1)
    same = {m: (chosen.out_of_fold[scored] == p[scored]).all(axis=1) for m, p in chosen.candidates.items()}
    # Nothing has been judged when the first block begins, so it is left alone; the last one is calibrated.
    assert same["none"][0]
    assert same["sigmoid"][-1]
    assert np.logical_or.reduce(list(same.values())).all()


def test_an_embargo_keeps_fresh_outcomes_out() -> None:
    rows = sample(80, seed=18)
    free, kept = choose(rows), choose(rows, embargo_days=28)
    starts = [rows["order"][np.isfinite(c.out_of_fold[:, 0])].min() for c in (free, kept)]
    assert starts[1] - starts[0] == np.timedelta64(28, "D")


def test_too_little_evidence_means_no_calibration_and_says_why() -> None:
    rows = sample(29, seed=19)
    few = choose(rows)
    assert few.calibrator.method == "none"
    assert few.reason == "none: there are 290 rows, at least 300 are needed"
    assert np.isnan(few.out_of_fold).all()
    assert few.out_of_fold.shape == (290, 4)
    assert few.table["rows"].tolist() == [0] * 5
    assert few.table["chosen"].tolist() == [True, False, False, False, False]
    assert "no row entered after 300 outcomes" in choose(sample(32, seed=19)).reason
    empty = choose({name: values[:0] for name, values in rows.items()})
    assert "0 rows" in empty.reason


def test_a_gain_in_few_groups_is_not_believed() -> None:
    rows = sample(120, seed=20)
    rows["probabilities"] = sharpened(rows["probabilities"])
    rows["groups"] = (rows["order"] >= FIRST + 7 * 80).astype(np.int64)
    chosen = choose(rows)
    assert chosen.calibrator.method == "none"
    assert "of 2 groups, at least 6 groups are needed" in chosen.reason
    assert chosen.table["gain"].max() > 0.02


def test_the_standard_error_is_that_over_groups() -> None:
    rows = sample(120, seed=21)
    rows["probabilities"] = sharpened(rows["probabilities"])
    chosen = choose(rows)
    loss = {
        method: -np.log(chosen.candidates[method][np.arange(1200), rows["labels"]]) for method in ("none", "isotonic")
    }
    scored = np.isfinite(loss["none"])
    gains, groups = (loss["none"] - loss["isotonic"])[scored], rows["groups"][scored]
    sums = [(gains[groups == g] - gains.mean()).sum() for g in np.unique(groups)]
    expected = np.sqrt(len(sums) / (len(sums) - 1) * np.sum(np.square(sums))) / gains.size
    found = chosen.table.set_index("method").loc["isotonic", "standard_error"]
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_choice_that_cannot_be_made_is_refused() -> None:
    rows = sample(40)
    for options in ({"minimum_rows": 0}, {"minimum_groups": 1}, {"embargo_days": -1}, {"growth": 1.0}):
        with pytest.raises(ConfigError, match="growth"):
            choose(rows, **options)  # type: ignore[arg-type]
    order = rows["order"].copy()
    order[3] = np.datetime64("NaT")
    with pytest.raises(DataError, match="1 of 400 rows lack a date"):
        choose({**rows, "order": order})
    with pytest.raises(DataError, match="row 0 leaves before it enters"):
        choose({**rows, "leave": rows["order"] - 1})
    with pytest.raises(DataError, match="no episode"):
        choose({**rows, "groups": np.where(rows["groups"] > 2, np.nan, 1.0)})
    with pytest.raises(ValueError, match="shape"):
        choose({**rows, "leave": rows["leave"][:-1]})
