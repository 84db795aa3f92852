"""Hourly market data of many coins on one clock, and what may not be in it.

What belongs here: the arrays the factors are computed from, and the checks they pass first. What does not: reading,
repairing and the factors themselves.

An hour is named by its start, as exchanges name their bars. Its row holds what was known when it ended, so that
everything computed from rows up to t can be known at t + 1 h. A bar that is not closed has no row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Hours = npt.NDArray[np.datetime64]

HOUR = np.timedelta64(1, "h")
_POSITIVE = ("high", "low", "close", "mark", "index")
_NOT_NEGATIVE = ("volume", "taker_buy_volume", "open_interest")
_SERIES = (*_POSITIVE, *_NOT_NEGATIVE, "funding_8h")


@dataclass(frozen=True)
class HourlyPanel:
    """One row an hour, one column a coin; NaN = missing.

    Attributes
    ----------
    hours
        start of each hour, UTC, each one hour after the one before, shape (h,); a missing hour is a row of NaN
    coins
        names of the columns, unique, c of them
    high, low, close
        prices of the perpetual, shape (h, c)
    volume
        traded in the hour, in coins or contracts, shape (h, c)
    taker_buy_volume
        the part of it that buyers took, in the same unit, shape (h, c); NaN throughout where the source has none
    open_interest
        in coins, at the end of the hour or the latest known by then, shape (h, c); 0 counts as missing
    mark, index
        mark price of the perpetual and index price of what it follows, at the end of the hour, shape (h, c)
    funding_8h
        latest funding rate settled before the end of the hour, as a fraction per 8 hours, shape (h, c)
    defective
        hours that are not to be believed (an outage's flat bars, a bar in quarantine), shape (h, c); all of the hour's
        values of that coin then count as missing
    """

    hours: Hours
    coins: tuple[str, ...]
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    taker_buy_volume: Floats
    open_interest: Floats
    mark: Floats
    index: Floats
    funding_8h: Floats
    defective: Flags

    def rows(self, which: slice) -> HourlyPanel:
        """The same panel for some of its hours."""
        return replace(self, hours=self.hours[which], **self._each(lambda values: values[which]))

    def select(self, coins: tuple[str, ...]) -> HourlyPanel:
        """The same panel for some of its coins, in the order given."""
        places = [self.column(coin) for coin in coins]
        return replace(self, coins=coins, **self._each(lambda values: values[:, places]))

    def column(self, coin: str) -> int:
        """Place of a coin.

        Raises
        ------
        DataError
            if the panel does not hold it.
        """
        if coin not in self.coins:
            held = ", ".join(self.coins[:5]) + (" ..." if len(self.coins) > 5 else "")
            raise DataError(f"coin {coin} is not in the panel ({held}); load its bars too or name another")
        return self.coins.index(coin)

    def _each(self, part: Any) -> dict[str, Any]:
        names = [field.name for field in fields(self) if field.name not in ("hours", "coins")]
        return {name: part(getattr(self, name)) for name in names}


def check_panel(panel: HourlyPanel) -> None:
    """Refuse a panel the factors would silently compute nonsense from.

    Raises
    ------
    DataError
        if a shape or type does not fit, hours are not consecutive, a coin appears twice, or, in an hour that is not
        marked defective, a value is infinite, a price is not positive, a volume is negative, or high < low.
    """
    shape = (len(panel.hours), len(panel.coins))
    for name in (*_SERIES, "defective"):
        values = getattr(panel, name)
        wanted = np.bool_ if name == "defective" else np.float64
        if values.shape != shape or values.dtype != wanted:
            raise DataError(
                f"{name} is {values.dtype} of shape {values.shape}, expected {np.dtype(wanted)} of shape {shape}: one "
                f"row an hour and one column a coin; align it first"
            )
    if len(set(panel.coins)) < len(panel.coins):
        twice = sorted({coin for coin in panel.coins if panel.coins.count(coin) > 1})
        raise DataError(f"coin {twice[0]} appears twice in the panel; each has one column")
    steps = np.diff(panel.hours)
    if len(steps) and (steps != HOUR).any():
        place = int(np.flatnonzero(steps != HOUR)[0])
        raise DataError(
            f"hour {panel.hours[place]} is followed by {panel.hours[place + 1]}, expected one hour later; give missing "
            f"hours as rows of NaN"
        )
    for name in _SERIES:
        values = getattr(panel, name)
        _refuse(panel, name, np.isinf(values), "finite; a missing value is NaN")
        if name in _POSITIVE:
            _refuse(panel, name, values <= 0.0, "positive")
        elif name in _NOT_NEGATIVE:
            _refuse(panel, name, values < 0.0, "not negative")
    _refuse(panel, "high", panel.high < panel.low, "at least the low")


def _refuse(panel: HourlyPanel, name: str, bad: Flags, expected: str) -> None:
    """Raise for the first bad value in an hour that is not marked defective."""
    if not bad.any():
        return
    for hour, coin in np.argwhere(bad & ~panel.defective)[:1]:
        raise DataError(
            f"{name} of {panel.coins[coin]} at {panel.hours[hour]} is {getattr(panel, name)[hour, coin]}, expected "
            f"{expected}; repair it or mark the hour defective"
        )
