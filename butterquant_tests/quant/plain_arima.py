"""The plain implementation of `quant.arima`: `statsmodels`, one series at a time.

Source: REFERENCE section 1, "ARIMA"; G. Box and G. Jenkins, "Time Series Analysis: Forecasting and Control" (1970);
H. Akaike, "A New Look at the Statistical Model Identification", IEEE Transactions on Automatic Control 19 (1974).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError, FitError
from butterquant_assets.quant.arima import DEFAULT_ORDERS, MINIMUM_CLOSES, ArimaForecast, Order
from butterquant_assets.quant.threads import one_thread

Floats = npt.NDArray[np.float64]

INTERVAL_ALPHA = 0.05
# statsmodels stops after 50 iterations, before one fit in five of real windows has converged; 200 suffice.
MAXIMUM_ITERATIONS = 200
# Steps whose deviation is below this share of the price are rounding noise of a price that does not move.
NOISE_SHARE = 1e-9

# Likelihoods with nearly cancelling roots have several optima, and a difference in the last bit can decide between
# them. Without those bits the fit is the same in every currency; a ten-millionth of a step is far below a cent.
SCALED_DECIMALS = 7


def choose_and_forecast(
    closes: npt.ArrayLike, steps: int = 30, orders: Sequence[Order] = DEFAULT_ORDERS
) -> ArimaForecast:
    prices = np.asarray(closes, dtype=np.float64)
    _check_input(prices, steps, orders)
    unit = float(np.diff(prices).std())
    scaled = np.round((prices - prices[0]) / unit, SCALED_DECIMALS)
    best: tuple[float, Order, Any] | None = None
    reasons: list[str] = []
    for order in orders:
        try:
            aic, forecast = _fit(scaled, order, steps)
        except FitError as error:
            reasons.append(f"{order} {error}")
            continue
        if best is None or aic < best[0]:
            best = (aic, order, forecast)
    if best is None:
        raise FitError(f"no ARIMA order fits these {prices.size} closes: {'; '.join(reasons)}; reject the row")
    aic, order, (mean, lower, upper) = best
    # The density of a series in other units is that of the scaled one over unit^(n - 1): the first close is diffuse.
    return ArimaForecast(
        order=order,
        aic=aic + 2.0 * (prices.size - 1) * float(np.log(unit)),
        mean=prices[0] + unit * mean,
        lower=prices[0] + unit * lower,
        upper=prices[0] + unit * upper,
        skipped=len(reasons),
    )


def _check_input(prices: Floats, steps: int, orders: Sequence[Order]) -> None:
    if prices.ndim != 1:
        raise DataError(f"closes have shape {prices.shape}, expected one dimension; forecast one series at a time")
    if steps < 1:
        raise DataError(f"{steps} steps cannot be forecast; ask for at least 1")
    if not orders or any(difference != 1 for _, difference, _ in orders):
        raise DataError(
            f"orders {tuple(orders)} cannot be compared: expected at least one (p, 1, q), since AIC only compares fits "
            "to a series differenced equally often"
        )
    if prices.size < MINIMUM_CLOSES:
        raise FitError(f"{prices.size} closes are too few for ARIMA; give at least {MINIMUM_CLOSES}")
    bad = ~np.isfinite(prices)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise FitError(
            f"{int(bad.sum())} of {prices.size} closes are not finite, the first ({prices[first]}) at {first}; "
            "repair or reject the series before fitting"
        )
    if np.diff(prices).std() <= NOISE_SHARE * np.abs(prices).max():
        raise FitError(
            f"the {prices.size} closes, {prices[0]:.6g} to {prices[-1]:.6g}, move by the same step every session; such "
            "a series has no ARIMA fit, reject the row"
        )


def _fit(scaled: Floats, order: Order, steps: int) -> tuple[float, tuple[Floats, Floats, Floats]]:
    """AIC and (mean, lower, upper) of one order, in the units of `scaled`."""
    from statsmodels.tsa.arima.model import ARIMA

    # statsmodels warns about starting values and convergence; what counts is where it ends, which is checked below.
    with one_thread(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = ARIMA(scaled, order=order, trend="n", concentrate_scale=True)
            result = model.fit(cov_type="none", method_kwargs={"maxiter": MAXIMUM_ITERATIONS})
            forecast = result.get_forecast(steps)
            interval = np.asarray(forecast.conf_int(alpha=INTERVAL_ALPHA), dtype=np.float64)
            mean = np.asarray(forecast.predicted_mean, dtype=np.float64)
        except (np.linalg.LinAlgError, ValueError) as error:
            raise FitError(f"failed ({error})") from error
    if not result.mle_retvals["converged"]:
        raise FitError(f"did not converge in {result.mle_retvals['iterations']} iterations")
    aic = float(result.aic)
    if not (np.isfinite(aic) and np.isfinite(mean).all() and np.isfinite(interval).all()):
        raise FitError("gave a forecast that is not finite")
    return aic, (mean, interval[:, 0], interval[:, 1])
