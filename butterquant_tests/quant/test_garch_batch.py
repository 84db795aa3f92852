"""Batched GARCH(1,1): against a likelihood written out here, against arch, and on series that have no fit."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butterquant_assets.foundation.errors import DataError, FitError
from butterquant_assets.quant import garch
from butterquant_assets.quant import garch_kernel as kernel
from butterquant_assets.quant import garch_steps as steps
from butterquant_assets.quant.garch_batch import REASONS, GarchFits, Status, fit_forecast_batch
from butterquant_tests.quant import plain_garch
from butterquant_tests.shared_data import data_dir

FIELDS = ("mu", "omega", "alpha", "beta", "log_likelihood", "mean_daily_vol", "annualised_vol", "daily_vol", "status")


def simulated(n, seed, omega=0.05, alpha=0.08, beta=0.88, mu=0.04, tails=8.0):
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(tails, n + 300) / np.sqrt(tails / (tails - 2))
    variance, previous, returns = omega / (1 - alpha - beta), 0.0, []
    for shock in shocks:
        variance = omega + alpha * previous**2 + beta * variance
        previous = np.sqrt(variance) * shock
        returns.append(mu + previous)
    return np.array(returns[300:])


@pytest.fixture(scope="module")
def returns():
    rows = [simulated(504, seed) for seed in range(11)]
    rows += [simulated(504, 20, alpha=0.3, beta=0.1), simulated(504, 21, alpha=0.0, beta=0.5)]
    rows += [simulated(504, 22, omega=0.02, alpha=0.1, beta=0.899, mu=-0.1)]
    return np.array(rows)


@pytest.fixture(scope="module")
def fits(returns):
    return fit_forecast_batch(returns)


def parameters(fits: GarchFits):
    return np.stack([fits.mu, fits.omega, fits.alpha, fits.beta], axis=1)


def plain_backcast(returns, mu):
    weights = 0.94 ** np.arange(min(75, len(returns)))
    return float(weights @ (returns[: len(weights)] - mu) ** 2 / weights.sum())


def plain_objective(returns, x, backcast):
    """Half the sum of log variance + squared residual / variance, in a loop; also for complex parameters."""
    mu, omega, alpha, beta = x
    variance, square, total = backcast, backcast, 0.0
    for value in returns:
        variance = omega + alpha * square + beta * variance
        square = (value - mu) ** 2
        total = total + 0.5 * (np.log(variance) + square / variance)
    return total


def plain_gradient(returns, x, backcast):
    """Complex step: exact to rounding, with no derivative written down."""
    gradient = []
    for k in range(4):
        moved = np.array(x, dtype=complex)
        moved[k] += 1e-200j
        gradient.append(plain_objective(returns, moved, backcast).imag / 1e-200)
    return np.array(gradient)


def plain_hessian(returns, x, backcast):
    columns = []
    widths = 1e-6 * np.array([returns.std(), x[1], 1.0, 1.0])
    for k, width in enumerate(widths):
        up, down = np.array(x, dtype=float), np.array(x, dtype=float)
        up[k] += width
        down[k] -= width
        slope = plain_gradient(returns, up, backcast) - plain_gradient(returns, down, backcast)
        columns.append(slope / (2 * width))
    return np.array(columns)


def in_lanes(function, rows, points):
    """Objective, gradient, Hessian and information of up to eight rows, by one of the kernels that work in lanes."""
    lanes, sessions = kernel.LANES, rows.shape[1]
    place = np.arange(lanes) % len(rows)
    variances = rows.var(axis=1)
    workspace = np.zeros(kernel.WORKSPACE)
    backcast = np.array([plain_backcast(row, row.mean()) for row in rows])
    start = (np.ascontiguousarray(points[place]), 1.0 / variances[place], backcast[place])
    kernel.start_lanes(workspace, *start)
    function(np.ascontiguousarray(rows[place].T).ravel(), sessions, workspace)
    results = []
    for lane in range(len(rows)):
        g, hessian, information = np.zeros(4), np.zeros((4, 4)), np.zeros((4, 4))
        value, lowest, highest = kernel.read_gradient(workspace, lane, g)
        kernel.read_curvature(workspace, lane, hessian, information)
        value += 0.5 * sessions * np.log(variances[lane])
        results.append((value, g, hessian, information, lowest, highest))
    return results


def feasible(rng, variance):
    alpha = rng.uniform(0.0, 0.5)
    beta = rng.uniform(0.0, 1.0 - alpha)
    return np.array([rng.normal(0.0, 0.2), variance * 10.0 ** rng.uniform(-3.0, 0.5), alpha, beta])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-3, 1.0, 50.0]), rows=st.integers(1, 8))
def test_the_lanes_give_the_likelihood_and_the_derivatives_written_out_plainly(seed, scale, rows):
    rng = np.random.default_rng(seed)
    series = scale * rng.standard_t(4, (rows, 130))
    points = np.array([feasible(rng, row.var()) for row in series])
    gradients = in_lanes(kernel.gradient_lanes, series, points)
    hessians = in_lanes(kernel.hessian_lanes, series, points)
    for row, x, first, second in zip(series, points, gradients, hessians, strict=True):
        backcast = plain_backcast(row, row.mean())
        slope = plain_gradient(row, x, backcast)
        assert first[0] == pytest.approx(plain_objective(row, x, backcast), rel=1e-12, abs=1e-9)
        assert second[0] == pytest.approx(first[0], rel=1e-13, abs=1e-10)
        np.testing.assert_allclose(first[1], slope, rtol=1e-9, atol=1e-9 * np.abs(slope).max())
        np.testing.assert_allclose(second[1], first[1], rtol=1e-11, atol=1e-11 * np.abs(slope).max())
        curvature = plain_hessian(row, x, backcast)
        size = np.sqrt(np.outer(np.diag(second[3]), np.diag(second[3])))
        np.testing.assert_allclose(second[2] / size, curvature / size, rtol=1e-5, atol=1e-5)


def test_the_expected_information_is_what_the_hessian_averages_to():
    x = np.array([0.04, 0.05, 0.08, 0.88])
    hessians, informations = [], []
    for seed in range(60):
        row = simulated(2000, seed, tails=1000.0)[None]
        _, _, hessian, information, _, _ = in_lanes(kernel.hessian_lanes, row, x[None])[0]
        hessians.append(hessian)
        informations.append(information)
    hessian, information = np.mean(hessians, axis=0), np.mean(informations, axis=0)
    size = np.sqrt(np.outer(np.diag(information), np.diag(information)))
    np.testing.assert_allclose(hessian / size, information / size, atol=0.1)


def arch_objective(returns, x):
    """The objective of arch itself, with its limits on every variance."""
    from arch import arch_model

    model = arch_model(returns, mean="Constant", vol="GARCH", p=1, q=1, dist="normal", rescale=False)
    residuals = returns - returns.mean()
    limits = model.volatility.variance_bounds(residuals)
    args = (np.zeros(len(returns)), model.volatility.backcast(residuals), limits)
    return float(model._loglikelihood(np.asarray(x), *args)) - 0.5 * len(returns) * np.log(2 * np.pi), limits


def limited(returns, x):
    mean, variance = returns.mean(), returns.var()
    backcast = plain_backcast(returns, mean)
    lower, upper = np.zeros(len(returns)), np.zeros(len(returns))
    kernel.variance_limits(returns, mean, variance, backcast, lower, upper)
    g, hessian, information = np.zeros(4), np.zeros((4, 4)), np.zeros((4, 4))
    value = kernel.bounded(returns, x, backcast, lower, upper, g, hessian, information)
    alone = kernel.bounded_value(returns, x, backcast, 1.0 / variance, lower, upper)
    return value, alone, g, hessian, lower, upper


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), floor=st.sampled_from([1e-8, 1e-4, 1.0, 10.0]), corner=st.integers(0, 3))
def test_the_limits_on_variances_are_those_of_arch(seed, floor, corner):
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(3, 130) * np.where(np.arange(130) < 60, 1.0, 10.0 ** rng.uniform(-5, 0))
    alpha, beta = [(0.0, 0.0), (0.0, 1.0), (0.3, 0.7), (0.0, 0.5)][corner]
    x = np.array([returns.mean() + rng.normal(0.0, 0.5), floor * returns.var(), alpha, beta])
    value, alone, _, _, lower, upper = limited(returns, x)
    expected, limits = arch_objective(returns, x)
    np.testing.assert_allclose(np.stack([lower, upper], axis=1), limits, rtol=1e-10)
    assert value == pytest.approx(expected, rel=1e-9)
    assert alone == pytest.approx(value, rel=1e-12, abs=1e-9)


def test_the_derivatives_follow_a_variance_through_its_limits():
    rng = np.random.default_rng(2)
    returns = rng.standard_normal(400) * np.where(np.arange(400) < 75, 1.0, 1e-4)
    returns[:75] -= returns.sum() / 75.0  # else the late returns lie far from the mean, and no upper limit is low
    for x in (np.array([0.01, 1e-8, 0.0, 0.7]), np.array([0.01, 2.0, 0.1, 0.9])):
        value, _, gradient, hessian, _, _ = limited(returns, x)
        free = plain_objective(returns, x, plain_backcast(returns, returns.mean()))
        assert abs(value - free) > 1e-3, "no limit was met, the test shows nothing"
        for k in range(4):
            up, down = x.copy(), x.copy()
            width = 1e-6 * max(x[k], 1e-3) if k != 1 else 1e-6 * x[1]
            up[k] += width
            down[k] -= width
            more, less = limited(returns, up), limited(returns, down)
            slope = (more[0] - less[0]) / (2 * width)
            assert gradient[k] == pytest.approx(slope, rel=2e-4, abs=2e-4 * np.abs(gradient[k]) + 1e-2)
            column = (more[2] - less[2]) / (2 * width)
            np.testing.assert_allclose(hessian[k], column, rtol=1e-3, atol=1e-4 * np.abs(hessian[k]).max() + 1e-2)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 100_000), pull=st.sampled_from([1.0, 30.0, 1000.0]))
def test_the_quadratic_program_is_never_beaten_by_a_feasible_point(seed, pull):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 4))
    matrix = root @ root.T + 0.1 * np.eye(4)
    g, low, high = pull * rng.normal(size=4), 1e-8, 10.0
    x = feasible(rng, 1.0)
    step, last = np.zeros(4), int(rng.integers(21))
    value, _ = steps.best_step(x, g, matrix, 0.0, low, high, last, np.zeros((4, 4, 4)), step)
    assert value == pytest.approx(g @ step + 0.5 * step @ matrix @ step, rel=1e-9, abs=1e-9)
    end = x + step
    assert low - 1e-12 <= end[1] <= high + 1e-12
    assert end[2] >= -1e-12
    assert end[3] >= -1e-12
    assert end[2] + end[3] <= 1.0 + 1e-12
    others = rng.dirichlet([0.5, 0.5, 0.5], 4000)[:, :2]
    points = np.column_stack([end[0] + rng.normal(size=4000), rng.uniform(low, high, 4000), others])
    points = np.vstack([points, end + (points - end) * 1e-3])
    moves = points - x
    values = moves @ g + 0.5 * np.einsum("ni,ij,nj->n", moves, matrix, moves)
    assert values.min() >= value - 1e-8 * max(1.0, abs(value))


def test_every_row_is_at_least_as_likely_as_arch_finds_it_and_forecasts_the_same(returns, fits):
    assert (fits.status == Status.OK).all()
    for row, series in enumerate(returns):
        reference = plain_garch.fit_forecast(series)
        assert fits.log_likelihood[row] >= reference.log_likelihood - 1e-6
        assert fits.annualised_vol[row] == pytest.approx(garch.annualised_vol(reference), rel=3e-4)


def test_the_likelihood_reported_is_that_of_the_parameters_reported(returns, fits):
    for series, x, reported in zip(returns, parameters(fits), fits.log_likelihood, strict=True):
        objective = plain_objective(series, x, plain_backcast(series, series.mean()))
        assert reported == pytest.approx(-objective - 0.5 * len(series) * np.log(2 * np.pi), abs=1e-9)


def test_no_feasible_neighbour_is_more_likely(returns, fits):
    rng = np.random.default_rng(0)
    for series, x in zip(returns, parameters(fits), strict=True):
        backcast = plain_backcast(series, series.mean())
        best = plain_objective(series, x, backcast)
        for _ in range(40):
            moved = x * (1.0 + 10.0 ** rng.uniform(-6, -2) * rng.normal(size=4))
            moved[2] += rng.choice([0.0, 1e-4])
            moved[3] = min(moved[3], 1.0 - moved[2])
            assert plain_objective(series, moved, backcast) >= best - 1e-10


def test_the_forecast_is_the_recursion_of_the_parameters(returns, fits):
    for series, x, path in zip(returns, parameters(fits), fits.daily_vol, strict=True):
        mu, omega, alpha, beta = x
        variance = square = plain_backcast(series, mu)
        for value in series:
            variance = omega + alpha * square + beta * variance
            square = (value - mu) ** 2
        expected = [omega + alpha * square + beta * variance]
        for _ in range(29):
            expected.append(omega + (alpha + beta) * expected[-1])
        np.testing.assert_allclose(path, np.sqrt(expected), rtol=1e-12)
    np.testing.assert_allclose(fits.mean_daily_vol, fits.daily_vol.mean(axis=1), rtol=1e-13)
    np.testing.assert_allclose(fits.annualised_vol, fits.mean_daily_vol * np.sqrt(252) / 100, rtol=1e-14)


def test_a_row_gives_the_same_bytes_alone_in_any_batch_and_with_any_number_of_threads(returns, fits):
    order = np.random.default_rng(1).permutation(len(returns))
    shuffled = fit_forecast_batch(returns[order], threads=1)
    three = fit_forecast_batch(returns, threads=3)
    repeated = fit_forecast_batch(np.asfortranarray(returns), threads=1)
    for name in FIELDS:
        expected = getattr(fits, name)
        assert getattr(shuffled, name).tobytes() == expected[order].tobytes(), name
        assert getattr(three, name).tobytes() == expected.tobytes(), name
        assert getattr(repeated, name).tobytes() == expected.tobytes(), name
        for row in range(len(returns)):
            alone = getattr(fit_forecast_batch(returns[row : row + 1]), name)
            assert alone.tobytes() == expected[row : row + 1].tobytes(), (name, row)


def test_rows_without_a_fit_are_named_and_do_not_disturb_their_neighbours(returns, fits):
    mixed = returns.copy()
    mixed[1], mixed[3, 200], mixed[6, 0], mixed[9] = 0.3, np.nan, np.inf, 1e-9 * np.arange(504) % 3e-9
    some = fit_forecast_batch(mixed)
    expected = np.full(len(mixed), Status.OK)
    expected[[1, 9]], expected[[3, 6]] = Status.CONSTANT, Status.NON_FINITE
    np.testing.assert_array_equal(some.status, expected)
    assert "constant" in some.reason(1)
    assert "not all finite" in some.reason(3)
    assert some.reason(0) == ""
    for row in (1, 3, 6, 9):
        with pytest.raises(FitError):
            garch.fit_forecast(mixed[row])
    good = expected == Status.OK
    for name in FIELDS[:-1]:
        assert np.isnan(getattr(some, name)[~good]).all(), name
        assert getattr(some, name)[good].tobytes() == getattr(fits, name)[good].tobytes(), name


def test_series_that_are_too_short_are_refused():
    short = fit_forecast_batch(np.ones((3, garch.MINIMUM_RETURNS - 1)))
    assert (short.status == Status.TOO_SHORT).all()
    assert np.isnan(short.annualised_vol).all()
    assert f"at least {garch.MINIMUM_RETURNS}" in short.reason(0)


def test_no_rows_give_no_fits():
    empty = fit_forecast_batch(np.empty((0, 504)), horizon=7)
    assert empty.daily_vol.shape == (0, 7)
    assert empty.status.shape == (0,)


def test_every_status_has_its_reason():
    assert set(REASONS) == set(Status)
    assert all(REASONS[status] for status in Status if status != Status.OK)


@pytest.mark.parametrize(
    ("series", "horizon", "threads", "message"),
    [
        (np.ones(200), 30, 2, "expected \\(series, sessions\\)"),
        (np.ones((2, 200)), 0, 2, "at least 1"),
        (np.ones((2, 200)), 30, 0, "at least 1"),
    ],
)
def test_a_wrong_request_is_refused(series, horizon, threads, message):
    with pytest.raises(DataError, match=message):
        fit_forecast_batch(series, horizon, threads)


def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(returns, fits):
    np.testing.assert_array_equal(fit_forecast_batch(returns, 5).daily_vol, fits.daily_vol[:, :5])


def adversarial():
    """Series a market should not deliver and a batch must survive."""
    rng = np.random.default_rng(4)
    noise = rng.standard_normal(504)
    spike, late, zeros = 0.5 * noise, 0.5 * noise, 0.5 * noise
    spike[250], late[503] = 40.0, -60.0
    zeros[50:400] = 0.0
    return {
        "one spike": spike,
        "a spike at the end": late,
        "a long halt": zeros,
        "almost all zeros": np.where(np.arange(504) % 50 == 7, noise, 0.0),
        "two values": np.where(np.arange(504) % 2 == 0, 1.0, -1.0),
        "a ramp": np.linspace(-5.0, 5.0, 504),
        "explosive": 1e-3 * noise * 1.02 ** np.arange(504),
        "dying": noise * 0.97 ** np.arange(504),
        "fractions instead of percent": 0.01 * noise,
        "tiny": 1e-5 * noise,
        "huge": 1e6 * noise,
        "far from zero": 1e4 + noise,
        "a step of variance": noise * np.where(np.arange(504) < 252, 0.2, 5.0),
        "cauchy": rng.standard_cauchy(504),
        "one value apart": np.r_[np.zeros(503), 1.0],
        "near overflow": 1e153 * noise,
    }


@pytest.mark.parametrize("name", adversarial())
def test_an_adversarial_series_ends_with_an_optimum_or_a_reason(name):
    series = adversarial()[name]
    fits = fit_forecast_batch(series[None])
    if fits.status[0] != Status.OK:
        assert fits.reason(0)
        assert np.isnan(fits.annualised_vol[0])
        return
    variance = series.var()
    x = parameters(fits)[0]
    assert np.isfinite(fits.daily_vol).all()
    assert 1e-8 * variance * (1 - 1e-12) <= x[1] <= 10.0 * variance * (1 + 1e-12)
    assert x[2] >= 0.0
    assert x[3] >= 0.0
    assert x[2] + x[3] <= 1.0 + plain_garch.PERSISTENCE_TOLERANCE
    # At least as likely as where it started: the best point of arch's grid.
    best, grid = np.zeros(4), np.zeros(6 * kernel.GRID)
    kernel.best_of_grid(series, series.mean(), variance, plain_backcast(series, series.mean()), grid, best)
    start = limited(series, best)[0]
    assert fits.log_likelihood[0] >= -start - 0.5 * len(series) * np.log(2 * np.pi) - 1e-6


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sessions=st.integers(garch.MINIMUM_RETURNS, 300),
    tails=st.sampled_from([2.2, 4.0, 30.0]),
    share_of_zeros=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_a_random_series_is_fitted_to_a_stationary_point_or_refused(seed, sessions, tails, share_of_zeros):
    rng = np.random.default_rng(seed)
    series = rng.standard_t(tails, sessions) * (rng.uniform(size=sessions) >= share_of_zeros)
    fits = fit_forecast_batch(series[None])
    if fits.status[0] != Status.OK:
        assert fits.reason(0)
        return
    x, variance = parameters(fits)[0], series.var()
    value, _, g, hessian, _, _ = limited(series, x)
    assert fits.log_likelihood[0] == pytest.approx(-value - 0.5 * sessions * np.log(2 * np.pi), abs=1e-7)
    # What a gradient step may still gain over the polytope, in units in which the parameters are of one size.
    unit = np.array([np.sqrt(variance), variance, 1.0, 1.0])
    step = np.zeros(4)
    scaled = (x / unit, g * unit, np.eye(4) * max(np.abs(np.diag(hessian) * unit**2).max(), 1.0))
    gain, _ = steps.best_step(*scaled, 0.0, 1e-8, 10.0, 0, np.zeros((4, 4, 4)), step)
    assert gain > -1e-8


def test_importing_the_module_does_not_import_numba():
    code = "import sys, butterquant_assets.quant.garch_batch; sys.exit('numba' in sys.modules or 'arch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def real_windows(count, seed, sessions=504):
    """Percent log returns of `count` windows, at random dates of random tickers."""
    bars = pd.read_parquet(data_dir() / "stocks_daily.parquet", columns=["symbol", "close"])
    closes = {symbol: group.to_numpy(dtype=float) for symbol, group in bars.groupby("symbol")["close"]}
    symbols, rng = sorted(closes), np.random.default_rng(seed)
    windows = np.empty((count, sessions))
    for row in range(count):
        series = closes[symbols[int(rng.integers(len(symbols)))]]
        end = int(rng.integers(sessions + 1, len(series) + 1))
        windows[row] = 100.0 * np.diff(np.log(series[end - sessions - 1 : end]))
    return windows


@pytest.mark.slow
def test_real_windows_agree_with_arch_as_it_comes_and_polished():
    from arch import arch_model

    windows = real_windows(300, seed=11)
    fits = fit_forecast_batch(windows)
    assert (fits.status == Status.OK).all()
    as_it_comes, polished, ahead, lower = [], [], [], 0
    for row, series in enumerate(windows):
        model = arch_model(series, mean="Constant", vol="GARCH", p=1, q=1, dist="normal", rescale=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = model.fit(disp="off", show_warning=False)
            start = parameters(fits)[row]
            start[3] = min(start[3], 1.0 - start[2])
            tight = [
                model.fit(disp="off", show_warning=False, tol=1e-12, starting_values=x)
                for x in (plain.params.to_numpy(), start)
            ]
        best = max(tight, key=lambda fit: fit.loglikelihood)
        as_it_comes.append(fits.mean_daily_vol[row] / mean_forecast(plain) - 1.0)
        polished.append(fits.mean_daily_vol[row] / mean_forecast(best) - 1.0)
        ahead.append(fits.log_likelihood[row] - plain.loglikelihood)
        # arch keeps alpha + beta <= 1 only to about 1e-6, and is rewarded for what it oversteps.
        if plain.params.iloc[2:].sum() <= 1.0:
            lower += fits.log_likelihood[row] < plain.loglikelihood - 1e-6
    # In three windows of 5,000 arch ends in another local maximum of higher likelihood: its path there hangs on the
    # error of its finite differences (in one of them returns changed in the ninth digit make it end where we do).
    assert lower <= 1
    # On some processors arch as it comes stops short of the optimum in one window of a hundred, by 0.8 and more;
    # started from there or from our point with a tighter tolerance, it ends where we do.
    reached = np.array(ahead) < 0.1
    assert reached.mean() >= 0.98
    assert np.quantile(np.abs(as_it_comes)[reached], 0.99) < 2e-4
    assert np.quantile(np.abs(polished), 0.99) < 1e-5


def mean_forecast(result):
    return float(np.sqrt(result.forecast(horizon=30).variance.to_numpy()[-1]).mean())
