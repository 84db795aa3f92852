"""Splits: from split-adjusted vendor prices back to prices as quoted, and the factors for the way forward.

A vendor divides the prices before a split of ratio R (new shares per old share) by R and multiplies the volumes by R;
spin-offs enter as fractions near 1. With F the product of all ratios after a day, quoted = adjusted x F for prices and
dividends, adjusted / F for volume. Measured on 66 large stocks 2011-2022: every one of the 735,516 prices then lies
within float32 rounding of a whole cent, and volumes, spin-offs included, lie within the vendor's rounding to whole
shares of a round lot.

What belongs here: pure arithmetic on bars and a table of splits. What does not: files, and which bars are good.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import SourceError

Floats = npt.NDArray[np.float64]

FLOAT32_SLACK = 3 * 2.0**-24
"""Relative error of a float32 price that went through one division by the vendor and one product by us, with margin."""

DECIDABLE_LOG_RATIO = float(np.log(1.5))
"""A split of at least 3:2 (or 2:3) shows in daily closes; a smaller one drowns in ordinary moves."""


def later_factor(bars: pd.DataFrame, splits: pd.DataFrame) -> Floats:
    """Product of all split ratios after each bar's session.

    Parameters
    ----------
    bars
        columns session, ticker, shape (n,), any order
    splits
        columns session (first session at the new price), ticker, split_ratio (new shares per old, > 0)

    Returns
    -------
    float64 array, shape (n,); 1.0 where no split follows
    """
    factor = np.ones(len(bars))
    sessions = bars["session"].to_numpy()
    tickers = bars["ticker"].to_numpy()
    for ticker, group in splits.groupby("ticker", sort=True):
        mine = np.flatnonzero(tickers == ticker)
        for session, ratio in zip(group["session"].to_numpy(), group["split_ratio"].to_numpy(), strict=True):
            factor[mine[sessions[mine] < session]] *= ratio
    return factor


def ratio_on_bar(bars: pd.DataFrame, splits: pd.DataFrame) -> Floats:
    """Split ratio effective on each bar: that of every split since the ticker's bar before.

    A split on a session without a bar takes effect on the ticker's next bar, so that the product of the ratios since
    an entry is right whatever rows are missing.

    Parameters
    ----------
    bars
        columns session, ticker, shape (n,), any order, keys unique
    splits
        as in `later_factor`

    Returns
    -------
    float64 array, shape (n,); 1.0 where none. A split before a ticker's first or after its last bar appears nowhere.
    """
    ratio = np.ones(len(bars))
    sessions = bars["session"].to_numpy()
    tickers = bars["ticker"].to_numpy()
    for ticker, group in splits.groupby("ticker", sort=True):
        mine = np.flatnonzero(tickers == ticker)
        mine = mine[np.argsort(sessions[mine], kind="stable")]
        place = np.searchsorted(sessions[mine], group["session"].to_numpy(), side="left")
        for position, value in zip(place, group["split_ratio"].to_numpy(), strict=True):
            if 0 < position < len(mine):
                ratio[mine[position]] *= value
    return ratio


def quoted_price(adjusted: npt.ArrayLike, factor: npt.ArrayLike) -> Floats:
    """Un-adjust prices and remove the vendor's float32 noise, so that a later re-adjustment changes no digit.

    A product within `FLOAT32_SLACK` of a whole cent becomes that cent. Anything else (sub-penny quotes, or prices too
    large for float32 to resolve a cent) is rounded to six significant digits, all that float32 carries safely.

    Parameters
    ----------
    adjusted
        vendor prices, USD, shape (...)
    factor
        `later_factor` of each, same shape

    Returns
    -------
    float64 array of the same shape, USD; NaN stays NaN
    """
    price = np.asarray(adjusted, dtype=float) * np.asarray(factor, dtype=float)
    slack = FLOAT32_SLACK * np.abs(price)
    cents = np.round(price, 2)
    on_grid = (np.abs(price - cents) <= slack) & (slack < 0.0025)
    with np.errstate(divide="ignore", invalid="ignore"):
        digits = np.nan_to_num(5 - np.floor(np.log10(np.abs(price))), nan=0.0, posinf=0.0, neginf=0.0)
    scale = 10.0**digits
    quoted: Floats = np.where(on_grid, cents, np.round(price * scale) / scale)
    return quoted


def quoted_volume(adjusted: npt.ArrayLike, factor: npt.ArrayLike) -> Floats:
    """Un-adjust volumes; the vendor rounded them to whole adjusted shares.

    A quotient within that rounding of a round lot of 100 becomes the lot (so re-adjusting changes nothing); otherwise
    it becomes the nearest whole share. Volumes with factor 1 stay as they are.

    Parameters
    ----------
    adjusted
        vendor volumes, shares after all splits, shape (n,)
    factor
        `later_factor` of each, shape (n,)

    Returns
    -------
    float64 array, shape (n,), shares of the day; NaN stays NaN
    """
    volume, by = np.asarray(adjusted, dtype=float), np.asarray(factor, dtype=float)
    shares = volume / by
    lots = np.round(shares / 100) * 100
    near_lot = np.abs(shares - lots) <= 0.505 / by + 1e-9 * shares
    quoted: Floats = np.where(by == 1.0, volume, np.where(near_lot, lots, np.round(shares)))
    return quoted


def quoted_dividend(adjusted: npt.ArrayLike, factor: npt.ArrayLike) -> Floats:
    """Un-adjust dividends, which the vendor rounds to six decimals.

    Parameters
    ----------
    adjusted
        USD per share after all splits, shape (n,)
    factor
        `later_factor` of each, shape (n,)

    Returns
    -------
    float64 array, shape (n,), USD per share of the day, to four decimals where the vendor's rounding allows it, else
    to six
    """
    by = np.asarray(factor, dtype=float)
    dividend = np.asarray(adjusted, dtype=float) * by
    coarse = np.round(dividend, 4)
    quoted: Floats = np.where(np.abs(dividend - coarse) <= 0.505e-6 * by + 1e-9, coarse, np.round(dividend, 6))
    return quoted


def prices_are_quoted(bars: pd.DataFrame, splits: pd.DataFrame) -> bool:
    """Whether the closes jump on the days of known splits, that is, were never adjusted.

    Parameters
    ----------
    bars
        columns session, ticker, close, shape (n,), any order
    splits
        as in `later_factor`

    Returns
    -------
    True when every decidable split (3:2 or more, bars on both sides) shows as a jump; False when none does, or when
    there is nothing to decide from

    Raises
    ------
    SourceError
        if some splits show and others do not: then no single correction is right.
    """
    jumped: list[str] = []
    smooth: list[str] = []
    decidable = splits[np.abs(np.log(splits["split_ratio"].to_numpy(dtype=float))) >= DECIDABLE_LOG_RATIO]
    for split in decidable.sort_values(["ticker", "session"]).itertuples(index=False):
        mine = bars[(bars["ticker"] == split.ticker) & (bars["close"] > 0)].sort_values("session")
        place = int(mine["session"].searchsorted(split.session))
        if not 0 < place < len(mine):
            continue
        closes = mine["close"].to_numpy(dtype=float)
        move = float(np.log(closes[place] / closes[place - 1]))
        expected = -float(np.log(split.split_ratio))
        (jumped if abs(move - expected) < abs(move) else smooth).append(f"{split.ticker} {split.session:%Y-%m-%d}")
    if jumped and smooth:
        raise SourceError(
            f"closes jump on the split of {jumped[0]} ({len(jumped)} such splits) but not on that of {smooth[0]} "
            f"({len(smooth)} such): expected all prices to be split-adjusted, or none; deliver one kind, or "
            "correct the split table"
        )
    return bool(jumped)
