"""The VIX as CBOE publishes it: one CSV with the whole history since 1990, replaced after each session.

``DATE,OPEN,HIGH,LOW,CLOSE``, dates as ``01/31/2024``, ascending; it holds rows on days the stock exchange was closed,
which `market/cleaning.py` refuses one by one.

What belongs here: this file's address and form.
"""

from __future__ import annotations

import io

import pandas as pd

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collect import VIX_VALUES
from butterquant_assets.market.sources.http_client import Answer, HttpClient, IncompleteAnswerError

PATH = "/api/global/us_indices/daily_prices/VIX_History.csv"
HEADER = "DATE,OPEN,HIGH,LOW,CLOSE"
TICKER = "VIX"


def fetch_vix(client: HttpClient, base_url: str) -> pd.DataFrame:
    """The whole history, as `parse_history` returns it.

    Raises
    ------
    SourceError
        when the service does not deliver it.
    """
    return client.get(base_url.rstrip("/") + PATH, {}, parse_history)


def parse_history(answer: Answer) -> pd.DataFrame:
    """Rows of the file.

    Returns
    -------
    frame with session (datetime64[us]), ticker (``VIX``), open, high, low, close (volatility points per year; NaN where
    a field is empty); rows in the file's order

    Raises
    ------
    IncompleteAnswerError
        if the file is cut off or a line is damaged.
    SourceError
        if it is another kind of document.
    """
    if answer.status != 200:
        raise SourceError(f"{PATH} answers {answer.status}, expected the VIX history: its address may have changed")
    text = answer.body.decode("utf-8-sig", errors="replace")
    lines = text.splitlines()
    if not lines or lines[0].strip().upper().replace(" ", "") != HEADER:
        if HEADER.startswith(text.strip().upper()):
            raise IncompleteAnswerError(f"the VIX history ends within its header ({text[:40]!r})")
        raise SourceError(f"the VIX history begins with {text[:60]!r}, expected {HEADER}: its form has changed")
    if not answer.framed and not text.endswith("\n"):
        raise IncompleteAnswerError("the VIX history ends within a line")
    wrong = next((n for n, line in enumerate(lines, 1) if line.strip() and line.count(",") != 4), None)
    if wrong is not None:
        raise IncompleteAnswerError(f"line {wrong} of the VIX history is {lines[wrong - 1][:60]!r}, expected 5 fields")
    raw = pd.read_csv(io.StringIO(text), dtype="str", names=["session", *VIX_VALUES], header=0, skip_blank_lines=True)
    return _typed(raw)


def _typed(raw: pd.DataFrame) -> pd.DataFrame:
    dates = pd.to_datetime(raw["session"].str.strip(), format="%m/%d/%Y", errors="coerce")
    columns = {name: pd.to_numeric(raw[name], errors="coerce").astype("float64") for name in VIX_VALUES}
    frame = pd.DataFrame({"session": dates.astype("datetime64[us]"), "ticker": TICKER} | columns)
    unreadable = dates.isna()
    for name in VIX_VALUES:
        unreadable |= columns[name].isna() & raw[name].notna()
    if unreadable.any():
        row = raw[unreadable].iloc[0]
        raise IncompleteAnswerError(
            f"the VIX history holds {','.join(map(str, row))!r}, expected a date as 01/31/2024 and four numbers"
        )
    if frame.empty:
        raise IncompleteAnswerError("the VIX history has no rows")
    return frame.astype({"ticker": "str"})
