"""ARIMA forecasts of many price windows at once: the orders of `arima`, chosen by AIC, fitted by compiled kernels.

What belongs here: the request, its checks, the split over threads and the result with its reasons. What does not: the
mathematics, which is in `arima_kernel`.

Source: REFERENCE section 1, "ARIMA"; the likelihood and the search are described in `arima_kernel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.quant.arima import DEFAULT_ORDERS, MINIMUM_CLOSES, Order

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

# Half the width of a 95 % interval in standard deviations: the normal quantile of 0.975.
INTERVAL_DEVIATIONS = 1.959963984540054
# Rows a thread takes at a time. Rows do not see each other, so this changes no byte.
BLOCK_ROWS = 32
LARGEST_AR, LARGEST_MA = 3, 2

# Why a row has no forecast; `ArimaFits.status` indexes this. The first means that it has one.
REASONS: tuple[str, ...] = (
    "fitted",
    "a close, or the spread of the closes, is not finite; repair or reject the series before fitting",
    "the closes move by the same step every session; such a series has no ARIMA fit, reject the row",
    "no order's fit converged; reject the row",
    "the steps follow a recursion without shocks, whose likelihood has no maximum; reject the row",
    "the forecast is not finite; reject the row",
)


@dataclass(frozen=True)
class ArimaFits:
    """The chosen models and forecasts of n windows; a row without a forecast has a status other than 0.

    Attributes
    ----------
    order_index
        place of the chosen order in `orders`, -1 where there is none, shape (n,)
    order
        chosen (p, 1, q), (-1, -1, -1) where there is none, shape (n, 3)
    aic
        of the chosen fit to the closes as given: 2 k - 2 log L, k counting the variance of the shocks; NaN where there
        is none; shape (n,)
    log_likelihood
        exact Gaussian log-likelihood at each order's optimum, in the unit of the closes, the first close diffuse; NaN
        where a fit failed; shape (n, orders)
    converged
        whether that fit converged; others cannot be chosen; shape (n, orders)
    mean, lower, upper
        forecast 1 .. steps sessions ahead and its 95 % interval, in the currency of the closes, NaN where there is
        none, shape (n, steps)
    status
        why a row has no forecast, as a place in `REASONS`; 0 where it has one; shape (n,)
    """

    order_index: Integers
    order: Integers
    aic: Floats
    log_likelihood: Floats
    converged: Booleans
    mean: Floats
    lower: Floats
    upper: Floats
    status: Integers

    @property
    def skipped(self) -> Integers:
        """Orders left out because their fit failed or did not converge, shape (n,)."""
        return np.asarray((~self.converged).sum(axis=1), dtype=np.int64)

    def reason(self, row: int) -> str:
        """Why `row` has no forecast, in words; "fitted" where it has one."""
        return REASONS[int(self.status[row])]


def choose_and_forecast_batch(
    closes: npt.ArrayLike, steps: int = 30, threads: int = 2, orders: Sequence[Order] = DEFAULT_ORDERS
) -> ArimaFits:
    """Fit every order without a constant to each window, keep the lowest AIC, and forecast with it.

    Each fit starts where statsmodels starts, follows its optimiser, and is then polished, so that it ends at the same
    optimum or further down the same slope. A likelihood whose autoregressive and moving-average roots nearly cancel
    has other optima too, often a little higher and at a unit root; they are not sought, since they are accidents of
    the sample that move the forecast. The same shape at ten times the price gets ten times the forecast.

    Parameters
    ----------
    closes
        prices, oldest first, one window a row, shape (n, sessions), sessions >= 50 (an as-of analysis gives 120); a
        window with a close that is not finite gets a status
    steps
        sessions to forecast
    threads
        windows fitted at the same time; changes no byte of the result
    orders
        candidates (p, 1, q) with 0 <= p <= 3 and 1 <= q <= 2; of two with the same AIC the earlier wins

    Returns
    -------
    ArimaFits
        a row's bytes are the same alone, in any batch and with any number of threads

    Raises
    ------
    DataError
        if `closes` is not two-dimensional or too short, `steps` or `threads` is below 1, or an order is not offered.
    """
    prices = np.ascontiguousarray(closes, dtype=np.float64)
    _check_request(prices, steps, threads, orders)
    from butterquant_assets.quant import arima_kernel

    rows = len(prices)
    candidates = np.array([(ar, ma) for ar, _, ma in orders], dtype=np.int64)
    chosen, status, evaluations = (np.zeros(rows, dtype=np.int64) for _ in range(3))
    log_likelihood = np.full((rows, len(orders)), np.nan)
    converged = np.zeros(log_likelihood.shape, dtype=np.bool_)
    mean, deviation = np.full((rows, steps), np.nan), np.full((rows, steps), np.nan)

    def fit(start: int) -> None:
        block = slice(start, start + BLOCK_ROWS)
        arima_kernel.fit_rows(
            prices[block],
            candidates,
            chosen[block],
            log_likelihood[block],
            converged[block],
            evaluations[block],
            mean[block],
            deviation[block],
            status[block],
        )

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fit, range(0, rows, BLOCK_ROWS)):
            pass
    return _result(orders, chosen, log_likelihood, converged, mean, INTERVAL_DEVIATIONS * deviation, status)


def _check_request(prices: Floats, steps: int, threads: int, orders: Sequence[Order]) -> None:
    if prices.ndim != 2:
        raise DataError(f"closes have shape {prices.shape}, expected (windows, sessions); give one window a row")
    if prices.shape[1] < MINIMUM_CLOSES:
        raise DataError(f"{prices.shape[1]} closes are too few for ARIMA; give at least {MINIMUM_CLOSES}")
    if steps < 1:
        raise DataError(f"{steps} steps cannot be forecast; ask for at least 1")
    if threads < 1:
        raise DataError(f"{threads} threads cannot work; ask for at least 1")
    offered = all(0 <= ar <= LARGEST_AR and d == 1 and 1 <= ma <= LARGEST_MA for ar, d, ma in orders)
    if not orders or not offered:
        raise DataError(
            f"orders {tuple(orders)} are not offered: expected at least one (p, 1, q) with p up to {LARGEST_AR} and q "
            f"1 to {LARGEST_MA}"
        )


def _result(
    orders: Sequence[Order],
    chosen: Integers,
    log_likelihood: Floats,
    converged: Booleans,
    mean: Floats,
    half_width: Floats,
    status: Integers,
) -> ArimaFits:
    without = status != 0
    chosen = np.where(without, -1, chosen)
    order = np.array([*orders, (-1, -1, -1)], dtype=np.int64)[chosen]
    best = np.take_along_axis(log_likelihood, np.maximum(chosen, 0)[:, None], axis=1)[:, 0]
    aic = np.where(without, np.nan, 2.0 * (order[:, 0] + order[:, 2] + 1) - 2.0 * best)
    mean = np.where(without[:, None], np.nan, mean)
    return ArimaFits(
        order_index=chosen,
        order=order,
        aic=aic,
        log_likelihood=log_likelihood,
        converged=converged,
        mean=mean,
        lower=mean - half_width,
        upper=mean + half_width,
        status=status,
    )
