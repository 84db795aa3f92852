"""Daily bars of stocks from Yahoo's chart service (``/v8/finance/chart/SYMBOL``), brought back to what was quoted.

The service divides open, high, low, close and dividends by every split up to now, and multiplies volumes; ``adjclose``,
which it adjusts for dividends too, is not used. An answer tells of the splits of its own span and reaches up to now, so
it can be un-adjusted by itself. Prices as quoted on the day change with no later split: a landed month is rewritten
only when it was truly corrected.

A bar is stamped with the open of its session, the running session's with the time of its last trade; a session without
data is a row of nulls. Of a split of R new shares per old, ``numerator / denominator`` is R.

What belongs here: this service's address and form.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.adjustment import (
    later_factor,
    prices_are_quoted,
    quoted_dividend,
    quoted_price,
    quoted_volume,
)
from butterquant_assets.market.collect import BAR_VALUES, PRICES, SPLIT_VALUES, empty_rows, one_per_session
from butterquant_assets.market.sources.http_client import Answer, HttpClient, IncompleteAnswerError

PATH = "/v8/finance/chart/"
ZONE = "America/New_York"


@dataclass(frozen=True)
class Chart:
    """An answer for one ticker.

    Parameters
    ----------
    bars
        session, ticker, open, high, low, close, volume (NaN where the service has null), dividend; any order
    splits
        session, ticker, split_ratio; one row a session
    received
        when it came, UTC
    """

    bars: pd.DataFrame
    splits: pd.DataFrame
    received: datetime


def fetch_chart(client: HttpClient, base_url: str, ticker: str, first: np.datetime64) -> Chart:
    """Bars from `first` up to now, prices as quoted on the day.

    Raises
    ------
    SourceError
        if the ticker is unknown, or its answer is not what was asked for.
    """
    end = client.now() + timedelta(days=1)
    params = {
        "period1": str(int(first.astype("datetime64[s]").astype(np.int64))),
        "period2": str(int(end.timestamp())),
        "interval": "1d",
        "events": "div,splits",
        "includePrePost": "false",
    }
    url = f"{base_url.rstrip('/')}{PATH}{service_symbol(ticker)}"
    return as_quoted(client.get(url, params, lambda answer: parse_chart(ticker, answer)))


def service_symbol(ticker: str) -> str:
    """The service writes share classes with a hyphen: BRK.B is BRK-B."""
    return ticker.replace(".", "-")


def parse_chart(ticker: str, answer: Answer) -> Chart:
    """Prices and events as the service gives them, that is, split-adjusted.

    Raises
    ------
    IncompleteAnswerError
        if the document is cut off or its columns have different lengths.
    SourceError
        if the ticker is unknown, or the answer is of another ticker, interval, exchange zone or currency.
    """
    result = _result(ticker, answer)
    try:
        _require_meta(ticker, result["meta"])
        stamps = result.get("timestamp") or []
        quote = result["indicators"]["quote"][0]
        columns = {name: _column(quote.get(name) or [], len(stamps), name, ticker) for name in (*PRICES, "volume")}
        events = result.get("events") or {}
        paid = [(e["date"], float(e["amount"])) for e in (events.get("dividends") or {}).values()]
        told = [(e["date"], _ratio(ticker, e)) for e in (events.get("splits") or {}).values()]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(
            f"{ticker}: the answer of {PATH} lacks what a chart has ({type(error).__name__}: {error}): its form "
            "has changed, and this version cannot read it"
        ) from error
    bars = pd.DataFrame({"session": _dates([int(s) for s in stamps]), "ticker": ticker} | columns)
    dividends = _events(ticker, paid, "dividend")
    # A row of nulls says that there is no bar yet; a dividend of such a day comes with the next bar.
    bars = bars[bars[list(PRICES)].notna().any(axis=1)].reset_index(drop=True).astype({"ticker": "str"})
    bars["dividend"] = _paid_on_bar(bars["session"], dividends)
    splits = one_per_session(_events(ticker, told, "split_ratio"), SPLIT_VALUES, "the split")
    return Chart(bars, splits[splits["split_ratio"] != 1.0].reset_index(drop=True), answer.received)


def as_quoted(chart: Chart) -> Chart:
    """The same chart with prices, volumes and dividends as they were on the day.

    Raises
    ------
    SourceError
        if closes jump on a split of the answer: the service has announced it and not adjusted for it yet.
    """
    bars = chart.bars
    if prices_are_quoted(bars, chart.splits):
        raise SourceError(
            f"{bars['ticker'].iloc[0]}: closes jump on the splits the answer tells of, expected them adjusted: the "
            "service is behind. Nothing of the ticker was landed; poll again later"
        )
    factor = later_factor(bars, chart.splits)
    changed: dict[str, Any] = {name: quoted_price(bars[name], factor) for name in PRICES}
    changed |= {"volume": quoted_volume(bars["volume"], factor), "dividend": quoted_dividend(bars["dividend"], factor)}
    return Chart(bars.assign(**changed)[["session", "ticker", *BAR_VALUES]], chart.splits, chart.received)


def _result(ticker: str, answer: Answer) -> dict[str, Any]:
    """The one result of a chart document, or the service's own error."""
    try:
        document = json.loads(answer.body)
    except ValueError as error:
        if answer.status >= 400:
            raise SourceError(f"{ticker}: {PATH} answers {answer.status} without a reason; check the symbol") from error
        raise IncompleteAnswerError(f"{ticker}: the answer is no complete JSON document ({error})") from error
    chart = document.get("chart") if isinstance(document, dict) else None
    problem = (chart or {}).get("error")
    if problem:
        raise SourceError(
            f"{ticker}: the service has no data ({problem.get('code')}: {problem.get('description')}); check the "
            "symbol, or take it from the list"
        )
    found = (chart or {}).get("result") or []
    if answer.status != 200 or len(found) != 1:
        raise SourceError(f"{ticker}: {PATH} answers {answer.status} with {len(found)} results, expected 200 and one")
    result: dict[str, Any] = found[0]
    return result


def _require_meta(ticker: str, meta: dict[str, Any]) -> None:
    wanted = {
        "symbol": service_symbol(ticker),
        "dataGranularity": "1d",
        "exchangeTimezoneName": ZONE,
        "currency": "USD",
    }
    for name, expected in wanted.items():
        if meta.get(name) != expected:
            raise SourceError(
                f"{ticker}: {name} is {meta.get(name)!r}, expected {expected!r}: this is no daily chart of a US "
                "stock; check the symbol"
            )


def _column(values: list[Any], length: int, name: str, ticker: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if len(values) != length:
        raise IncompleteAnswerError(f"{ticker}: {name} has {len(values)} values for {length} times")
    return np.array([np.nan if value is None else float(value) for value in values], dtype=float)


def _ratio(ticker: str, event: dict[str, Any]) -> float:
    top, bottom = float(event["numerator"]), float(event["denominator"])
    if not (top > 0 and bottom > 0 and np.isfinite(top / bottom)):
        raise SourceError(
            f"{ticker}: a split of {top:g} for {bottom:g}, expected new for old shares, both above 0; poll again later"
        )
    return top / bottom


def _dates(stamps: list[int]) -> pd.Series:
    """Dates at the exchange of instants in seconds."""
    times = pd.Series(pd.to_datetime(np.array(stamps, dtype="int64"), unit="s", utc=True))
    return times.dt.tz_convert(ZONE).dt.tz_localize(None).dt.normalize().astype("datetime64[us]")


def _events(ticker: str, found: list[tuple[Any, float]], name: str) -> pd.DataFrame:
    if not found:
        return empty_rows((name,))
    frame = pd.DataFrame({"session": _dates([int(when) for when, _ in found]), "ticker": ticker})
    return frame.assign(**{name: [value for _, value in found]}).astype({"ticker": "str"})


def _paid_on_bar(session: pd.Series, dividends: pd.DataFrame) -> pd.Series:
    """Dividend of each bar, 0.0 where none; every bar of a repeated session gets the same."""
    days = np.unique(session.to_numpy())
    paid = pd.Series(0.0, index=pd.DatetimeIndex(days))
    for when, amount in zip(dividends["session"].to_numpy(), dividends["dividend"].to_numpy(), strict=True):
        place = int(np.searchsorted(days, when))
        if place < len(days):
            paid.iloc[place] += amount
    return session.map(paid).astype("float64")
