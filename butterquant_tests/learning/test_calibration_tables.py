"""What each calibration method learns, against scikit-learn, a plain refit, and planted answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from butterquant_assets.learning import calibration_tables as fits

Arrays = tuple[np.ndarray, np.ndarray]


def calibrated_set(n: int, seed: int = 0) -> Arrays:
    """Dirichlet probabilities and labels drawn from them."""
    random = np.random.default_rng(seed)
    p = random.dirichlet([2, 0.6, 0.4, 2], size=n)
    return p, (p.cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(0, 3)


def few_scores(n: int, seed: int = 0) -> Arrays:
    """The same with only a dozen distinct scores a class, so that ties abound."""
    p, y = calibrated_set(n, seed)
    rounded = np.round(p * 4) + 0.25
    return rounded / rounded.sum(axis=1, keepdims=True), y


def pooled_adjacent_violators(values: list[float], weights: list[float]) -> list[float]:
    """The textbook algorithm, kept as a list of [mean, weight, cells]."""
    blocks: list[list[float]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, total, cells = blocks.pop()
            block = blocks[-1]
            block[0] = (block[0] * block[1] + mean * total) / (block[1] + total)
            block[1] += total
            block[2] += cells
    return [block[0] for block in blocks for _ in range(int(block[2]))]


def refitted(cells: np.ndarray, hits: np.ndarray, at: int, label: int) -> float:
    """Isotonic regression over all rows and one new row, at the new row."""
    where, outcome = np.append(cells, at), np.append(hits, label)
    counts = [float((where == cell).sum()) for cell in range(int(cells.max()) + 1)]
    means = [float(outcome[where == cell].mean()) for cell in range(len(counts))]
    return pooled_adjacent_violators(means, counts)[at]


@pytest.mark.parametrize("planted", [0.5, 1.0, 1.7, 3.0])
def test_the_temperature_that_was_planted_is_found_again(planted: float) -> None:
    true, y = calibrated_set(20_000, seed=1)
    distorted = true**planted / (true**planted).sum(axis=1, keepdims=True)
    found = fits.temperature_tables(distorted, y)["temperature"]
    assert found == pytest.approx([planted], rel=0.03)


def test_no_other_temperature_has_a_lower_log_loss() -> None:
    p, y = calibrated_set(500, seed=2)
    best = fits.temperature_tables(p, y)["temperature"][0]

    def loss(temperature: float) -> float:
        weights = p ** (1 / temperature)
        return float(-np.log((weights / weights.sum(axis=1, keepdims=True))[np.arange(y.size), y]).mean())

    assert loss(best) <= min(loss(best * 1.001), loss(best / 1.001))
    assert loss(best) <= min(loss(t) for t in np.geomspace(0.1, 10, 400))


def test_the_temperature_stays_finite_where_the_best_one_is_not() -> None:
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]])
    assert fits.temperature_tables(p, np.array([0, 1]))["temperature"] == [0.1]
    assert fits.temperature_tables(p, np.array([1, 0]))["temperature"] == [10.0]
    assert fits.temperature_tables(np.full((2, 4), 0.25), np.array([1, 0]))["temperature"] == [1.0]


def test_the_sigmoid_is_the_logistic_regression_on_smoothed_targets() -> None:
    p, y = calibrated_set(400, seed=3)
    ours = fits.sigmoid_tables(p, y)
    for k in range(4):
        positive = int((y == k).sum())
        target = np.where(y == k, (positive + 1) / (positive + 2), 1 / (y.size - positive + 2))
        # A fractional target is two rows, one of each label, with fractional weights.
        model = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky")
        scores = np.tile(logit(np.clip(p[:, k], 1e-7, 1 - 1e-7)), 2)[:, None]
        model.fit(scores, np.repeat([1, 0], y.size), sample_weight=np.concatenate([target, 1 - target]))
        assert ours["slope"][k] == pytest.approx(model.coef_[0, 0], abs=1e-6)
        assert ours["intercept"][k] == pytest.approx(model.intercept_[0], abs=1e-6)


def test_the_sigmoid_that_was_planted_is_found_again() -> None:
    random = np.random.default_rng(4)
    p = random.dirichlet([2, 2], size=20_000)
    y = (random.random(20_000) < expit(0.5 * logit(p[:, 1]) - 0.8)).astype(np.int64)
    found = fits.sigmoid_tables(p, y)
    assert found["slope"] == pytest.approx([0.5, 0.5], abs=0.05)
    assert found["intercept"] == pytest.approx([0.8, -0.8], abs=0.05)


def test_the_sigmoid_stays_finite_on_rows_a_line_separates() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    found = fits.sigmoid_tables(p, np.array([0, 0, 1, 1]))
    # Two hits and two misses aim at 3/4 and 1/4, so the fit stays within what so few rows can show.
    predicted = expit(found["slope"][1] * logit(p[:, 1]) + found["intercept"][1])
    assert ((predicted > 0.1) & (predicted < 0.9)).all()
    assert np.allclose(np.add.reduce(predicted), 2)


def test_one_score_for_all_rows_gives_the_smoothed_frequency() -> None:
    p, y = np.tile([0.6, 0.4], (6, 1)), np.array([0, 0, 0, 0, 1, 1])
    found = fits.sigmoid_tables(p, y)
    smoothed = (2 * 3 / 4 + 4 * 1 / 6) / 6
    assert expit(found["slope"][1] * logit(0.4) + found["intercept"][1]) == pytest.approx(smoothed, abs=1e-8)


@pytest.mark.parametrize("draw", [calibrated_set, few_scores])
def test_isotonic_values_are_those_of_scikit_learn(draw: object) -> None:
    p, y = draw(700, seed=5)  # type: ignore[operator]
    ours = fits.isotonic_tables(p, y)
    asked = np.linspace(0, 1, 5001)
    for k in range(4):
        bound = 1 / 702
        theirs = IsotonicRegression(y_min=bound, y_max=1 - bound, out_of_bounds="clip")
        theirs.fit(p[:, k].astype(np.float32).astype(np.float64), y == k)
        assert np.allclose(np.interp(asked, ours["knots"][k], ours["values"][k]), theirs.predict(asked), atol=1e-12)


def test_isotonic_knots_ascend_and_stay_apart_in_float32() -> None:
    p, y = calibrated_set(3000, seed=6)
    p[1::2] = p[::2] * (1 + 1e-12)
    tables = fits.isotonic_tables(p, y)
    for knots in tables["knots"].astype(np.float32):
        used = knots[: int(np.argmax(knots == knots[-1])) + 1]
        assert (np.diff(used) > 0).all()


@pytest.mark.parametrize("draw", [calibrated_set, few_scores])
def test_venn_abers_is_the_plain_refit_with_either_label(draw: object) -> None:
    p, y = draw(60, seed=7)  # type: ignore[operator]
    tables = fits.venn_abers_tables(p, y)
    for k in range(4):
        cells = np.searchsorted(np.unique(tables["thresholds"][k]), p[:, k], side="right")
        for at in range(int(cells.max()) + 1):
            p0, p1 = refitted(cells, y == k, at, 0), refitted(cells, y == k, at, 1)
            assert p0 <= p1
            assert tables["values"][k, at] == pytest.approx(p1 / (1 - p0 + p1), rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=25))
def test_any_cells_and_hits_give_the_values_of_the_plain_refit(rows: list[tuple[int, bool]]) -> None:
    given_cells, hits = np.array([cell for cell, _ in rows]), np.array([hit for _, hit in rows])
    _, cells = np.unique(given_cells, return_inverse=True)
    counts, total = np.bincount(cells), np.bincount(cells, weights=hits).astype(np.int64)
    found = fits._venn_abers(counts, total)
    for at in range(counts.size):
        p0, p1 = refitted(cells, hits, at, 0), refitted(cells, hits, at, 1)
        assert found[at] == pytest.approx(p1 / (1 - p0 + p1), rel=1e-12)


def test_a_grid_has_at_most_256_thresholds_and_about_equally_many_rows_between_them() -> None:
    p, y = calibrated_set(6500, seed=8)
    tables = fits.venn_abers_tables(p, y)
    assert tables["thresholds"].shape == (4, 256)
    for k in range(4):
        rows = np.bincount(np.searchsorted(tables["thresholds"][k], p[:, k], side="right"), minlength=257)
        assert rows.min() >= 24
        assert rows.max() <= 27


def test_scores_lie_on_the_same_side_of_a_threshold_in_float32() -> None:
    p, y = calibrated_set(3000, seed=9)
    for thresholds, scores in zip(fits.venn_abers_tables(p, y)["thresholds"], p.T, strict=True):
        cells = np.searchsorted(thresholds, fits.clipped(scores), side="right")
        served = np.searchsorted(thresholds.astype(np.float32), scores.astype(np.float32), side="right")
        assert (cells == served).all()


def test_a_class_in_no_row_or_in_all_keeps_its_probabilities() -> None:
    p, y = calibrated_set(600, seed=10)
    y = np.where(y == 2, 3, y)
    sigmoid, isotonic, venn_abers = (fits.FITS[method](p, y) for method in ("sigmoid", "isotonic", "venn_abers"))
    assert (sigmoid["slope"][2], sigmoid["intercept"][2]) == (1, 0)
    bound = 1 / 602
    assert np.interp(p[:, 2], isotonic["knots"][2], isotonic["values"][2]) == pytest.approx(
        np.clip(p[:, 2], bound, 1 - bound)
    )
    steps = venn_abers["values"][2][np.searchsorted(venn_abers["thresholds"][2], p[:, 2], side="right")]
    assert np.abs(steps - p[:, 2]).max() < 0.1
    assert np.abs(steps - p[:, 2]).mean() < 0.001
    alone = fits.sigmoid_tables(p, np.full(600, 3))
    assert (alone["slope"] == 1).all()
    assert (alone["intercept"] == 0).all()


def test_one_score_for_all_rows_gives_one_value() -> None:
    tables = fits.venn_abers_tables(np.tile([0.6, 0.4], (6, 1)), np.array([0, 0, 0, 0, 1, 1]))
    p0, p1 = 2 / 7, 3 / 7
    assert tables["values"][1] == pytest.approx([p1 / (1 - p0 + p1)] * 2)
    assert tables["thresholds"].shape == (2, 1)
