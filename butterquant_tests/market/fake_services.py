"""Yahoo's chart service and CBOE's VIX file on loopback, with the truth they tell and the faults they have.

The shapes are those of the services: a chart document with epoch seconds of each session's open, nulls where there is
no bar, float32 noise, prices divided by every later split; a CSV with American dates and six decimals.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd

from butterquant_assets.market.sources.http_client import HttpClient, Patience
from butterquant_tests.market.raw_bars import raw_bars

QUIET = Patience(connect_seconds=2, silence_seconds=0.3, attempts=3, longest_wait_seconds=60)


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self, now: str) -> None:
        self.time = datetime.fromisoformat(now).replace(tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)

    def to(self, now: str) -> None:
        self.time = datetime.fromisoformat(now).replace(tzinfo=UTC)

    def client(self, patience: Patience = QUIET) -> HttpClient:
        return HttpClient(patience, now=self.now, sleep=self.sleep)


def truth(
    ticker: str, count: int, start: str, price: float = 50.0, splits: dict[str, float] | None = None
) -> pd.DataFrame:
    """Bars as quoted: the closes walk in cents and drop on splits; volumes are round lots."""
    bars = raw_bars(count, ticker, start, price)[["session", "ticker", "open", "high", "low", "close", "volume"]]
    for date, ratio in (splits or {}).items():
        later = bars["session"] >= date
        for name in ("open", "high", "low", "close"):
            bars.loc[later, name] = np.round(bars.loc[later, name] / ratio, 2)
    return bars.assign(dividend=0.0)


class Services:
    """Both services; what they hold can be changed at any time, and one-time faults queued."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.bars: dict[str, pd.DataFrame] = {}
        self.splits: dict[str, dict[str, float]] = {}
        self.adjusted_for: dict[str, dict[str, float]] = {}
        self.vix = pd.DataFrame()
        self.faults: list[Callable[[BaseHTTPRequestHandler, bytes], None]] = []
        self.edit: Callable[[dict[str, Any]], None] = lambda result: None
        self.requests: list[str] = []
        self.clock_off = timedelta()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def date(self) -> str:
        return format_datetime(self.clock.now() + self.clock_off, usegmt=True)

    def answer(self, target: str) -> tuple[int, bytes]:
        parts = urlsplit(target)
        if parts.path.endswith("VIX_History.csv"):
            return 200, self._csv()
        symbol = parts.path.rpartition("/")[2]
        if symbol not in self.bars:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return 404, json.dumps({"chart": {"result": None, "error": error}}).encode()
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        result = self._chart(symbol, int(query["period1"]), int(query["period2"]))
        self.edit(result)
        return 200, json.dumps({"chart": {"result": [result], "error": None}}).encode()

    def _csv(self) -> bytes:
        known = self.vix[self.vix["session"] <= pd.Timestamp(self.clock.now().replace(tzinfo=None))]
        lines = [
            f"{row.session:%m/%d/%Y},{row.open:.6f},{row.high:.6f},{row.low:.6f},{row.close:.6f}"
            for row in known.itertuples()
        ]
        return ("\r\n".join(["DATE,OPEN,HIGH,LOW,CLOSE", *lines]) + "\r\n").encode()

    def _chart(self, symbol: str, first: int, last: int) -> dict[str, Any]:
        bars = self.bars[symbol]
        opens = (bars["session"] + pd.Timedelta(hours=9.5)).dt.tz_localize("America/New_York").dt.tz_convert("UTC")
        stamps = opens.map(lambda when: int(when.timestamp()))
        shown = (stamps >= first) & (stamps <= min(last, int(self.clock.now().timestamp())))
        applied = self.adjusted_for.get(symbol, self.splits.get(symbol, {}))
        applied = {day: ratio for day, ratio in applied.items() if pd.Timestamp(day) <= bars["session"][shown].max()}
        factor = np.ones(len(bars))
        for day, ratio in applied.items():
            factor[(bars["session"] < day).to_numpy()] *= ratio
        quote = {
            name: [float(np.float32(v)) for v in (bars[name] / factor)[shown]]
            for name in ("open", "high", "low", "close")
        }
        quote["volume"] = [round(float(v)) for v in (bars["volume"] * factor)[shown]]
        events: dict[str, Any] = {"splits": {}, "dividends": {}}
        for day, ratio in self.splits.get(symbol, {}).items():
            when = int(stamps[bars["session"] == day].iloc[0]) if (bars["session"] == day).any() else 0
            if first <= when <= int(self.clock.now().timestamp()):
                told = {"date": when, "numerator": ratio * 1000, "denominator": 1000.0, "splitRatio": f"{ratio}:1"}
                events["splits"][str(when)] = told
        for row, by in zip(bars[shown].itertuples(), factor[shown.to_numpy()], strict=True):
            if row.dividend:
                when = int(stamps[row.Index])
                events["dividends"][str(when)] = {"amount": round(row.dividend / by, 6), "date": when}
        return {
            "meta": {
                "currency": "USD",
                "symbol": symbol,
                "exchangeName": "NMS",
                "instrumentType": "EQUITY",
                "exchangeTimezoneName": "America/New_York",
                "dataGranularity": "1d",
            },
            "timestamp": [int(v) for v in stamps[shown]],
            "events": {name: found for name, found in events.items() if found},
            "indicators": {"quote": [quote], "adjclose": [{"adjclose": [v * 0.9 for v in quote["close"]]}]},
        }


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    """A fault: this status instead of the answer."""

    def act(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        reply(handler, code, b"Too Many Requests", **{name.replace("_", "-"): text for name, text in headers.items()})

    return act


def truncated(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """A fault: the announced length, half of the body, and the connection is cut."""
    reply(handler, 200, body, cut=len(body) // 2)


def half_document(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """A fault: half of the body, properly framed, as a proxy that gave up might send."""
    reply(handler, 200, body[: len(body) // 2])


def unframed_half(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """A fault: no length is announced and the connection closes early, within a number."""
    handler.send_response_only(200)
    handler.end_headers()
    handler.wfile.write(body[:-4])
    handler.close_connection = True


def silent(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """A fault: no answer within the client's patience."""
    threading.Event().wait(0.6)
    handler.close_connection = True


def reply(handler: BaseHTTPRequestHandler, code: int, body: bytes, cut: int | None = None, **headers: str) -> None:
    handler.send_response_only(code)
    for name, text in headers.items():
        handler.send_header(name, text)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body if cut is None else body[:cut])
    handler.close_connection = handler.close_connection or cut is not None


def _handler(services: Services) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            services.requests.append(self.path)
            code, body = services.answer(self.path)
            if services.faults:
                services.faults.pop(0)(self, body)
            else:
                reply(self, code, body, Date=services.date())

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


def services_of_today(tickers: tuple[str, ...] = ("AAA", "BBB"), count: int = 40) -> Services:
    """Services whose clock is the real one when they start, with the last sessions up to today or later."""
    clock = Clock(datetime.now(UTC).replace(tzinfo=None).isoformat())
    start = str(np.busday_offset(np.datetime64(clock.now().date()), -count, roll="backward"))
    services = Services(clock)
    services.bars = {ticker: truth(ticker, count + 5, start) for ticker in tickers}
    services.vix = truth("VIX", count + 5, start, 15.0)
    return services
