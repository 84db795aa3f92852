"""Published implied volatilities by tenor: interpolation and history.

What belongs here: looking values up. Tenors are interpolated linearly in total variance iv^2 x days, the quantity
that adds up over time; outside the published tenors, and on sessions without any, the value is missing (NaN).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.butterfly.iv_proxy import PERCENTILE_SESSIONS
from butterquant_assets.foundation.calendar import session_number, sessions
from butterquant_assets.foundation.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DAY_BASE = 1_000_000
_TENOR_BASE = 10_000


@dataclass(frozen=True)
class IvTable:
    """Published values ordered by ticker, session and tenor.

    Attributes
    ----------
    tickers
        position of each ticker
    keys
        (ticker position x 1,000,000 + days since 1970) x 10,000 + tenor, ascending, shape (m,)
    iv
        per year as a fraction, shape (m,)
    """

    tickers: dict[str, int]
    keys: Ints
    iv: Floats

    def at(self, tickers: npt.ArrayLike, dates: npt.ArrayLike, days: npt.ArrayLike) -> Floats:
        """Volatility at a tenor.

        Parameters
        ----------
        tickers, dates, days
            ticker, session and calendar days to expiry of each row, shape (n,)

        Returns
        -------
        float64 array, shape (n,), per year as a fraction; NaN where the session has no tenor on one of the sides
        """
        names = np.asarray(tickers, dtype=object)
        code = np.fromiter((self.tickers.get(str(name), -1) for name in names), dtype=np.int64, count=len(names))
        day = np.asarray(dates, dtype="datetime64[D]").astype(np.int64)
        group = code * _DAY_BASE + day
        tenor = np.asarray(days, dtype=np.int64)
        if not self.keys.size:
            return np.full(group.shape, np.nan)
        right = np.searchsorted(self.keys, group * _TENOR_BASE + tenor)
        above = np.minimum(right, self.keys.size - 1)
        above_ok = (right < self.keys.size) & (self.keys[above] // _TENOR_BASE == group) & (code >= 0)
        exact = above_ok & (self.keys[above] % _TENOR_BASE == tenor)
        below = np.maximum(right - 1, 0)
        below_ok = (right > 0) & (self.keys[below] // _TENOR_BASE == group)
        between = self._between(below, above, tenor)
        return np.where(exact, self.iv[above], np.where(above_ok & below_ok, between, np.nan))

    def history(self, tickers: npt.ArrayLike, dates: npt.ArrayLike, days: npt.ArrayLike) -> Floats:
        """The same tenor on the previous 252 exchange sessions, oldest first, NaN where missing; shape (n, 252)."""
        count = PERCENTILE_SESSIONS
        number = session_number(dates)[:, None] + np.arange(-count, 0, dtype=np.int64)
        names = np.repeat(np.asarray(tickers, dtype=object), count)
        tenors = np.repeat(np.asarray(days, dtype=np.int64), count)
        return self.at(names, sessions()[number.ravel()], tenors).reshape(-1, count)

    def _between(self, below: Ints, above: Ints, tenor: Ints) -> Floats:
        near, far = self.keys[below] % _TENOR_BASE, self.keys[above] % _TENOR_BASE
        weight = (tenor - near) / np.where(far == near, 1, far - near)
        variance = (1.0 - weight) * self.iv[below] ** 2 * near + weight * self.iv[above] ** 2 * far
        # Rows that are no neighbours of one session extrapolate here, perhaps below 0; the caller masks them.
        return np.asarray(np.sqrt(np.maximum(variance, 0.0) / np.maximum(tenor, 1)))


def iv_table(implied_vols: pd.DataFrame) -> IvTable:
    """Index published volatilities.

    Parameters
    ----------
    implied_vols
        columns session, ticker, days (calendar days to expiry, 1 .. 9,999), iv (per year); may be empty; rows with a
        missing iv count as not published

    Raises
    ------
    DataError
        if an iv is not positive and finite, a tenor lies outside 1 .. 9,999, or a (session, ticker, days) occurs twice.
    """
    known = implied_vols[implied_vols["iv"].notna()]
    names = sorted(str(name) for name in known["ticker"].unique())
    tickers = {name: code for code, name in enumerate(names)}
    day = known["session"].to_numpy().astype("datetime64[D]").astype(np.int64)
    tenor = known["days"].to_numpy(dtype=np.int64)
    iv = known["iv"].to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(iv) & (iv > 0.0)) | (tenor < 1) | (tenor >= _TENOR_BASE)
    if bad.any():
        row = known.iloc[int(np.flatnonzero(bad)[0])]
        raise DataError(
            f"{row['ticker']} has implied volatility {row['iv']} for {row['days']} days on {row['session']:%Y-%m-%d}; "
            f"expected a positive finite value for 1 to {_TENOR_BASE - 1} days"
        )
    keys = (known["ticker"].map(tickers).to_numpy(dtype=np.int64) * _DAY_BASE + day) * _TENOR_BASE + tenor
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if twice.size:
        row = known.iloc[int(order[twice[0]])]
        raise DataError(
            f"{row['ticker']} has two implied volatilities for {row['days']} days on {row['session']:%Y-%m-%d}; "
            "keep one"
        )
    return IvTable(tickers, keys, iv[order])
