"""Contracts of the market tables: what every source must deliver, whatever it read.

What belongs here: columns, units, ranges and row rules of raw market data. What does not: how a source gets there
(`market/sources/`) and which rows are thrown out on the way (`market/cleaning.py`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.foundation.calendar import is_session
from butterquant_assets.foundation.contracts import Contract, Rule

BRACKET_TOLERANCE = 1e-6
"""Relative slack of the bracket rule: files mix float32 and float64 columns, whose rounding differs by up to 6e-8."""

ACTIONS = ("rejected", "blanked", "noted")

_TIMESTAMP = "datetime64[us]"


def brackets(bars: pd.DataFrame) -> pd.Series:
    """Which bars have low <= open, close <= high within `BRACKET_TOLERANCE`.

    Parameters
    ----------
    bars
        columns open, high, low, close in one currency, shape (n,); missing values bound nothing

    Returns
    -------
    bool Series aligned with `bars`
    """
    opened, high, low, close = (bars[name].to_numpy(dtype=float) for name in ("open", "high", "low", "close"))
    slack = BRACKET_TOLERANCE * np.abs(close)
    top, bottom = np.fmax(opened, close), np.fmin(opened, close)
    broken = (top > high + slack) | (bottom < low - slack) | (low > high + slack)
    return pd.Series(~broken, index=bars.index)


def _on_sessions(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(is_session(frame["session"].to_numpy()), index=frame.index)


def _dates_only(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(frame["session"] == frame["session"].dt.normalize(), index=frame.index)


_BRACKET = Rule("ohlc_bracket", "low <= open, close <= high (relative tolerance 1e-6, float32 files)", brackets)
_SESSIONS = Rule("exchange_sessions", "every session is a session of the exchange calendar (XNYS)", _on_sessions)
_DATES = Rule("dates_only", "session is midnight: a date label", _dates_only)


def _session(description: str = "exchange session (date label)") -> pa.Column:
    return pa.Column(_TIMESTAMP, description=description)


def _ticker() -> pa.Column:
    return pa.Column("str", pa.Check.str_length(min_value=1), description="ticker symbol as the source names it")


def _price(description: str, unit: str = "USD", *, nullable: bool = False) -> pa.Column:
    checks = [pa.Check.gt(0), pa.Check.lt(float("inf"))]
    return pa.Column("float64", checks, nullable=nullable, description=description, metadata={"unit": unit})


EQUITY_BARS = Contract(
    table="market/equity_bars",
    schema=pa.DataFrameSchema(
        {
            "session": _session(),
            "ticker": _ticker(),
            "open": _price("first trade, as quoted on the day"),
            "high": _price("highest trade, as quoted on the day"),
            "low": _price("lowest trade, as quoted on the day"),
            "close": _price("official close, as quoted on the day"),
            "volume": pa.Column(
                "float64",
                [pa.Check.ge(0), pa.Check.lt(float("inf"))],
                description="shares traded, in the shares of that day",
                metadata={"unit": "shares"},
            ),
            "split_ratio": pa.Column(
                "float64",
                [pa.Check.gt(0), pa.Check.lt(float("inf"))],
                description="new shares per old share effective on this session; 1.0 when none",
                metadata={"unit": "ratio"},
            ),
            "dividend_usd": pa.Column(
                "float64",
                [pa.Check.ge(0), pa.Check.lt(float("inf"))],
                description="cash dividend per share of that day with its ex-date on this session; 0.0 when none",
                metadata={"unit": "USD"},
            ),
            "quoted": pa.Column(
                "bool",
                description="True: prices are known to be as quoted; False: delivered without a split table, so a "
                "split adjustment the vendor may have applied could not be undone",
            ),
        },
        strict=True,
        ordered=True,
    ),
    keys=("session", "ticker"),
    rules=(_BRACKET, _SESSIONS),
)

INDEX_BARS = Contract(
    table="market/index_bars",
    schema=pa.DataFrameSchema(
        {
            "session": _session(),
            "ticker": _ticker(),
            "open": _price("first value", "index points"),
            "high": _price("highest value", "index points"),
            "low": _price("lowest value", "index points"),
            "close": _price("last value", "index points"),
            "volume": pa.Column(
                "float64",
                [pa.Check.ge(0), pa.Check.lt(float("inf"))],
                nullable=True,
                description="shares traded in the members; missing where the source has none",
                metadata={"unit": "shares"},
            ),
        },
        strict=True,
        ordered=True,
    ),
    keys=("session", "ticker"),
    rules=(_BRACKET, _SESSIONS),
)

_VIX_UNIT = "volatility points per year"

VIX = Contract(
    table="market/vix",
    schema=pa.DataFrameSchema(
        {
            "session": _session(),
            "open": _price(
                "first value; missing where the source has none or it is impossible", _VIX_UNIT, nullable=True
            ),
            "high": _price("highest value; missing likewise", _VIX_UNIT, nullable=True),
            "low": _price("lowest value; missing likewise", _VIX_UNIT, nullable=True),
            "close": _price("last value, the one that decides the stratum", _VIX_UNIT),
        },
        strict=True,
        ordered=True,
    ),
    keys=("session",),
    rules=(_BRACKET, _SESSIONS),
)

IMPLIED_VOLS = Contract(
    table="market/implied_vols",
    schema=pa.DataFrameSchema(
        {
            "session": _session(),
            "ticker": _ticker(),
            "days": pa.Column(
                "int64",
                pa.Check.gt(0),
                description="calendar days from the session to expiry",
                metadata={"unit": "calendar days"},
            ),
            "iv": pa.Column(
                "float64",
                [pa.Check.gt(0), pa.Check.lt(float("inf"))],
                description="published at-the-money implied volatility, Actual/365",
                metadata={"unit": "per year"},
            ),
        },
        strict=True,
        ordered=True,
    ),
    keys=("session", "ticker", "days"),
    rules=(_SESSIONS,),
)

PUBLISHED_VOLS = Contract(
    table="market/published_vols",
    schema=pa.DataFrameSchema(
        {
            "session": _session(),
            "ticker": _ticker(),
            "days": pa.Column(
                "int64",
                pa.Check.gt(0),
                description="calendar days of the tenor",
                metadata={"unit": "calendar days"},
            ),
            "iv": pa.Column(
                "float64",
                [pa.Check.gt(0), pa.Check.lt(float("inf"))],
                description="published at-the-money implied volatility: the yardstick for proxies, not an input",
                metadata={"unit": "per year"},
            ),
            "close": _price(
                "the publisher's own close, adjusted for splits and dividends; may be missing", nullable=True
            ),
        },
        strict=True,
        ordered=True,
    ),
    keys=("session", "ticker", "days"),
    time=None,
    rules=(_SESSIONS,),
)


def _two_sided(frame: pd.DataFrame) -> pd.Series:
    return pd.Series((frame["bid"] > 0.0) & (frame["ask"] >= frame["bid"]), index=frame.index)


def _not_expired(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(frame["expiry"] >= frame["session"], index=frame.index)


OPTION_CHAINS = Contract(
    table="market/option_chains",
    schema=pa.DataFrameSchema(
        {
            "session": _session("exchange session of the quotes (date label)"),
            "ticker": _ticker(),
            "quoted_at": pa.Column(_TIMESTAMP, description="when the quotes were taken, UTC; midnight: end of day"),
            "expiry": pa.Column(_TIMESTAMP, description="expiry (date label), as the source names it"),
            "right": pa.Column("str", pa.Check.isin(["C", "P"]), description="C: call, P: put"),
            "strike": _price("strike"),
            "spot": _price("price of the underlying at the quote"),
            "bid": _price("best bid"),
            "ask": _price("best ask"),
        },
        strict=True,
        ordered=True,
    ),
    keys=("session", "ticker", "quoted_at", "expiry", "right", "strike"),
    time=None,
    rules=(
        _SESSIONS,
        Rule("two_sided", "0 < bid <= ask", _two_sided),
        Rule("not_expired", "expiry is on or after the session", _not_expired),
    ),
)

BAR_REJECTS = Contract(
    table="market/bar_rejects",
    schema=pa.DataFrameSchema(
        {
            "dataset": pa.Column("str", description="market dataset the row was meant for"),
            "session": _session("date the row carries; need not be an exchange session"),
            "ticker": pa.Column("str", description="ticker the row carries"),
            "row": pa.Column("str", description="file and row (Parquet) or line (CSV), counted from 1, as read"),
            "reason": pa.Column("str", description="which rule the row breaks"),
            "action": pa.Column(
                "str",
                pa.Check.isin(ACTIONS),
                description="rejected: the row is left out; blanked: its impossible fields were set to missing; "
                "noted: the row stays and a reader should know",
            ),
            "detail": pa.Column("str", description="what was found and what was expected"),
        },
        strict=True,
        ordered=True,
    ),
    keys=("session", "ticker", "dataset", "row", "reason"),
    rules=(_DATES,),
)

CONTRACTS = {
    "equity_bars": EQUITY_BARS,
    "index_bars": INDEX_BARS,
    "vix": VIX,
    "implied_vols": IMPLIED_VOLS,
    "published_vols": PUBLISHED_VOLS,
    "option_chains": OPTION_CHAINS,
}
"""Contract of each dataset a source delivers."""


def empty_rows(contract: Contract) -> pd.DataFrame:
    """A frame without rows in the stored types of `contract` (session datetime64[us], text `str`)."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in contract.stored_types().items()})
