"""What a butterfly costs, is worth later, and returned: debit, greeks, mark, costs, and ROI by four definitions.

What belongs here: prices and returns of given strikes, volatilities and dates. What does not: choosing them. All
functions broadcast; NaN in gives NaN out. Money is in USD per share of the underlying, in shares of the entry date.

By parity the put butterfly is worth what the call butterfly is, and an iron butterfly at the same strikes has its
profit and loss; each is priced with its own legs all the same, so that an outsider finds the stated options.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from butterquant_assets.butterfly.config import CostConfig
from butterquant_assets.butterfly.iv_proxy import LegVols
from butterquant_assets.butterfly.strikes import Strikes
from butterquant_assets.quant.black_scholes import Greeks, Kind, butterfly_greeks, butterfly_value, price

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]

DAYS_PER_YEAR = 365.0
CONTRACTS_PER_BUTTERFLY = 4
SHARES_PER_CONTRACT = 100
MINIMUM_HALF_SPREAD = 0.01
NEAR_MONEYNESS, FAR_MONEYNESS = 0.03, 0.08
HALF_SPREAD_SHARES = (0.015, 0.02, 0.04)
ROI_CLASS_EDGES = np.array([-0.10, 0.05, 0.15])
# A debit below this share of spot is smaller than the rounding of the legs it is the difference of.
DEBIT_RESOLUTION = 1e-9


def value(spot: npt.ArrayLike, strikes: Strikes, days: npt.ArrayLike, rate: npt.ArrayLike, vols: LegVols) -> Floats:
    """Black-Scholes value of the call butterfly +1/-2/+1, each leg at its own volatility.

    Parameters
    ----------
    spot
        price of the underlying
    strikes, vols
        of the three legs
    days
        calendar days to expiry (Actual/365); 0 gives the payoff
    rate
        continuously compounded, per year

    Returns
    -------
    float64 array of the broadcast shape: the debit at entry, the mark later

    Raises
    ------
    DataError
        if a price, strike or volatility is not positive (see `quant.black_scholes.price`).
    """
    years = np.asarray(days, dtype=np.float64) / DAYS_PER_YEAR
    return butterfly_value(
        spot, strikes.lower, strikes.center, strikes.upper, years, rate, vols.lower, vols.center, vols.upper
    )


def value_by_type(
    types: Texts, spot: Floats, strikes: Strikes, days: npt.NDArray[np.int64], rate: Floats, vols: LegVols
) -> Floats:
    """`value` with put legs where the type is ``PUT``, call legs elsewhere; all arguments of shape (n,)."""

    def legs(rows: npt.NDArray[np.bool_], kind: Kind) -> tuple[Floats]:
        return (butterfly_value(*_arguments(rows, spot, strikes, days, rate, vols), kind=kind),)

    return _by_type(types, legs, 1)[0]


def greeks_by_type(
    types: Texts, spot: Floats, strikes: Strikes, days: npt.NDArray[np.int64], rate: Floats, vols: LegVols
) -> Greeks:
    """Greeks of the spread in the units of `quant.black_scholes.Greeks`; shape (n,) throughout."""

    def legs(rows: npt.NDArray[np.bool_], kind: Kind) -> tuple[Floats, ...]:
        found = butterfly_greeks(*_arguments(rows, spot, strikes, days, rate, vols), kind=kind)
        return found.delta, found.gamma, found.vega, found.theta, found.rho

    return Greeks(*_by_type(types, legs, 5))


def _arguments(
    rows: npt.NDArray[np.bool_],
    spot: Floats,
    strikes: Strikes,
    days: npt.NDArray[np.int64],
    rate: Floats,
    vols: LegVols,
) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats]:
    years = days[rows] / DAYS_PER_YEAR
    lower, center, upper = strikes.lower[rows], strikes.center[rows], strikes.upper[rows]
    return spot[rows], lower, center, upper, years, rate[rows], vols.lower[rows], vols.center[rows], vols.upper[rows]


def _by_type(
    types: Texts, legs: Callable[[npt.NDArray[np.bool_], Kind], tuple[Floats, ...]], count: int
) -> list[Floats]:
    puts = np.asarray(types == "PUT", dtype=bool)
    out = [np.empty(puts.shape) for _ in range(count)]
    for rows, kind in ((puts, "put"), (~puts, "call")):
        for target, values in zip(out, legs(rows, kind), strict=True):  # type: ignore[arg-type]
            target[rows] = values
    return out


def debit_defects(debit: Floats, width: Floats, spot: Floats) -> Texts:
    """Why a debit cannot be paid, in one sentence; empty where 0 < debit < width.

    Parameters
    ----------
    debit, width, spot
        USD per share, shape (n,)

    Returns
    -------
    object array of str, shape (n,). A debit up to 1e-9 of spot counts as 0: it is rounding of the legs. A debit is
    never floored.
    """
    sentences = np.full(debit.shape, "", dtype=object)
    for row in np.flatnonzero(~((debit > DEBIT_RESOLUTION * spot) & (debit < width))):
        sentences[row] = (
            f"debit {debit[row]:.6g} of a butterfly {width[row]:g} wide on {spot[row]:g}; "
            "expected more than 0 and less than the width"
        )
    return sentences


def half_spread(
    spot: npt.ArrayLike, strike: npt.ArrayLike, days: npt.ArrayLike, rate: npt.ArrayLike, vol: npt.ArrayLike
) -> Floats:
    """Half of the bid-ask spread of one leg, USD per share.

    The larger of $0.01 and 1.5 / 2 / 4 % of the out-of-the-money option at that strike (put below spot, call from
    spot on) for |K/S - 1| < .03 / < .08 / further out. Market makers quote both options of a strike from the
    out-of-the-money one, so premium in the money is not taxed (REFERENCE, section 1, costs).
    """
    years = np.asarray(days, dtype=np.float64) / DAYS_PER_YEAR
    spot_, strike_ = np.asarray(spot, dtype=np.float64), np.asarray(strike, dtype=np.float64)
    put, call = (price(spot_, strike_, years, rate, vol, kind=kind) for kind in ("put", "call"))
    distance = np.abs(strike_ / spot_ - 1.0)
    near, middle, far = HALF_SPREAD_SHARES
    share = np.where(distance < NEAR_MONEYNESS, near, np.where(distance < FAR_MONEYNESS, middle, far))
    return np.asarray(np.maximum(MINIMUM_HALF_SPREAD, share * np.where(strike_ < spot_, put, call)))


def trade_cost(
    spot: npt.ArrayLike,
    strikes: Strikes,
    days: npt.ArrayLike,
    rate: npt.ArrayLike,
    vols: LegVols,
    costs: CostConfig,
) -> Floats:
    """Cost of opening or closing one butterfly, USD per share: half-spreads of its legs and the commission.

    The middle leg counts twice. A butterfly is four contracts of 100 shares. The floor of one cent makes this, and
    with it `roi_net`, the only figure that depends on the unit of prices.
    """
    lower = half_spread(spot, strikes.lower, days, rate, vols.lower)
    center = half_spread(spot, strikes.center, days, rate, vols.center)
    upper = half_spread(spot, strikes.upper, days, rate, vols.upper)
    commission = CONTRACTS_PER_BUTTERFLY * costs.commission_usd / SHARES_PER_CONTRACT
    return np.asarray(lower + 2.0 * center + upper + commission)


def payoff_share(exit_spot: npt.ArrayLike, strikes: Strikes) -> Floats:
    """Payoff at expiry as a share of the width, 0 .. 1: f = max(0, 1 - |S' - K| / W)."""
    distance = np.abs(np.asarray(exit_spot, dtype=np.float64) - strikes.center) / strikes.width
    return np.maximum(0.0, 1.0 - distance)


def roi_tent(exit_spot: npt.ArrayLike, strikes: Strikes, debit: npt.ArrayLike) -> Floats:
    """The source document's ROI: (W - D) f / D from wing to wing (both included), -1 outside.

    It overstates the value at expiry by exactly 1 - f inside, is 0 on a wing and -1 just beyond it.
    """
    paid, spot_ = np.asarray(debit, dtype=np.float64), np.asarray(exit_spot, dtype=np.float64)
    tent = (strikes.width - paid) * payoff_share(spot_, strikes) / paid
    outside = (spot_ < strikes.lower) | (spot_ > strikes.upper)
    return np.where(outside & ~np.isnan(tent), -1.0, tent)


def roi_expiry(exit_spot: npt.ArrayLike, strikes: Strikes, debit: npt.ArrayLike) -> Floats:
    """(W f - D) / D: the profit and loss if the evaluation date were expiry."""
    paid = np.asarray(debit, dtype=np.float64)
    return np.asarray((strikes.width * payoff_share(exit_spot, strikes) - paid) / paid)


def roi_mark(mark: npt.ArrayLike, debit: npt.ArrayLike) -> Floats:
    """(mark - D) / D: what closing the position at its Black-Scholes value pays; the default label."""
    paid = np.asarray(debit, dtype=np.float64)
    return np.asarray((np.asarray(mark, dtype=np.float64) - paid) / paid)


def roi_net(mark: npt.ArrayLike, exit_cost: npt.ArrayLike, debit: npt.ArrayLike, entry_cost: npt.ArrayLike) -> Floats:
    """(max(mark - exit cost, 0) - D - entry cost) / (D + entry cost): after costs both ways, never below -1.

    A position worth less than closing it costs is left to expire, hence the 0.
    """
    outlay = np.asarray(debit, dtype=np.float64) + np.asarray(entry_cost, dtype=np.float64)
    received = np.maximum(np.asarray(mark, dtype=np.float64) - np.asarray(exit_cost, dtype=np.float64), 0.0)
    return np.asarray((received - outlay) / outlay)


def label_of(roi: npt.ArrayLike) -> Floats:
    """Class of each ROI: 0 below -10 %, 1 below 5 %, 2 below 15 %, 3 from there on.

    Returns
    -------
    float64 array of the same shape, so that a missing ROI stays missing (NaN) through Parquet and pandera
    """
    values = np.asarray(roi, dtype=np.float64)
    return np.where(np.isnan(values), np.nan, np.digitize(values, ROI_CLASS_EDGES).astype(np.float64))
