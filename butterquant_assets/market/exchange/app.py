"""The exchange as an ASGI application: request in, fault or answer out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import numpy as np

from butterquant_assets.market.exchange.answers import OkxError, envelope, refusal_envelope
from butterquant_assets.market.exchange.clock import Clock
from butterquant_assets.market.exchange.faults import SKEW_MS, FaultKind, Faults, refusal, spoil
from butterquant_assets.market.exchange.market_endpoints import MARKET
from butterquant_assets.market.exchange.public_endpoints import PUBLIC
from butterquant_assets.market.exchange.rate_limits import RateLimiter
from butterquant_assets.market.exchange.trading.credentials import SignedRequest
from butterquant_assets.market.exchange.trading.order_endpoints import Outcome
from butterquant_assets.market.exchange.trading.routes import PRIVATE, Trading, parameters_of
from butterquant_assets.market.exchange.venue import Venue

PREFIX = "/api/v5/"
ENDPOINTS = {**MARKET, **PUBLIC}
CARRIED_OUT = 0.5
"""Share of the orders and changes hit by a timeout that are carried out all the same."""

_LARGEST = 65_536
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
    trading
        an account and the key to it; without one there are no private endpoints
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
        trading: Trading | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        hang_seconds: float = 60.0,
    ) -> None:
        self.venue = venue
        self.clock = clock
        self.faults = faults or Faults()
        self.limiter = limiter
        self.trading = trading
        self._sleep = sleep
        self._hang_seconds = hang_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entrance; lifespan events are acknowledged and mean nothing here."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        answer, date = await self._answer(await _request(scope, receive))
        headers = [("content-type", answer.content_type), ("content-length", str(len(answer.body))), *answer.headers]
        headers.append(("date", formatdate(date / 1000, usegmt=True)))
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, request: SignedRequest) -> tuple[Answer, int]:
        now = self.clock()
        place, _, query = request.target.partition("?")
        path = place.removeprefix(PREFIX) if place.startswith(PREFIX) else ""
        private = self.trading is not None and (request.method, path) in PRIVATE
        if not private and (request.method != "GET" or path not in ENDPOINTS):
            return _words({"code": "404", "msg": "Not Found", "data": []}, 404), now
        try:
            self._admit(request, path, private=private)
            hit = self.faults.choose(path, query or request.body.decode(errors="replace"))
            return await self._served(request, path, now, hit)
        except OkxError as error:
            return _refused(error), now

    def _admit(self, request: SignedRequest, path: str, *, private: bool) -> None:
        if self.limiter is None:
            return
        limit = PRIVATE[request.method, path].limit if private else ENDPOINTS[path].limit
        parameters = parameters_of(request) if limit.per else {}
        value = str(parameters.get(limit.per, "")) if isinstance(parameters, dict) else ""
        self.limiter.admit(request.address, f"{request.method} {path}", value, limit)

    async def _served(
        self, request: SignedRequest, path: str, now: int, hit: tuple[FaultKind, np.random.Generator] | None
    ) -> tuple[Answer, int]:
        kind = hit[0] if hit else None
        if hit and kind is FaultKind.TIMEOUT:
            if request.method == "POST" and hit[1].random() < CARRIED_OUT:
                self._unheard(request, path, now)
            await self._sleep(self._hang_seconds)
            return _words({"code": "50004", "msg": "API endpoint request timeout", "data": []}, 504), now
        if kind is FaultKind.WRONG_CONTENT_TYPE:
            return Answer(200, _HTML.encode(), "text/html; charset=utf-8"), now
        instead = refusal(kind) if kind else None
        if instead is not None:
            return _refused(instead, retry_after=kind is FaultKind.RETRY_AFTER), now
        told = now + SKEW_MS if kind is FaultKind.CLOCK_SKEW else now
        found = self._handled(request, path, now, told)
        rows = spoil(hit[0], found.rows, hit[1]) if hit else found.rows
        answer = _words({**envelope(rows), "code": found.code, "msg": found.message}, 200)
        if kind is FaultKind.TRUNCATED:
            answer = Answer(200, answer.body[: max(len(answer.body) // 2, 1)])
        return answer, told

    def _handled(self, request: SignedRequest, path: str, now: int, told: int) -> Outcome:
        if self.trading is not None and (request.method, path) in PRIVATE:
            return self.trading.answer(request, path, now, told)
        rows = ENDPOINTS[path].handler(self.venue, parameters_of(request), told if path == "public/time" else now)
        return Outcome(rows)

    def _unheard(self, request: SignedRequest, path: str, now: int) -> None:
        """Carry out a request whose answer, a refusal too, will not arrive."""
        with suppress(OkxError):
            self._handled(request, path, now, now)


async def _request(scope: Scope, receive: Receive) -> SignedRequest:
    body = b""
    more = scope["method"] == "POST"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and len(body) <= _LARGEST
    query = scope["query_string"].decode("latin-1")
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    target = scope["path"] + (f"?{query}" if query else "")
    return SignedRequest(scope["method"], target, body[:_LARGEST], headers, (scope.get("client") or ("", 0))[0])


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
