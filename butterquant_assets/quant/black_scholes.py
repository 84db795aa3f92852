"""European options without dividends: prices, greeks, and the butterfly spread of three strikes.

What belongs here: closed formulas on arrays. What does not: which strikes, volatilities or rates to use, and whether
a quoted debit breaks a no-arbitrage bound; that is the butterfly line's business.

Conventions: `years` is Actual/365 (calendar days / 365), `rate` is continuously compounded per year, `vol` is per year
as a fraction (0.2 is 20 %). All functions broadcast their arguments. NaN in any argument gives NaN in that element.

Source: F. Black and M. Scholes, "The Pricing of Options and Corporate Liabilities", Journal of Political Economy 81
(1973); greeks as in J. Hull, "Options, Futures, and Other Derivatives", chapter 19.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from butterquant_assets.foundation.errors import DataError

Kind = Literal["call", "put"]
Floats = npt.NDArray[np.float64]

DAYS_PER_YEAR = 365.0
POINTS_PER_UNIT_VOL = 100.0
POINTS_PER_UNIT_RATE = 100.0
CHUNK = 8192
THREADS, THREADED_CHUNKS = 2, 8
_INV_SQRT_2PI = 1.0 / np.sqrt(2.0 * np.pi)


@dataclass(frozen=True)
class Greeks:
    """Sensitivities of an option or of a spread; all arrays share one shape.

    Attributes
    ----------
    delta
        change of value per 1 of spot
    gamma
        change of delta per 1 of spot
    vega
        change of value per volatility point (0.01)
    theta
        change of value per calendar day that passes
    rho
        change of value per percentage point (0.01) of the rate
    """

    delta: Floats
    gamma: Floats
    vega: Floats
    theta: Floats
    rho: Floats


def price(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    vol: npt.ArrayLike,
    *,
    kind: Kind = "call",
) -> Floats:
    """Value of a European option.

    Parameters
    ----------
    spot, strike
        positive, in the same currency
    years
        time to expiry in years, Actual/365; 0 gives the intrinsic value
    rate
        continuously compounded, per year
    vol
        volatility per year as a fraction, positive
    kind
        ``call`` or ``put``

    Returns
    -------
    float64 array of the broadcast shape, in the currency of `spot`

    Raises
    ------
    DataError
        if a spot, strike or vol is not positive or infinite, a time is negative or infinite, a rate is infinite, or
        `kind` is unknown.
    """
    return _evaluate((spot, strike, years, rate, vol), kind, with_greeks=False)[0]


def value_and_greeks(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    vol: npt.ArrayLike,
    *,
    kind: Kind = "call",
) -> tuple[Floats, Greeks]:
    """Value and all sensitivities in one pass, for less than the price of two.

    Parameters and errors are those of `price`, units those of `Greeks`. At expiry (``years == 0``) delta is that of
    the intrinsic value (1 in the money, 0 out of it, one half at the strike exactly; with the sign of the kind) and
    the other sensitivities are 0.

    Returns
    -------
    value, greeks
        arrays of the broadcast shape
    """
    value, *sensitivities = _evaluate((spot, strike, years, rate, vol), kind, with_greeks=True)
    return value, Greeks(*sensitivities)


def greeks(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    vol: npt.ArrayLike,
    *,
    kind: Kind = "call",
) -> Greeks:
    """Sensitivities of a European option, in the units of `Greeks`.

    Parameters, errors and the rule at expiry are those of `value_and_greeks`.

    Returns
    -------
    Greeks
        arrays of the broadcast shape
    """
    return value_and_greeks(spot, strike, years, rate, vol, kind=kind)[1]


def butterfly_value(
    spot: npt.ArrayLike,
    lower: npt.ArrayLike,
    center: npt.ArrayLike,
    upper: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    iv_lower: npt.ArrayLike,
    iv_center: npt.ArrayLike,
    iv_upper: npt.ArrayLike,
    *,
    kind: Kind = "call",
) -> Floats:
    """Value of a long butterfly: +1 at `lower`, -2 at `center`, +1 at `upper`, each leg at its own volatility.

    Parameters
    ----------
    spot, years, rate, kind
        as in `price`
    lower, center, upper
        strikes; their order and spacing are the caller's business
    iv_lower, iv_center, iv_upper
        volatility of each leg, per year as a fraction

    Returns
    -------
    float64 array of the broadcast shape, per share: what one pays to open it

    Raises
    ------
    DataError
        as `price`.
    """
    return _spread(
        lambda strike, vol: price(spot, strike, years, rate, vol, kind=kind),
        (lower, center, upper),
        (iv_lower, iv_center, iv_upper),
    )


def butterfly_greeks(
    spot: npt.ArrayLike,
    lower: npt.ArrayLike,
    center: npt.ArrayLike,
    upper: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    iv_lower: npt.ArrayLike,
    iv_center: npt.ArrayLike,
    iv_upper: npt.ArrayLike,
    *,
    kind: Kind = "call",
) -> Greeks:
    """Sensitivities of the long butterfly of `butterfly_value`: each leg's greeks, weighted +1, -2, +1.

    Vega is the change when all three volatilities rise by one point together.

    Returns
    -------
    Greeks
        arrays of the broadcast shape

    Raises
    ------
    DataError
        as `price`.
    """
    legs = [
        greeks(spot, strike, years, rate, vol, kind=kind)
        for strike, vol in ((lower, iv_lower), (center, iv_center), (upper, iv_upper))
    ]
    return Greeks(*(_weighted([getattr(leg, each.name) for leg in legs]) for each in fields(Greeks)))


def _spread(
    leg: Callable[[npt.ArrayLike, npt.ArrayLike], Floats],
    strikes: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    vols: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
) -> Floats:
    return _weighted([leg(strike, vol) for strike, vol in zip(strikes, vols, strict=True)])


def _weighted(legs: list[Floats]) -> Floats:
    lower, center, upper = legs
    return np.asarray(lower - 2.0 * center + upper)


def _evaluate(arguments: tuple[npt.ArrayLike, ...], kind: Kind, *, with_greeks: bool) -> list[Floats]:
    """Value, and with greeks delta, gamma, vega, theta, rho, chunk by chunk so that all temporaries stay in cache."""
    if kind not in ("call", "put"):
        raise DataError(f"option kind {kind!r} is unknown; use 'call' or 'put'")
    given = np.broadcast_arrays(*(np.asarray(argument, dtype=np.float64) for argument in arguments))
    shape, flat = given[0].shape, [argument.reshape(-1) for argument in given]
    results = [np.empty(flat[0].size) for _ in range(1 + len(fields(Greeks)) if with_greeks else 1)]

    def fill(start: int) -> None:
        part = slice(start, start + CHUNK)
        spot, strike, years, rate, vol = (argument[part] for argument in flat)
        _check(spot, strike, years, rate, vol)
        made = _chunk(spot, strike, years, rate, vol, 1.0 if kind == "call" else -1.0, with_greeks)
        for result, values in zip(results, made, strict=True):
            result[part] = values

    starts = range(0, flat[0].size, CHUNK)
    if len(starts) >= THREADED_CHUNKS:
        # numpy lets go of the interpreter inside each operation; chunks are independent, so the bytes are the same.
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fill, starts))
    else:
        for start in starts:
            fill(start)
    return [result.reshape(shape) for result in results]


def _chunk(
    spot: Floats, strike: Floats, years: Floats, rate: Floats, vol: Floats, sign: float, with_greeks: bool
) -> list[Floats]:
    expired = years == 0.0
    any_expired = bool(expired.any())
    alive = np.where(expired, 1.0, years) if any_expired else years
    sqrt_years = np.sqrt(alive)
    deviation = vol * sqrt_years
    d1 = (np.log(spot / strike) + rate * alive) / deviation + 0.5 * deviation
    owed = strike * np.exp(-rate * years)
    up, down = ndtr(sign * d1), ndtr(sign * (d1 - deviation))
    owed_down = owed * down
    made = [sign * (spot * up - owed_down)]
    if with_greeks:
        density = np.exp(-0.5 * d1 * d1) * _INV_SQRT_2PI
        hedge = spot * density
        carry = sign * owed_down
        theta = (-0.5 / DAYS_PER_YEAR) * hedge * vol / sqrt_years - rate * carry / DAYS_PER_YEAR
        vega, rho = hedge * sqrt_years / POINTS_PER_UNIT_VOL, years * carry / POINTS_PER_UNIT_RATE
        made += [sign * up, density / (spot * deviation), vega, theta, rho]
    return _at_expiry(made, expired, spot, strike, rate + vol, sign) if any_expired else made


def _at_expiry(
    made: list[Floats], expired: npt.NDArray[np.bool_], spot: Floats, strike: Floats, other: Floats, sign: float
) -> list[Floats]:
    """Replace expired elements: an expired option needs no volatility or rate, but a missing input stays missing."""
    missing = 0.0 * (spot + strike + other)
    intrinsic = np.maximum(sign * (spot - strike), 0.0) + missing
    step = sign * 0.5 * (1.0 + sign * np.sign(spot - strike)) + missing
    values = [intrinsic, step, *[missing] * (len(made) - 2)]
    return [np.where(expired, at_end, before) for at_end, before in zip(values, made, strict=False)]


def _check(spot: Floats, strike: Floats, years: Floats, rate: Floats, vol: Floats) -> None:
    for name, values in (("spot", spot), ("strike", strike), ("vol", vol)):
        _require(name, values, 0.0, "positive and finite", above=True)
    _require("years", years, 0.0, "zero or positive and finite")
    _require("rate", rate, -np.finfo(np.float64).max, "finite")


def _require(name: str, values: Floats, lowest: float, expected: str, *, above: bool = False) -> None:
    """Refuse values out of range; NaN, a missing value, passes."""
    least, most = np.minimum.reduce(values), np.maximum.reduce(values)
    if np.isnan(least):  # the ones that look past a missing value take ten times as long
        least, most = np.fmin.reduce(values), np.fmax.reduce(values)
    if (least > lowest or (least == lowest and not above) or np.isnan(least)) and not np.isinf(most):
        return
    wrong = np.isinf(values) | (values < lowest) | ((values == lowest) & above)
    raise DataError(
        f"{name} {values[wrong][0]} cannot price an option: expected {expected}, {int(wrong.sum())} elements are not; "
        "reject those rows before pricing (NaN marks a missing one)"
    )
