"""Trades priced again: at other volatilities, at other strikes, or in a market without edge.

What belongs here: what the same trades would have cost and paid. What does not: what is concluded from it. Every
function works row by row, so that a trade's figure does not depend on the trades beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from butterquant_assets.butterfly import pricing
from butterquant_assets.butterfly.config import CostConfig, Smile
from butterquant_assets.butterfly.iv_proxy import LegVols, leg_vols, leg_vols_of, smile_multiple
from butterquant_assets.butterfly.strikes import Strikes, strikes_of
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.quant.black_scholes import price

Floats = npt.NDArray[np.float64]

KEYS = ["session", "ticker"]
DEVIATIONS, GRID_STEP = 8.0, 0.1
ROWS_PER_CHUNK = 512


@dataclass(frozen=True)
class Remarked:
    """Trades priced again, shape (n,) each.

    Attributes
    ----------
    debit, mark
        USD per share; the mark is NaN where the debit or an input is
    roi
        (mark - debit) / debit
    roi_net
        after costs both ways
    """

    debit: Floats
    mark: Floats
    roi: Floats
    roi_net: Floats


def labelled_trades(analyses: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Analyses beside their labels, rows without a label left out.

    Parameters
    ----------
    analyses, labels
        columns of `schemas.ANALYSES` and `schemas.ROI_LABELS`

    Returns
    -------
    DataFrame
        all columns of both, sorted by (session, ticker), a plain index

    Raises
    ------
    DataError
        if a label has no analysis, or a key occurs twice.
    """
    known = labels[labels["missing_reason"] == ""].drop(columns=["evaluation_session", "days_left"])
    for name, frame in (("analyses", analyses), ("labels", known)):
        twice = frame[frame.duplicated(KEYS)]
        if len(twice):
            row = twice.iloc[0]
            raise DataError(f"the {name} hold {row['ticker']} on {row['session']:%Y-%m-%d} twice; keep one")
    trades = known.merge(analyses, on=KEYS, how="left")
    lost = trades[trades["spot"].isna()]
    if len(lost):
        row = lost.iloc[0]
        raise DataError(
            f"{len(lost)} labels have no analysis, for instance {row['ticker']} on {row['session']:%Y-%m-%d}; "
            "build both from the same samples"
        )
    return trades.sort_values(KEYS, kind="stable").reset_index(drop=True)


def exit_vols_of(trades: pd.DataFrame) -> LegVols:
    """Volatilities of the legs at exit, as the labels hold them."""
    names = ("exit_iv_lower", "exit_iv_center", "exit_iv_upper")
    return LegVols(*(trades[name].to_numpy(dtype=np.float64) for name in names))


def exit_level_of(trades: pd.DataFrame, smile: Smile) -> Floats:
    """At-the-money volatility at exit, per year, shape (n,): that of the centre strike over its smile multiple."""
    center = trades["center_strike"].to_numpy(dtype=np.float64)
    multiple = smile_multiple(center, trades["exit_spot"].to_numpy(dtype=np.float64), smile)
    return np.asarray(trades["exit_iv_center"].to_numpy(dtype=np.float64) / multiple)


def shifted(vols: LegVols, lower: float, center: float, upper: float) -> LegVols:
    """Volatilities with points added leg by leg (per year: 0.01 is one point); NaN where one would not be positive."""
    legs = (vols.lower + lower, vols.center + center, vols.upper + upper)
    return LegVols(*(np.where(leg > 0.0, leg, np.nan) for leg in legs))


def remark(
    trades: pd.DataFrame, entry: LegVols, exit_: LegVols, costs: CostConfig, chosen: Strikes | None = None
) -> Remarked:
    """Debit, mark and return of the same trades at other volatilities or strikes.

    Parameters
    ----------
    trades
        from `labelled_trades`
    entry, exit_
        volatilities of the legs at both ends, per year; NaN where there is none
    costs
        of both ends
    chosen
        other strikes than the trades'; NaN where there are none

    Returns
    -------
    Remarked
        all NaN in a row with a missing input or without 0 < debit < width: there a trade would have been rejected
    """
    legs = strikes_of(trades) if chosen is None else chosen
    spot, exit_spot, rate, dte, left = (
        trades[name].to_numpy(dtype=np.float64) for name in ("spot", "exit_spot", "rate", "dte", "days_left")
    )
    debit = pricing.value(spot, legs, dte, rate, entry)
    debit = np.where(pricing.debit_defects(debit, legs.width, spot) == "", debit, np.nan)
    mark = np.where(np.isnan(debit), np.nan, pricing.value(exit_spot, legs, left, rate, exit_))
    debit = np.where(np.isnan(mark), np.nan, debit)
    entry_cost = pricing.trade_cost(spot, legs, dte, rate, entry, costs)
    exit_cost = pricing.trade_cost(exit_spot, legs, left, rate, exit_, costs)
    return Remarked(debit, mark, pricing.roi_mark(mark, debit), pricing.roi_net(mark, exit_cost, debit, entry_cost))


def remark_at_levels(
    trades: pd.DataFrame,
    entry_level: Floats,
    exit_level: Floats,
    smile: Smile,
    costs: CostConfig,
    chosen: Strikes | None = None,
) -> Remarked:
    """`remark` at other at-the-money levels under the same smile, taken at K / spot at entry and K / S' at exit."""
    legs = strikes_of(trades) if chosen is None else chosen
    spot, exit_spot = (trades[name].to_numpy(dtype=np.float64) for name in ("spot", "exit_spot"))
    entry, exit_ = leg_vols(entry_level, legs, spot, smile), leg_vols(exit_level, legs, exit_spot, smile)
    return remark(trades, entry, exit_, costs, legs)


@dataclass(frozen=True)
class NoEdge:
    """Expected returns in a market without edge, shape (n,) each: by the tent and by the mark."""

    tent: Floats
    mark: Floats


def no_edge_returns(trades: pd.DataFrame, *, smile: bool = False) -> NoEdge:
    """Expected ROI of each trade where the price of the underlying is lognormal at the entry volatility.

    The spot at evaluation has drift `rate` and the volatility of the centre strike, under which nothing can be earned
    but interest. Without a smile every leg is priced at that volatility too, at both ends, so the market is consistent
    and the expected ROI by the mark is exp(rate t) - 1 exactly; whatever the tent says above it is manufactured.

    Parameters
    ----------
    trades
        session, evaluation_session, spot, the strikes and width, dte, days_left, rate, iv_lower, iv_center, iv_upper,
        debit
    smile
        price the legs, and the debit, at their own entry volatilities instead: what the labels do, while the lognormal
        knows no smile

    Returns
    -------
    NoEdge
        NaN where the debit is not between 0 and the width

    Notes
    -----
    The tent is piecewise linear between its jumps, so its expectation is closed: with the undiscounted calls c(K) of
    the lognormal, E f = (c(K - W) - 2 c(K) + c(K + W)) / W. The mark is smooth; the trapezoidal rule over the normal
    deviate, -8 .. 8 in steps of .1, errs by less than 1e-9 of the width from two days left on.
    """
    legs, own = strikes_of(trades), leg_vols_of(trades)
    vols = own if smile else LegVols(own.center, own.center, own.center)
    spot, rate, dte, left = (trades[name].to_numpy(dtype=np.float64) for name in ("spot", "rate", "dte", "days_left"))
    years = (dte - left) / pricing.DAYS_PER_YEAR
    debit = trades["debit"].to_numpy(dtype=np.float64) if smile else pricing.value(spot, legs, dte, rate, vols)
    debit = np.where(pricing.debit_defects(debit, legs.width, spot) == "", debit, np.nan)
    calls = [price(spot, strike, years, rate, own.center) for strike in (legs.lower, legs.center, legs.upper)]
    share = (calls[0] - 2.0 * calls[1] + calls[2]) * np.exp(rate * years) / legs.width
    deviation = own.center * np.sqrt(years)
    median = np.log(spot) + rate * years - 0.5 * deviation**2
    inside = ndtr((np.log(legs.upper) - median) / deviation) - ndtr((np.log(legs.lower) - median) / deviation)
    tent = (legs.width - debit) / debit * share - (1.0 - inside)
    mark = _expected_mark(median, deviation, legs, left, rate, vols)
    return NoEdge(tent=np.asarray(tent), mark=pricing.roi_mark(mark, debit))


def _expected_mark(
    median: Floats, deviation: Floats, legs: Strikes, left: Floats, rate: Floats, vols: LegVols
) -> Floats:
    """Mean of the mark over the lognormal, shape (n,)."""
    deviate = np.arange(-DEVIATIONS, DEVIATIONS + 0.5 * GRID_STEP, GRID_STEP)
    weight = np.exp(-0.5 * deviate**2)
    weight /= weight.sum()
    expected = np.empty(len(median))
    for start in range(0, len(median), ROWS_PER_CHUNK):
        rows = slice(start, start + ROWS_PER_CHUNK)
        strikes = Strikes(*(leg[rows, None] for leg in (legs.lower, legs.center, legs.upper, legs.width)))
        own = LegVols(*(leg[rows, None] for leg in (vols.lower, vols.center, vols.upper)))
        spot = np.exp(median[rows, None] + deviation[rows, None] * deviate)
        marks = pricing.value(spot, strikes, left[rows, None], rate[rows, None], own)
        expected[rows] = np.ascontiguousarray(marks * weight).sum(axis=1)
    return expected
