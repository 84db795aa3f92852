"""Calibration curves as served: averages of the fitted curve, without steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from butterquant_assets.learning.calibration import Calibrator, fit_calibrator
from butterquant_assets.learning.served_calibration import CELLS, WINDOW, served_calibrator


def fitted(method: str, n: int = 400, seed: int = 0) -> tuple[Calibrator, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = random.dirichlet([3, 1, 1, 3], size=n)
    labels = (random.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)
    return fit_calibrator(method, p, labels), p, labels


def curve(calibrator: Calibrator, class_: int, scores: np.ndarray) -> np.ndarray:
    """The fitted curve of one class before normalisation, straight from the meaning of the tables."""
    values = calibrator.tables["values"][class_]
    if calibrator.method == "isotonic":
        return np.interp(scores, calibrator.tables["knots"][class_], values)
    return values[(calibrator.tables["thresholds"][class_][None] <= scores[:, None]).sum(axis=1)]


@pytest.mark.parametrize("method", ["isotonic", "venn_abers"])
def test_values_are_means_of_the_fitted_curve_over_the_window(method: str) -> None:
    calibrator, _, _ = fitted(method)
    served = served_calibrator(calibrator)
    fine = (np.arange(20_000) + 0.5) / 20_000 - 0.5
    for class_ in range(4):
        for cell in (0, 1, 37, 200, CELLS - 1, CELLS):
            window = cell / CELLS + WINDOW * fine
            mean = curve(calibrator, class_, window).mean()
            assert served.tables["values"][class_, cell] == pytest.approx(mean, abs=2e-4)


@pytest.mark.parametrize("method", ["isotonic", "venn_abers"])
def test_a_score_off_by_rounding_moves_the_answer_by_no_more_than_the_slope_allows(method: str) -> None:
    calibrator, p, _ = fitted(method)
    served = served_calibrator(calibrator)
    assert np.abs(np.diff(served.tables["values"])).max() * CELLS <= 1 / WINDOW + 1e-9
    beside = calibrator.tables["thresholds" if method == "venn_abers" else "knots"]
    at_steps = np.column_stack([beside[0], (1 - beside[0])[:, None] * [[0.2, 0.3, 0.5]] @ np.eye(3)])
    for rows in (p, at_steps):
        moved = served.apply(rows + np.array([3e-7, -1e-7, -1e-7, -1e-7]))
        assert np.abs(moved - served.apply(rows)).max() < 1e-5


def test_the_fitted_steps_themselves_would_not_have_held() -> None:
    calibrator, _, _ = fitted("venn_abers")
    step = calibrator.tables["thresholds"][0][:1]
    row = np.column_stack([step, (1 - step) * 0.2, (1 - step) * 0.3, (1 - step) * 0.5])
    assert np.abs(calibrator.apply(row - [[3e-7, -1e-7, -1e-7, -1e-7]]) - calibrator.apply(row)).max() > 1e-5


@pytest.mark.parametrize("method", ["none", "temperature", "sigmoid"])
def test_methods_without_steps_stay_as_they_are(method: str) -> None:
    calibrator, _, _ = fitted(method)
    assert served_calibrator(calibrator) is calibrator


@given(
    steps=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    seed=st.integers(0, 100),
    method=st.sampled_from(["isotonic", "venn_abers"]),
)
def test_rising_curves_stay_rising_and_within_their_bounds(steps: list[float], seed: int, method: str) -> None:
    thresholds = np.sort(steps)
    size = thresholds.size + (method == "venn_abers")
    values = np.sort(np.random.default_rng(seed).uniform(0.01, 0.99, size))
    names = ("knots", "values") if method == "isotonic" else ("thresholds", "values")
    calibrator = Calibrator(
        method, dict(zip(names, (np.tile(thresholds, (2, 1)), np.tile(values, (2, 1))), strict=True))
    )
    served = served_calibrator(calibrator).tables["values"][0]
    assert (np.diff(served) >= -1e-12).all()
    assert served.min() >= values[0] - 1e-12
    assert served.max() <= values[-1] + 1e-12


def test_calibration_is_hardly_changed_by_it() -> None:
    for method in ("isotonic", "venn_abers"):
        calibrator, _, _ = fitted(method, n=4000)
        random = np.random.default_rng(5)
        p = random.dirichlet([3, 1, 1, 3], size=20_000)
        y = (random.random((20_000, 1)) > p.cumsum(axis=1)).sum(axis=1)
        losses = [
            -np.log(form.apply(p)[np.arange(20_000), y]).mean() for form in (calibrator, served_calibrator(calibrator))
        ]
        assert abs(losses[1] - losses[0]) < 0.003
