"""From rows as a file holds them to rows a contract accepts, and the reasons of those left out.

Good rows stay, bad rows go to the rejects with a reason, and nothing is ever guessed or filled. A row gets the first
reason that fits, in this order:

================== ====================================================================================
future             the date is after today (`refuse_future`, before anything else is judged)
not_a_session      the date is no session of the exchange (weekend bars, VIX rows on closed days)
missing_price      a price the contract needs is missing or infinite
non_positive_price a price is zero or negative
ohlc_violation     low <= open, close <= high does not hold (beyond float32 rounding). For the VIX, where only
                   the close decides anything, the impossible fields are *blanked* and the close stays
missing_volume     equities only
negative_volume
invalid_dividend   equities only: negative or infinite (missing means none)
invalid_iv         implied volatilities only: missing, infinite or not positive; days missing or below 1
invalid_contract   option chains only: strike or spot not positive, right neither C nor P, expiry missing or past
one_sided_quote    option chains only: bid or ask missing, infinite or zero
crossed_quote      option chains only: the bid exceeds the ask
duplicate          a key given more than once: of identical rows the first stays; of conflicting ones none
absurd_jump        equities only, `suspects.absurd_bars`: needs up to 11 later bars of the ticker
stale              equities only, `suspects.stale_bars`: looks back only
================== ====================================================================================

*Noted*, while the row stays: ``unexplained_jump`` (a move by more than a factor 4 to a level that holds, without a
split: a reused ticker, a missing split, or news) and ``gap`` (more than five sessions missing). A window that crosses
either is not one history of one company.

Cleaning sees the whole dataset and knows nothing of months: a month's rows do not depend on which months are asked.
Apart from `absurd_jump`, and duplicates delivered later, appended data changes no earlier row.

What belongs here: pure functions on raw frames. What does not: reading files, and the rules along a series
(`market/suspects.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.calendar import is_session
from butterquant_assets.foundation.contracts import Contract
from butterquant_assets.market.adjustment import (
    later_factor,
    prices_are_quoted,
    quoted_dividend,
    quoted_price,
    quoted_volume,
    ratio_on_bar,
)
from butterquant_assets.market.schemas import (
    BAR_REJECTS,
    EQUITY_BARS,
    IMPLIED_VOLS,
    INDEX_BARS,
    OPTION_CHAINS,
    PUBLISHED_VOLS,
    VIX,
    brackets,
    empty_rows,
)
from butterquant_assets.market.suspects import (
    GAP_SESSIONS,
    absurd_bars,
    missing_before,
    stale_bars,
    unexplained_jumps,
)

PRICES = ["open", "high", "low", "close"]

_EXPECTED = {
    "future": "dated in the future, expected a day that has begun in New York",
    "not_a_session": "expected a session of the exchange",
    "missing_price": "expected a finite price",
    "non_positive_price": "expected prices above 0",
    "ohlc_violation": "expected low <= open, close <= high",
    "missing_volume": "expected a finite volume",
    "negative_volume": "expected a volume of 0 or more",
    "invalid_dividend": "expected a finite dividend of 0 or more",
    "invalid_iv": "expected iv > 0 and whole days >= 1",
    "invalid_contract": "expected strike and spot above 0, right C or P, and an expiry on or after the session",
    "one_sided_quote": "expected a bid and an ask above 0",
    "crossed_quote": "expected bid <= ask",
    "absurd_jump": "expected a close within a factor 4 of the closes around it, which agree with each other",
    "stale": "expected a new price or some volume after four repetitions",
}

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cleaned:
    """`rows` in the columns and order of the dataset's contract, `rejects` in those of `BAR_REJECTS`."""

    rows: pd.DataFrame
    rejects: pd.DataFrame


class _Sieve:
    """One dataset's rows on their way: what is left, and the notes taken."""

    def __init__(self, dataset: str, raw: pd.DataFrame, keys: list[str], shown: list[str]) -> None:
        self.dataset, self.keys, self.shown = dataset, keys, shown
        self.left = raw.sort_values([*keys, "file", "line"], kind="stable").reset_index(drop=True)
        self.notes: list[pd.DataFrame] = []

    def codes(self) -> npt.NDArray[np.int64]:
        return pd.factorize(self.left["ticker"])[0].astype(np.int64)

    def note(self, bad: npt.ArrayLike, reason: str, action: str, detail: str | pd.Series) -> None:
        rows = self.left[np.asarray(bad, dtype=bool)]
        if rows.empty:
            return
        found = pd.Series("", index=rows.index)
        for name in self.shown:
            found = found + " " + name + "=" + rows[name].map("{:.10g}".format)
        told = detail if isinstance(detail, str) else detail[rows.index]
        place = rows["file"].astype("str") + " " + rows["place"].astype("str") + " " + rows["line"].astype("str")
        taken = {"dataset": self.dataset, "session": rows["session"], "ticker": rows["ticker"], "row": place}
        self.notes.append(pd.DataFrame(taken).assign(reason=reason, action=action, detail=told + "; found" + found))

    def reject(self, bad: npt.ArrayLike, reason: str, detail: str | pd.Series | None = None) -> None:
        flags = np.asarray(bad, dtype=bool)
        self.note(flags, reason, "rejected", _EXPECTED[reason] if detail is None else detail)
        if flags.any():
            self.left = self.left[~flags].reset_index(drop=True)

    def reject_duplicates(self, compared: list[str]) -> None:
        """Of identical rows keep the first; of rows that share a key but not their values keep none."""
        shared = self.left.duplicated(self.keys, keep=False).to_numpy()
        if not shared.any():
            return
        repeated = shared & self.left.duplicated([*self.keys, *compared]).to_numpy()
        distinct = self.left[~repeated].groupby(self.keys)["line"].transform("size").reindex(self.left.index)
        group = self.left.assign(distinct=distinct).groupby(self.keys)["distinct"].transform("max")
        conflicting = shared & (group > 1).to_numpy()
        told = pd.Series("the same row was delivered before; the first stays", index=self.left.index)
        told[conflicting] = "several rows with different values share this key; none can be trusted"
        self.reject(repeated | conflicting, "duplicate", told)

    def done(self, contract: Contract) -> Cleaned:
        kinds = empty_rows(contract).dtypes.to_dict()
        return Cleaned(contract.arrange(self.left).astype(kinds), self.rejects())

    def rejects(self) -> pd.DataFrame:
        """The notes, in the columns and order of `BAR_REJECTS`."""
        found = [note.astype(empty_rows(BAR_REJECTS).dtypes.to_dict()) for note in self.notes]
        return BAR_REJECTS.arrange(pd.concat(found, ignore_index=True) if found else empty_rows(BAR_REJECTS))


def refuse_future(
    dataset: str, raw: pd.DataFrame, today: np.datetime64, shown: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave out rows dated after today. The refusal does not say when it was: a day later it is the same.

    Parameters
    ----------
    dataset
        market dataset the rows are meant for
    raw
        columns session (datetime64[us]), ticker, file, place, line and those shown; shape (n,)
    today
        the date in New York
    shown
        numeric columns to show with a refused row

    Returns
    -------
    the other rows as they are, and the refused ones in the columns of `BAR_REJECTS`
    """
    late = raw["session"].to_numpy() > today
    if not late.any():
        return raw, empty_rows(BAR_REJECTS)
    sieve = _Sieve(dataset, raw[late], ["ticker", "session"], list(shown))
    sieve.reject(np.ones(len(sieve.left), dtype=bool), "future")
    return raw[~late].reset_index(drop=True), sieve.rejects()


def clean_equity_bars(
    raw: pd.DataFrame, splits: pd.DataFrame | None, *, quoted: bool, as_quoted: bool | None = None
) -> Cleaned:
    """Clean daily bars of equities and bring prices back to what was quoted on the day.

    Parameters
    ----------
    raw
        columns session (datetime64[us]), ticker, open, high, low, close, volume, dividend (float64; a missing dividend
        is none), file, place, line (where the row stands); shape (n,)
    splits
        columns session, ticker, split_ratio: every split behind the prices, later ones too. None when none are known:
        prices then stay as delivered.
    quoted
        whether `splits` is a complete table, so that the prices can be called as quoted
    as_quoted
        whether `raw` is as quoted already, where the deliverer says so; None lets the closes on split days decide

    Returns
    -------
    Cleaned, rows in the columns of `EQUITY_BARS`

    Raises
    ------
    SourceError
        if some splits show in the prices and others do not.
    """
    sieve = _Sieve("equity_bars", raw, ["ticker", "session"], [*PRICES, "volume"])
    _reject_impossible_bars(sieve, PRICES)
    volume = sieve.left["volume"].to_numpy()
    sieve.reject(~np.isfinite(volume), "missing_volume")
    sieve.reject(sieve.left["volume"].to_numpy() < 0, "negative_volume")
    dividend = sieve.left["dividend"].to_numpy()
    sieve.reject((dividend < 0) | np.isinf(dividend), "invalid_dividend")
    sieve.reject_duplicates([*PRICES, "volume", "dividend"])

    known = splits if splits is not None else pd.DataFrame({"session": [], "ticker": [], "split_ratio": []})
    as_quoted = prices_are_quoted(sieve.left, known) if as_quoted is None else as_quoted
    sieve.left = sieve.left.assign(factor=later_factor(sieve.left, known))
    sieve.left["level"] = sieve.left["close"] / sieve.left["factor"] if as_quoted else sieve.left["close"]
    _reject_suspects(sieve)

    bars = sieve.left
    factor = np.ones(len(bars)) if as_quoted else bars["factor"].to_numpy()
    changed: dict[str, Any] = {
        "volume": quoted_volume(bars["volume"], factor),
        "split_ratio": ratio_on_bar(bars, known),
        "dividend_usd": quoted_dividend(np.nan_to_num(bars["dividend"].to_numpy(), nan=0.0), factor),
        "quoted": quoted,
    }
    if splits is not None:
        changed |= {name: quoted_price(bars[name], factor) for name in PRICES}
    sieve.left = bars.assign(**changed)
    return sieve.done(EQUITY_BARS)


def clean_index_bars(raw: pd.DataFrame) -> Cleaned:
    """Clean daily bars of indices.

    Parameters
    ----------
    raw
        columns session, ticker, open, high, low, close, volume (may be missing), file, place, line; shape (n,)

    Returns
    -------
    Cleaned, rows in the columns of `INDEX_BARS`
    """
    sieve = _Sieve("index_bars", raw, ["ticker", "session"], PRICES)
    _reject_impossible_bars(sieve, PRICES)
    sieve.reject(np.isinf(sieve.left["volume"].to_numpy()), "missing_volume")
    sieve.reject(sieve.left["volume"].to_numpy() < 0, "negative_volume")
    sieve.reject_duplicates([*PRICES, "volume"])
    return sieve.done(INDEX_BARS)


def clean_vix(raw: pd.DataFrame) -> Cleaned:
    """Clean daily values of the VIX; only the close is needed.

    Parameters
    ----------
    raw
        columns session, ticker, open, high, low, close (open, high, low may be missing), file, place, line

    Returns
    -------
    Cleaned, rows in the columns of `VIX`. Where the close lies within low .. high and the open does not, the open is
    blanked; on any other broken bracket open, high and low are.
    """
    sieve = _Sieve("vix", raw, ["ticker", "session"], PRICES)
    sieve.reject(~is_session(sieve.left["session"].to_numpy()), "not_a_session")
    sieve.reject(~np.isfinite(sieve.left["close"].to_numpy()), "missing_price")
    sieve.reject(sieve.left["close"].to_numpy() <= 0, "non_positive_price")
    sieve.reject_duplicates(PRICES)
    without_open = brackets(sieve.left.assign(open=np.nan))
    broken = ~brackets(sieve.left) | ~_positive_or_missing(sieve.left[PRICES])
    told = pd.Series("open is blanked, the rest stays", index=sieve.left.index)
    told[~without_open] = "open, high and low are blanked, the close stays"
    sieve.note(broken, "ohlc_violation", "blanked", _EXPECTED["ohlc_violation"] + "; " + told)
    sieve.left.loc[broken, "open"] = np.nan
    sieve.left.loc[broken & (~without_open | ~_positive_or_missing(sieve.left[PRICES])), ["high", "low"]] = np.nan
    return sieve.done(VIX)


def clean_implied_vols(raw: pd.DataFrame) -> Cleaned:
    """Clean published implied volatilities.

    Parameters
    ----------
    raw
        columns session, ticker, days (calendar days to expiry, float64), iv (per year), file, place, line

    Returns
    -------
    Cleaned, rows in the columns of `IMPLIED_VOLS`
    """
    sieve = _Sieve("implied_vols", raw, ["ticker", "session", "days"], ["days", "iv"])
    sieve.reject(~is_session(sieve.left["session"].to_numpy()), "not_a_session")
    days, iv = sieve.left["days"].to_numpy(), sieve.left["iv"].to_numpy()
    sieve.reject(~(np.isfinite(iv) & (iv > 0) & np.isfinite(days) & (days >= 1) & (days % 1 == 0)), "invalid_iv")
    sieve.reject_duplicates(["iv"])
    return sieve.done(IMPLIED_VOLS)


PUBLISHED_DAYS = 91
"""Three months in calendar days: the tenor of `clean_published_vols`."""


def clean_published_vols(raw: pd.DataFrame) -> Cleaned:
    """Clean published three-month at-the-money volatilities, the yardstick for proxies.

    Parameters
    ----------
    raw
        columns session, ticker, iv_3m_atm (per year), close_adj (may be missing), file, place, line

    Returns
    -------
    Cleaned, rows in the columns of `PUBLISHED_VOLS`; a close that is not positive and finite is blanked
    """
    named = raw.rename(columns={"iv_3m_atm": "iv", "close_adj": "close"}).assign(days=np.int64(PUBLISHED_DAYS))
    sieve = _Sieve("published_vols", named, ["ticker", "session"], ["iv", "close"])
    sieve.reject(~is_session(sieve.left["session"].to_numpy()), "not_a_session")
    iv = sieve.left["iv"].to_numpy()
    sieve.reject(~(np.isfinite(iv) & (iv > 0)), "invalid_iv")
    sieve.reject_duplicates(["iv", "close"])
    close = sieve.left["close"].to_numpy()
    bad = ~np.isnan(close) & ~(np.isfinite(close) & (close > 0))
    sieve.note(bad, "non_positive_price", "blanked", _EXPECTED["non_positive_price"] + "; close is blanked, iv stays")
    sieve.left["close"] = np.where(bad, np.nan, close)
    return sieve.done(PUBLISHED_VOLS)


def clean_option_chains(raw: pd.DataFrame) -> Cleaned:
    """Clean option quotes; only two-sided ones stay.

    Parameters
    ----------
    raw
        columns session, quoted_at, ticker, expiration (datetime64[us]), right (text), strike, underlying_price, bid,
        ask, file, place, line. A vendor's implied volatilities and greeks are not taken over: they are often 0.

    Returns
    -------
    Cleaned, rows in the columns of `OPTION_CHAINS`
    """
    named = raw.rename(columns={"expiration": "expiry", "underlying_price": "spot"})
    keys = ["ticker", "session", "quoted_at", "expiry", "right", "strike"]
    sieve = _Sieve("option_chains", named, keys, ["strike", "spot", "bid", "ask"])
    sieve.reject(~is_session(sieve.left["session"].to_numpy()), "not_a_session")
    sieve.reject(~_is_contract(sieve.left), "invalid_contract")
    quotes = sieve.left[["bid", "ask"]].to_numpy()
    sieve.reject(~(np.isfinite(quotes) & (quotes > 0)).all(axis=1), "one_sided_quote")
    sieve.reject((sieve.left["bid"] > sieve.left["ask"]).to_numpy(), "crossed_quote")
    sieve.reject_duplicates(["spot", "bid", "ask"])
    return sieve.done(OPTION_CHAINS)


def _is_contract(rows: pd.DataFrame) -> Flags:
    prices = rows[["strike", "spot"]].to_numpy()
    priced = (np.isfinite(prices) & (prices > 0)).all(axis=1)
    alive = (rows["expiry"] >= rows["session"]).to_numpy()  # False where the expiry is missing
    return np.asarray(priced & alive & rows["right"].isin(["C", "P"]).to_numpy(), dtype=bool)


def _reject_impossible_bars(sieve: _Sieve, prices: list[str]) -> None:
    sieve.reject(~is_session(sieve.left["session"].to_numpy()), "not_a_session")
    sieve.reject(~np.isfinite(sieve.left[prices].to_numpy()).all(axis=1), "missing_price")
    sieve.reject((sieve.left[prices].to_numpy() <= 0).any(axis=1), "non_positive_price")
    sieve.reject(~brackets(sieve.left), "ohlc_violation")


def _reject_suspects(sieve: _Sieve) -> None:
    sieve.reject(absurd_bars(sieve.codes(), sieve.left["level"].to_numpy()), "absurd_jump")
    sieve.reject(stale_bars(sieve.codes(), sieve.left[PRICES].to_numpy(), sieve.left["volume"].to_numpy()), "stale")
    codes, level = sieve.codes(), sieve.left["level"].to_numpy()
    jumps = unexplained_jumps(codes, level)
    before = pd.Series(level).shift(1).map("{:.10g}".format).astype("str")
    told = "more than a factor 4 from the close before (" + before + ") without a known split"
    sieve.note(jumps, "unexplained_jump", "noted", told)
    missing = pd.Series(missing_before(codes, sieve.left["session"].to_numpy()))
    sieve.note(missing > GAP_SESSIONS, "gap", "noted", missing.astype("str") + " sessions missing before this bar")


def _positive_or_missing(prices: pd.DataFrame) -> pd.Series:
    values = prices.to_numpy()
    return pd.Series((np.isnan(values) | ((values > 0) & np.isfinite(values))).all(axis=1), index=prices.index)
