"""Batched ARIMA: against a dense Gaussian likelihood, statsmodels at fixed parameters, and `arima` on real windows."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_toeplitz, toeplitz
from scipy.signal import lfilter

from butterquant_assets.foundation.errors import DataError, FitError
from butterquant_assets.quant import arima
from butterquant_assets.quant.arima_batch import INTERVAL_DEVIATIONS, REASONS, choose_and_forecast_batch
from butterquant_tests.quant import plain_arima
from butterquant_tests.shared_data import data_dir

ORDERS = [(1, 1), (2, 2), (1, 2), (2, 1), (3, 2)]
FIELDS = ("order_index", "order", "aic", "log_likelihood", "converged", "mean", "lower", "upper", "status")


def walk(seed=0, n=120, momentum=0.4, start=100.0):
    rng = np.random.default_rng(seed)
    steps, step = [], 0.0
    for shock in rng.standard_normal(n):
        step = momentum * step + shock
        steps.append(step)
    return start + np.cumsum(steps)


@pytest.fixture(scope="module")
def windows():
    return np.array([walk(seed, momentum=momentum) for seed in range(12) for momentum in (-0.5, 0.0, 0.6)])


@pytest.fixture(scope="module")
def fits(windows):
    return choose_and_forecast_batch(windows)


class Window:
    """The kernel at given parameters, with its work arrays."""

    def __init__(self, y, order, steps=0):
        from butterquant_assets.quant import arima_kernel

        self.kernel, self.y, self.order = arima_kernel, np.ascontiguousarray(y), np.array(order)
        self.partial, self.slope, self.coefficient, self.gradient = (np.zeros(5) for _ in range(4))
        self.inverse, self.gamma, self.work = np.zeros((3, 3)), np.zeros(3), np.zeros((5, len(y) + steps))

    def log_likelihood(self, partial, steps=0):
        self.partial[:] = partial
        arrays = (self.partial, self.coefficient, self.inverse, self.gamma, self.work)
        value, _ = self.kernel.negative_log_likelihood(self.y, *arrays, steps)
        return -value

    def at(self, x, folded=False):
        """-log L over the closes at search parameters, and its gradient."""
        arrays = (self.gradient, self.partial, self.slope, self.coefficient, self.inverse, self.gamma, self.work)
        return self.kernel.objective(self.y, np.asarray(x, dtype=float), self.order, folded, *arrays), self.gradient

    def polynomials(self):
        ar, ma = self.order
        return np.r_[self.coefficient[:ar]], np.r_[self.coefficient[3 : 3 + ma]]


def unused(order):
    return np.array([place >= order[0] if place < 3 else place - 3 >= order[1] for place in range(5)])


def autocovariances(phi, theta, count):
    """Over sigma^2, from the weights of the infinite moving average, as a textbook writes them."""
    largest_root = np.abs(np.roots(np.r_[1.0, -np.asarray(phi)])).max(initial=0.5)
    impulse = np.zeros(count + int(-20.0 / np.log(largest_root)) + 10)  # to where the weights are below exp(-20)
    impulse[0] = 1.0
    psi = lfilter(np.r_[1.0, theta], np.r_[1.0, -np.asarray(phi)], impulse)
    return np.array([psi[: len(psi) - lag] @ psi[lag:] for lag in range(count)])


def plain_log_likelihood(y, phi, theta):
    """Gaussian density of y with its whole covariance matrix, the variance of the shocks at its best."""
    gamma = autocovariances(phi, theta, len(y))
    sigma2 = y @ solve_toeplitz(gamma, y) / len(y)
    logdet = np.linalg.slogdet(toeplitz(gamma))[1]
    return -0.5 * (len(y) * (np.log(2 * np.pi * sigma2) + 1) + logdet)


def plain_forecast(y, phi, theta, steps):
    """Mean and deviation of the sum of the next steps given y, by the formulas of the joint normal distribution."""
    n = len(y)
    covariance = toeplitz(autocovariances(phi, theta, n + steps))
    weights = np.linalg.solve(covariance[:n, :n], covariance[:n, n:]).T
    sigma2 = y @ np.linalg.solve(covariance[:n, :n], y) / n
    sums = np.tri(steps)
    error = covariance[n:, n:] - weights @ covariance[:n, n:]
    return sums @ weights @ y, np.sqrt(sigma2 * np.diag(sums @ error @ sums.T))


places = st.lists(st.floats(-0.97, 0.97), min_size=5, max_size=5)
orders = st.sampled_from([*ORDERS, (0, 1), (3, 1)])
series = st.tuples(st.integers(0, 10_000), st.sampled_from([8, 50, 119]))


def steps_of(drawn):
    seed, n = drawn
    return np.random.default_rng(seed).standard_normal(n)


@settings(deadline=None, max_examples=60)
@given(places, orders, series)
def test_the_likelihood_is_that_of_the_whole_covariance_matrix(partial, order, drawn):
    y = steps_of(drawn)
    window = Window(y, order)
    value = window.log_likelihood(np.where(unused(order), 0.0, partial))
    assert value == pytest.approx(plain_log_likelihood(y, *window.polynomials()), rel=1e-7, abs=1e-7)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-4, 4), min_size=5, max_size=5), orders, series, st.booleans())
def test_the_gradient_is_the_slope_of_the_likelihood(x, order, drawn, folded):
    x = np.where(unused(order), 0.0, x)
    if folded:  # a kink of the parameter, not of the likelihood, lies at every odd number
        odd = 2 * np.floor((x[3:] + 1) / 2) - 1
        x[3:] = odd + np.clip(x[3:] - odd, 0.02, 1.98)
    window = Window(steps_of(drawn), order)
    gradient = window.at(x, folded)[1].copy()
    h = 1e-4
    for place in np.flatnonzero(~unused(order)):
        moved = [window.at(x + shift * h * np.eye(5)[place], folded)[0] for shift in (-2, -1, 1, 2)]
        numeric = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * h)
        assert gradient[place] == pytest.approx(numeric, abs=2e-5 * (1 + np.abs(gradient).max()))


def test_a_moving_average_on_the_unit_circle_is_no_special_case():
    y = steps_of((3, 119))
    for partial, theta in (
        ([0, 0, 0, 1.0, 0], [1.0]),
        ([0, 0, 0, -1.0, 0.5], [-1.5, 0.5]),
        ([0, 0, 0, 0.3, 1.0], [0.6, 1]),
    ):
        window = Window(y, (0, 2 if partial[4] else 1))
        gamma = np.r_[
            1 + np.sum(np.square(theta)), np.convolve(np.r_[1, theta][::-1], np.r_[1, theta])[len(theta) + 1 :]
        ]
        covariance = toeplitz(np.r_[gamma, np.zeros(119 - len(gamma))])
        sigma2 = y @ np.linalg.solve(covariance, y) / 119
        expected = -0.5 * (119 * (np.log(2 * np.pi * sigma2) + 1) + np.linalg.slogdet(covariance)[1])
        assert window.log_likelihood(partial) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_at_the_same_parameters_likelihood_and_forecast_are_those_of_statsmodels(order):
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    ar, ma = order
    for seed, size in ((1, 0.4), (2, 0.8), (3, 0.97)):
        closes = walk(seed)
        y = np.diff(closes)
        partial = np.where(unused(order), 0.0, np.random.default_rng(seed).uniform(-size, size, 5))
        window = Window(y, order, steps=30)
        ours = window.log_likelihood(partial, steps=30)
        parameters = np.concatenate(window.polynomials())
        stationary = SARIMAX(y, order=(ar, 0, ma), trend="n", concentrate_scale=True)
        stationary.ssm.tolerance = 0  # statsmodels switches to a steady state too early for the eighth decimal
        assert ours == pytest.approx(stationary.loglike(parameters), abs=1e-8)
        # In levels the first close is approximately diffuse (variance 1e6) and burnt: the same but for that.
        level = SARIMAX(closes - closes[0], order=(ar, 1, ma), trend="n", concentrate_scale=True)
        level.ssm.tolerance = 0
        result = level.smooth(parameters)
        assert ours == pytest.approx(result.llf, abs=2e-5)
        assert result.aic == pytest.approx(2 * (ar + ma + 1) - 2 * ours, abs=4e-5)
        mean, deviation = np.zeros(30), np.zeros(30)
        variance = window.kernel.forecast(y, window.partial, window.coefficient, window.work, mean, deviation)
        expected = result.get_forecast(30)
        interval = expected.conf_int(alpha=0.05)
        assert variance == pytest.approx(result.scale, rel=1e-5)
        np.testing.assert_allclose(closes[-1] + mean, closes[0] + expected.predicted_mean, atol=1e-4)
        np.testing.assert_allclose(2 * INTERVAL_DEVIATIONS * deviation, interval[:, 1] - interval[:, 0], rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(places, st.sampled_from(ORDERS), st.integers(0, 10_000))
def test_the_forecast_is_the_conditional_distribution_of_the_joint_normal(partial, order, seed):
    y = steps_of((seed, 60))
    window = Window(y, order, steps=12)
    window.log_likelihood(np.where(unused(order), 0.0, np.multiply(partial, 0.97)), steps=12)
    mean, deviation = np.zeros(12), np.zeros(12)
    window.kernel.forecast(y, window.partial, window.coefficient, window.work, mean, deviation)
    plain_mean, plain_deviation = plain_forecast(y, *window.polynomials(), 12)
    np.testing.assert_allclose(mean, plain_mean, atol=1e-6 * (1 + np.abs(plain_mean).max()))
    np.testing.assert_allclose(deviation, plain_deviation, rtol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_the_search_ends_where_a_plain_optimiser_ends_or_lower(order):
    from scipy.optimize import minimize

    same = 0
    for seed in range(15):
        window = Window(np.diff(walk(seed)), order)
        window.kernel.hannan_rissanen(window.y, window.order, window.partial)
        start = window.partial / np.sqrt(1 - window.partial**2)
        used = ~unused(order)

        def value(x, window=window, start=start, used=used):
            full = start.copy()
            full[used] = x
            found, gradient = window.at(full)
            return found, gradient[used].copy()

        plain = minimize(value, start[used], jac=True, method="L-BFGS-B", options={"maxcor": 12})
        window.kernel.hannan_rissanen(window.y, window.order, window.partial)
        found, converged, _ = window.kernel.fit(window.y, window.order, window.partial, window.coefficient, window.work)
        assert converged
        assert found <= 120 * plain.fun + 1e-9
        same += abs(found - 120 * plain.fun) < 1e-4
    assert same >= 12


@pytest.mark.parametrize("order", ORDERS)
def test_the_start_is_that_of_statsmodels(order):
    from statsmodels.tsa.arima.model import ARIMA

    for seed in range(5):
        closes = walk(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = ARIMA(closes, order=(order[0], 1, order[1]), trend="n", concentrate_scale=True).start_params
        window = Window(np.diff(closes), order)
        window.kernel.hannan_rissanen(window.y, window.order, window.partial)
        window.kernel.coefficients(window.partial, window.coefficient)
        np.testing.assert_allclose(np.concatenate(window.polynomials()), expected, atol=1e-9)


def test_choice_and_forecast_are_those_of_the_reference(windows, fits):
    for row in range(0, len(windows), 6):
        found = plain_arima.choose_and_forecast(windows[row])
        if fits.aic[row] > found.aic - 1e-3:  # not where the reference stopped short of its optimum
            assert tuple(fits.order[row]) == found.order
            assert fits.aic[row] == pytest.approx(found.aic, abs=1e-3)
            np.testing.assert_allclose(fits.mean[row], found.mean, atol=0.01)
            np.testing.assert_allclose(fits.upper[row] - fits.lower[row], found.upper - found.lower, rtol=0.01)


def test_the_lowest_aic_wins_and_fits_that_did_not_converge_cannot(fits):
    parameters = np.array([p + q + 1 for p, _, q in arima.DEFAULT_ORDERS])
    criteria = np.where(fits.converged, 2 * parameters - 2 * fits.log_likelihood, np.inf)
    np.testing.assert_array_equal(fits.order_index, criteria.argmin(axis=1))
    np.testing.assert_allclose(fits.aic, criteria.min(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(fits.order, np.array(arima.DEFAULT_ORDERS)[fits.order_index])
    np.testing.assert_array_equal(fits.skipped, 5 - fits.converged.sum(axis=1))


def test_an_optimiser_out_of_iterations_is_not_converged():
    window = Window(np.diff(walk(2)), (3, 2))
    x = np.array([0.3, 0.1, 0.1, 0.2, 0.1])
    _, converged, _ = window.kernel.search(
        window.y, x, window.order, False, 2, 1e-15, 1e-15, window.partial, window.coefficient, window.work
    )
    assert not converged


def assert_same_bytes(left, right):
    for name in FIELDS:
        assert getattr(left, name).tobytes() == getattr(right, name).tobytes(), name


def test_one_thread_and_two_give_the_same_bytes(windows):
    many = np.tile(windows, (3, 1))
    assert_same_bytes(choose_and_forecast_batch(many, threads=1), choose_and_forecast_batch(many, threads=2))


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(36)), st.integers(1, 36))
def test_a_row_does_not_see_its_batch(windows, fits, shuffled, count):
    rows = np.array(shuffled[:count])
    part = choose_and_forecast_batch(windows[rows])
    for name in FIELDS:
        assert getattr(part, name).tobytes() == getattr(fits, name)[rows].tobytes(), name


@pytest.mark.parametrize("factor", [10.0, 0.01, 7.3])
def test_the_unit_of_the_price_does_not_matter(windows, fits, factor):
    scaled = choose_and_forecast_batch(factor * windows)
    np.testing.assert_array_equal(scaled.order, fits.order)
    np.testing.assert_allclose(scaled.mean, factor * fits.mean, rtol=1e-12)
    np.testing.assert_allclose(scaled.upper, factor * fits.upper, rtol=1e-12)
    np.testing.assert_allclose(scaled.log_likelihood, fits.log_likelihood - 119 * np.log(factor), atol=1e-8)


t = np.arange(120.0)


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        (np.full(120, 50.0), "same step every session"),
        (10 + 0.1 * t, "same step every session"),
        (np.r_[walk()[:-1], np.nan], "not finite"),
        (np.r_[np.inf, walk()[1:]], "not finite"),
        (np.r_[1e308, -1e308, walk()[2:]], "not finite"),
        (100 + (-1.0) ** t, "without shocks"),
        (t**2, "without shocks"),
    ],
)
def test_a_window_without_a_fit_has_a_reason_and_no_numbers(windows, fits, series, reason):
    mixed = choose_and_forecast_batch(np.stack([windows[0], series, windows[1]]))
    assert reason in mixed.reason(1)
    assert mixed.order_index[1] == -1
    np.testing.assert_array_equal(mixed.order[1], -1)
    for values in (mixed.aic[1], mixed.mean[1], mixed.lower[1], mixed.upper[1]):
        assert np.isnan(values).all()
    assert mixed.reason(0) == mixed.reason(2) == "fitted"
    np.testing.assert_array_equal(mixed.mean[[0, 2]], fits.mean[:2])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([0.0, 1.0, -1.0, 1e-9, 1e-3, 1e6, -1e6]) | st.floats(-10, 10), min_size=50, max_size=60),
    st.sampled_from([1e-6, 1.0, 1e9]),
)
def test_whatever_the_closes_a_fitted_row_is_finite_and_ordered(moves, unit):
    closes = unit * (100 + np.cumsum(moves))
    found = choose_and_forecast_batch(closes[None], steps=10)
    if found.status[0] == 0:
        assert np.isfinite(found.mean).all()
        assert (found.lower <= found.mean).all()
        assert (found.mean <= found.upper).all()
        assert np.isfinite(found.aic).all()
    else:
        assert np.isnan(found.mean).all()
        assert found.status[0] < len(REASONS)


def test_no_window_gives_no_rows():
    none = choose_and_forecast_batch(np.empty((0, 120)))
    assert none.mean.shape == (0, 30)
    assert none.order.shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        (np.ones(120), {}, "one window a row"),
        (np.ones((3, 49)), {}, "49 closes are too few"),
        (np.ones((3, 120)), {"steps": 0}, "at least 1"),
        (np.ones((3, 120)), {"threads": 0}, "at least 1"),
        (np.ones((3, 120)), {"orders": []}, "at least one"),
        (np.ones((3, 120)), {"orders": [(1, 1, 1), (4, 1, 1)]}, "not offered"),
        (np.ones((3, 120)), {"orders": [(1, 1, 0)]}, "not offered"),
        (np.ones((3, 120)), {"orders": [(1, 0, 1)]}, "not offered"),
    ],
)
def test_a_wrong_request_is_refused(arguments, options, reason):
    with pytest.raises(DataError, match=reason):
        choose_and_forecast_batch(arguments, **options)


def test_numba_is_not_imported_before_the_first_fit():
    code = "import sys, butterquant_assets.quant.arima_batch; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def real_windows(count):
    bars = pd.read_parquet(data_dir() / "stocks_daily.parquet", columns=["symbol", "close"])
    rng, windows = np.random.default_rng(6), []
    closes = {symbol: part.to_numpy(dtype=float) for symbol, part in bars.groupby("symbol")["close"]}
    symbols = sorted(closes)
    while len(windows) < count:
        series = closes[symbols[rng.integers(len(symbols))]]
        end = int(rng.integers(120, len(series) + 1))
        windows.append(series[end - 120 : end])
    return np.array(windows)


@pytest.mark.slow
def test_on_real_windows_the_targets_against_statsmodels_are_met():
    count = 120  # five fits of statsmodels a window, each of forty milliseconds
    windows = real_windows(count)
    ours = choose_and_forecast_batch(windows)
    likelihood = np.full((count, 5), np.nan)
    moved, band = np.full(count, np.nan), np.full(count, np.nan)
    chosen = np.full(count, -1)
    for row, window in enumerate(windows):
        found = []
        for place, order in enumerate(arima.DEFAULT_ORDERS):
            try:
                fit = plain_arima.choose_and_forecast(window, orders=[order])
            except FitError:
                continue
            likelihood[row, place] = order[0] + order[2] + 1 - fit.aic / 2
            found.append((fit.aic, place, fit))
        _, chosen[row], best = min(found, key=lambda entry: entry[0])
        moved[row] = np.abs(ours.mean[row] - best.mean).max() / window[-1]
        band[row] = np.abs((ours.upper[row] - ours.lower[row]) / (best.upper - best.lower) - 1).max()
    assert np.isfinite(likelihood).mean() > 0.99
    assert ours.converged.mean() > 0.99
    assert np.mean(~(ours.log_likelihood < likelihood - 1e-4)) >= 0.98
    shared = np.abs(ours.log_likelihood - likelihood)[np.arange(count), chosen] < 1e-4
    same = ours.order_index == chosen
    assert shared.mean() >= 0.80
    assert same[shared].mean() >= 0.95
    assert np.percentile(moved[shared], 95) < 5e-4
    assert np.percentile(band[shared], 95) < 0.02
