"""The exchange as an ASGI application: request in, fault or answer out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from butterquant_assets.market.exchange.answers import OkxError, envelope, refusal_envelope
from butterquant_assets.market.exchange.clock import Clock
from butterquant_assets.market.exchange.faults import SKEW_MS, FaultKind, Faults, refusal, spoil
from butterquant_assets.market.exchange.market_endpoints import MARKET
from butterquant_assets.market.exchange.public_endpoints import PUBLIC
from butterquant_assets.market.exchange.rate_limits import RateLimiter
from butterquant_assets.market.exchange.venue import Venue

PREFIX = "/api/v5/"
ENDPOINTS = {**MARKET, **PUBLIC}
_HTML = "<html><body><h1>Please verify you are human</h1></body></html>"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class ExchangeApp:
    """OKX's v5 REST over a venue.

    Parameters
    ----------
    venue
        the market behind it
    clock
        the exchange's own time, ms since 1970-01-01 UTC
    faults
        what goes wrong; nothing if not given
    limiter
        counts requests; None admits all
    sleep
        used by the timeout fault
    hang_seconds
        how long that lasts
    """

    def __init__(
        self,
        venue: Venue,
        clock: Clock,
        *,
        faults: Faults | None = None,
        limiter: RateLimiter | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        hang_seconds: float = 60.0,
    ) -> None:
        self.venue = venue
        self.clock = clock
        self.faults = faults or Faults()
        self.limiter = limiter
        self._sleep = sleep
        self._hang_seconds = hang_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entrance; lifespan events are acknowledged and mean nothing here."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        client = (scope.get("client") or ("", 0))[0]
        path = scope["path"].removeprefix(PREFIX) if scope["path"].startswith(PREFIX) else ""
        answer, date = await self._answer(client, scope["method"], path, scope["query_string"].decode("latin-1"))
        headers = [("content-type", answer.content_type), ("content-length", str(len(answer.body))), *answer.headers]
        headers.append(("date", formatdate(date / 1000, usegmt=True)))
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, client: str, method: str, path: str, query: str) -> tuple[Answer, int]:
        now = self.clock()
        if path not in ENDPOINTS or method != "GET":
            return _words({"code": "404", "msg": "Not Found", "data": []}, 404), now
        parameters = dict(parse_qsl(query))
        try:
            self._admit(client, path, parameters)
            hit = self.faults.choose(path, query)
            return await self._served(path, parameters, now, hit)
        except OkxError as error:
            return _refused(error), now

    def _admit(self, client: str, path: str, parameters: Mapping[str, str]) -> None:
        limit = ENDPOINTS[path].limit
        if self.limiter is not None:
            self.limiter.admit(client, path, parameters.get(limit.per, "") if limit.per else "", limit)

    async def _served(
        self, path: str, parameters: Mapping[str, str], now: int, hit: tuple[FaultKind, np.random.Generator] | None
    ) -> tuple[Answer, int]:
        kind = hit[0] if hit else None
        if kind is FaultKind.TIMEOUT:
            await self._sleep(self._hang_seconds)
            return _words({"code": "50004", "msg": "API endpoint request timeout", "data": []}, 504), now
        if kind is FaultKind.WRONG_CONTENT_TYPE:
            return Answer(200, _HTML.encode(), "text/html; charset=utf-8"), now
        instead = refusal(kind) if kind else None
        if instead is not None:
            return _refused(instead, retry_after=kind is FaultKind.RETRY_AFTER), now
        told = now + SKEW_MS if kind is FaultKind.CLOCK_SKEW else now
        rows = ENDPOINTS[path].handler(self.venue, parameters, told if path == "public/time" else now)
        answer = _words(envelope(spoil(hit[0], rows, hit[1]) if hit else rows), 200)
        if kind is FaultKind.TRUNCATED:
            answer = Answer(200, answer.body[: max(len(answer.body) // 2, 1)])
        return answer, told


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _words(document: Mapping[str, Any], status: int) -> Answer:
    return Answer(status, json.dumps(document, separators=(",", ":")).encode())


def _refused(error: OkxError, retry_after: bool = False) -> Answer:
    answer = _words(refusal_envelope(error), error.status)
    return Answer(answer.status, answer.body, headers=(("retry-after", "1"),)) if retry_after else answer
