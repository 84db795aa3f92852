"""The exchange through ccxt: one request until it has a usable answer, within the limits.

ccxt supplies addresses, session and transport. Its limiter is off, because ours knows every endpoint's true limit; its
unified methods are not used, because they lose what is needed here (the flag of the open bar, cut-off bodies, pages).

What belongs here: sending and sending again. What does not: what an answer means (`answers.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.collector.answers import (
    AccessError,
    Heard,
    LeftAloneError,
    Passing,
    UnansweredError,
    UnknownSymbolError,
    judge,
)
from butterquant_assets.market.collector.breaker import Breaker
from butterquant_assets.market.collector.limiter import Limiter
from butterquant_assets.market.collector.tables import DamagedAnswerError
from butterquant_assets.market.crypto_config import CryptoConfig

T = TypeVar("T")

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
LONGEST_HOLD_SECONDS = 120.0
"""When the exchange asks to be left alone for longer, it is: until the next collection."""

UNANSWERED_IN_A_ROW = 3
"""So many questions' worth of requests in vain, with no answer between them, and their endpoint is left alone."""

CLOCK_TRIES = 6
CLOCK_SLACK_MS = 5_000

_HEARD: ContextVar[list[Heard]] = ContextVar("heard")


class ExchangeClient:
    """Asks the exchange.

    Parameters
    ----------
    config
        address, attempts, time-out and concurrency
    limiter
        shared by everything that asks this exchange from this address
    sleep, now
        pause and stopwatch in seconds; tests pass their own
    seed
        of the jitter
    """

    def __init__(
        self,
        config: CryptoConfig,
        limiter: Limiter | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
        seed: int = 7,
    ) -> None:
        self.limiter = limiter or Limiter(now=now, sleep=sleep)
        self._config = config
        self._sleep, self._now = sleep, now
        self._random = np.random.default_rng(seed)
        self._gate = asyncio.Semaphore(config.concurrency)
        self._ccxt = _ccxt_client(config)
        self._refusal: AccessError | None = None
        self._breaker = Breaker(UNANSWERED_IN_A_ROW * config.attempts, now)
        self.retried = 0
        """Requests that had to be sent again."""

    async def close(self) -> None:
        """Close the connections."""
        await self._ccxt.close()

    async def ask(self, path: str, query: Mapping[str, str], read: Callable[[list[Any]], T]) -> T:
        """What an endpoint says, read.

        Parameters
        ----------
        path
            after ``/api/v5/``, for instance ``market/candles``
        query
            parameters
        read
            of the rows; a `DamagedAnswerError` of it makes the client ask again

        Raises
        ------
        AccessError
            for a region block, a refused key, or an exchange that asks to be left alone for long; and from then on for
            every question, without asking it.
        UnknownSymbolError
            for an instrument the exchange does not have.
        UnansweredError
            if no attempt got a usable answer, or the endpoint is left alone because it gave none for long.
        """
        asked = query.get("instId") or query.get("instFamily") or path
        problem = ""
        for attempt in range(self._config.attempts):
            self._breaker.check(path)
            if attempt:
                self.retried += 1
            heard = await self._once(path, query)
            try:
                found = judge(heard, path, asked) if isinstance(heard, Heard) else heard
                if isinstance(found, Passing) and found.limited and found.wait_seconds > LONGEST_HOLD_SECONDS:
                    raise LeftAloneError(
                        f"{path}: the exchange asks to be left alone for {found.wait_seconds:.0f} s ({found.why}), "
                        f"expected at most {LONGEST_HOLD_SECONDS:.0f}: nothing more is asked; collect again after that"
                    )
            except AccessError as error:
                self._refusal = error
                raise
            except UnknownSymbolError:
                self._breaker.answered(path)
                raise
            except SourceError as error:
                self._breaker.failed(path, str(error))
                raise
            if not isinstance(found, Passing):
                try:
                    rows = read(found)
                except DamagedAnswerError as error:
                    found = Passing(str(error))
                else:
                    self._breaker.answered(path)
                    return rows
            problem = found.why
            self._breaker.failed(path, problem)
            wait = max(found.wait_seconds, self._backoff(attempt))
            if found.wait_seconds > LONGEST_HOLD_SECONDS:
                raise UnansweredError(
                    f"{path} for {asked}: the exchange asks to be left alone for {found.wait_seconds:.0f} s, expected "
                    f"at most {LONGEST_HOLD_SECONDS:.0f}: collect again later"
                )
            if found.limited:
                self.limiter.hold(path, query, wait)
            elif attempt + 1 < self._config.attempts:
                await self._sleep(wait)
        raise UnansweredError(
            f"{path} for {asked} got no usable answer at {self._config.attempts} attempts, the last: {problem}; "
            "collect again later"
        )

    async def agreed(self, path: str, query: Mapping[str, str]) -> list[Any]:
        """Rows of an endpoint that is asked seldom, once two answers in a row are the same but for their order.

        Raises
        ------
        UnansweredError
            if the answers keep differing; else as `ask`.
        """
        before: list[str] | None = None
        for _ in range(self._config.attempts + 1):
            found = await self.ask(path, query, _as_told)
            told = sorted({repr(row) for row in found})
            if told and told == before:
                return list({repr(row): row for row in found}.values())
            before = told
        raise UnansweredError(
            f"{path}: {self._config.attempts + 1} answers in a row differ or are empty, expected the same twice: "
            "collect again later"
        )

    async def time(self) -> int:
        """The exchange's clock, ms since 1970-01-01 UTC, once two answers in a row fit together.

        Raises
        ------
        UnansweredError
            if its clock keeps jumping; else as `ask`.
        """
        told, at = 0, 0.0
        for _ in range(CLOCK_TRIES):
            rows = await self.ask("public/time", {}, _as_told)
            now = self._now()
            value = int(rows[0]["ts"]) if rows and isinstance(rows[0], dict) else 0
            if value and told and -CLOCK_SLACK_MS <= value - told <= (now - at) * 1000 + CLOCK_SLACK_MS:
                return min(value, told)
            told, at = value, now
        raise UnansweredError(
            f"public/time: the exchange's clock jumps (last answer {told}), expected two answers that fit together: "
            "what has closed cannot be judged; collect again later"
        )

    async def _once(self, path: str, query: Mapping[str, str]) -> Heard | Passing:
        ticket = await self.limiter.turn(path, query)
        try:
            while True:
                async with self._gate:
                    if self._refusal is not None:
                        raise self._refusal
                    self._breaker.check(path)
                    # While it waited here, an answer may have asked for silence, which counts for it too.
                    if (silence := self.limiter.held(path, query)) <= 0:
                        self.limiter.leaving(ticket)
                        return await self._send(path, query)
                await self._sleep(silence)
        finally:
            self.limiter.over(ticket)

    async def _send(self, path: str, query: Mapping[str, str]) -> Heard | Passing:
        import ccxt

        heard: list[Heard] = []
        token = _HEARD.set(heard)
        try:
            await self._ccxt.request(path, ["public"], "GET", dict(query))
        except ccxt.BaseError as error:
            # Where an answer came, it is judged by itself; ccxt's own opinion counts only where none did.
            if not heard:
                return Passing(_unheard(error))
        finally:
            _HEARD.reset(token)
        return heard[-1] if heard else Passing("no answer came")

    def _backoff(self, attempt: int) -> float:
        jitter = 0.5 + float(self._random.random())
        return min(FIRST_WAIT_SECONDS * 2.0**attempt, LONGEST_WAIT_SECONDS) * jitter


def _as_told(rows: list[Any]) -> list[Any]:
    return rows


def _unheard(error: Exception) -> str:
    import ccxt

    if isinstance(error, ccxt.RequestTimeout):
        return "no answer in time"
    if isinstance(error, ccxt.ExchangeNotAvailable):
        return "the connection failed or broke off"
    return f"the request failed ({type(error).__name__})"


def _ccxt_client(config: CryptoConfig) -> Any:
    import ccxt.async_support

    class Okx(ccxt.async_support.okx):  # type: ignore[misc]
        """ccxt's client, which besides notes every answer for the task that asked."""

        def on_rest_response(self, code: int, reason: str, url: str, method: str, headers: Any, *rest: Any) -> Any:
            _HEARD.get().append(Heard(int(code), dict(headers), None))
            return super().on_rest_response(code, reason, url, method, headers, *rest)

        def parse_json(self, body: Any) -> Any:
            document = super().parse_json(body)
            noted = _HEARD.get()
            noted[-1] = Heard(noted[-1].status, noted[-1].headers, document)
            return document

    options: dict[str, Any] = {"enableRateLimit": False, "timeout": round(config.timeout_seconds * 1000)}
    if config.exchange_url and config.exchange_url.startswith("http://"):
        options["timeout_on_exit"] = 0  # the pause is for encrypted connections, which end with a handshake
    if config.exchange_url:
        options["urls"] = {"api": {"rest": config.exchange_url.rstrip("/")}}
    return Okx(options)
