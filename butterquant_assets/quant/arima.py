"""ARIMA forecast of one price series, order chosen by AIC; `arima_batch` does many windows at once.

What belongs here: one series in, one chosen model and its forecast out. What does not: what the forecast is used for,
and whether it strays too far from the price to be believed; that is the butterfly line's business.

Source: REFERENCE section 1, "ARIMA"; G. Box and G. Jenkins, "Time Series Analysis: Forecasting and Control" (1970);
H. Akaike, "A New Look at the Statistical Model Identification", IEEE Transactions on Automatic Control 19 (1974).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError, FitError

Floats = npt.NDArray[np.float64]
Order = tuple[int, int, int]

DEFAULT_ORDERS: tuple[Order, ...] = ((1, 1, 1), (2, 1, 2), (1, 1, 2), (2, 1, 1), (3, 1, 2))
MINIMUM_CLOSES = 50


@dataclass(frozen=True)
class ArimaForecast:
    """The chosen ARIMA model and its forecast.

    Attributes
    ----------
    order
        (p, d, q) with the lowest AIC
    aic
        of that fit to the closes as given: 2 k - 2 log L, k counting the variance of the shocks
    mean
        forecast 1 .. steps sessions ahead, in the currency of the closes, shape (steps,)
    lower, upper
        bounds of the 95 % interval, shape (steps,)
    skipped
        orders left out because their fit failed, did not converge or gave a forecast that is not finite
    """

    order: Order
    aic: float
    mean: Floats
    lower: Floats
    upper: Floats
    skipped: int


def choose_and_forecast(
    closes: npt.ArrayLike, steps: int = 30, orders: Sequence[Order] = DEFAULT_ORDERS
) -> ArimaForecast:
    """Fit every order without a constant, keep the lowest AIC, and forecast with it.

    The same shape at ten times the price gets the same order and ten times the forecast.

    Parameters
    ----------
    closes
        prices, oldest first, shape (n,), n >= 50 (an as-of analysis gives 120)
    steps
        sessions to forecast
    orders
        candidates (p, 1, q) with p up to 3 and q 1 or 2; of two with the same AIC the earlier wins

    Returns
    -------
    ArimaForecast
        the same input gives the same bytes, whatever number of threads the process has

    Raises
    ------
    FitError
        if the series is too short, not finite or moves by the same step every session, or if no order has a usable
        fit.
    DataError
        if `closes` is not one-dimensional, `steps` is below 1, or an order is not offered.
    """
    prices = np.asarray(closes, dtype=np.float64)
    if prices.ndim != 1:
        raise DataError(f"closes have shape {prices.shape}, expected one dimension; `arima_batch` takes many windows")
    if prices.size < MINIMUM_CLOSES:
        raise FitError(f"{prices.size} closes are too few for ARIMA; give at least {MINIMUM_CLOSES}")

    from butterquant_assets.quant.arima_batch import choose_and_forecast_batch

    fits = choose_and_forecast_batch(prices[None, :], steps, threads=1, orders=orders)
    if fits.status[0]:
        raise FitError(f"the {prices.size} closes, {prices[0]:.6g} to {prices[-1]:.6g}: {fits.reason(0)}")
    order = tuple(int(term) for term in fits.order[0])
    return ArimaForecast(
        order=(order[0], order[1], order[2]),
        aic=float(fits.aic[0]),
        mean=fits.mean[0],
        lower=fits.lower[0],
        upper=fits.upper[0],
        skipped=int(fits.skipped[0]),
    )
