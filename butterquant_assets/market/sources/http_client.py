"""Asking a service over HTTP until it answers properly, or saying why it does not.

What can pass (a time-out, a cut connection, a truncated body, 429, 5xx) is tried again a bounded number of times,
waiting longer each time, with jitter, and as long as ``Retry-After`` asks. What will not (401, 403, a redirect to a
consent page, a clock that is wrong) is not. The server's ``Date`` is compared with this machine's clock at every
answer, because which session has closed is judged by the clock.

What belongs here: HTTP. What does not: what the answers mean (`yahoo.py`, `cboe.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np

from butterquant_assets.foundation.errors import SourceError

T = TypeVar("T")

USER_AGENT = "Mozilla/5.0 (compatible; butterquant-assets)"
BLOCKED = {401: "asks for a login", 403: "refuses this address or region", 451: "is not allowed to answer this region"}
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class UnavailableError(SourceError):
    """A service did not answer properly, however often it was asked. It may answer for another symbol."""


class ServiceError(SourceError):
    """A service cannot be used at all for now: it limits or blocks us, or the clocks disagree."""


class IncompleteAnswerError(SourceError):
    """A body that is cut off or damaged; raised by a parser it makes the client ask again."""


@dataclass(frozen=True)
class Answer:
    """What a service answered.

    Parameters
    ----------
    status
        HTTP status
    body
        decoded body
    framed
        whether the length was known, so that a cut-off body would have been noticed on the way
    received
        this machine's time when the answer was complete, UTC
    """

    status: int
    body: bytes
    framed: bool
    received: datetime


@dataclass(frozen=True)
class Patience:
    """How long is waited for what.

    Parameters
    ----------
    connect_seconds, silence_seconds, total_seconds
        for a connection, for the next byte, for a whole answer
    attempts
        requests for one answer
    first_wait_seconds
        before the second attempt; doubles each time, times a random factor of 0.5 to 1.5
    longest_wait_seconds
        when ``Retry-After`` asks for more, the service is left alone
    most_bytes
        of one answer
    clock_minutes
        difference between the clocks that is tolerated
    """

    connect_seconds: float = 10.0
    silence_seconds: float = 30.0
    total_seconds: float = 120.0
    attempts: int = 5
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 120.0
    most_bytes: int = 64 * 2**20
    clock_minutes: float = 5.0


class HttpClient:
    """A polite HTTP client for one collection.

    Parameters
    ----------
    patience
        limits
    headers
        sent with every request, a key for instance; never part of a message
    seed
        of the jitter
    now, sleep, monotonic
        clock (UTC, with time zone), pause and stopwatch; tests pass their own
    """

    def __init__(
        self,
        patience: Patience | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        seed: int = 7,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.patience = patience or Patience()
        self.now, self.sleep, self._monotonic = now, sleep, monotonic
        self._random = np.random.default_rng(seed)
        wait = self.patience
        self._http = httpx.Client(
            timeout=httpx.Timeout(wait.silence_seconds, connect=wait.connect_seconds),
            headers={"User-Agent": USER_AGENT, **(headers or {})},
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, url: str, params: Mapping[str, str], parse: Callable[[Answer], T]) -> T:
        """Ask until `parse` accepts an answer.

        Parameters
        ----------
        url, params
            what to ask; only the address without `params` appears in messages
        parse
            sees 2xx and those 4xx that are about what was asked (400, 404, 422); an `IncompleteAnswerError` makes the
            client ask again, any other error ends it

        Raises
        ------
        UnavailableError
            when every attempt failed.
        ServiceError
            when the service limits or blocks us, or its clock and ours disagree.
        """
        wait, problem, limited = 0.0, "", False
        for attempt in range(self.patience.attempts):
            if attempt:
                self.sleep(max(wait, self._backoff(attempt)))
            wait, limited = 0.0, False
            try:
                answer, headers = self._once(url, params)
                self._compare_clocks(url, answer, headers)
                problem = _passing(url, answer, headers)
                if not problem:
                    return parse(answer)
                limited = answer.status == 429
                wait = self._asked_to_wait(url, headers, answer)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            except IncompleteAnswerError as error:
                problem = str(error)
        if limited:
            raise ServiceError(
                f"{url} answered 429 (too many requests) at {self.patience.attempts} attempts, the last included: left "
                "alone; poll less often, or later"
            )
        raise UnavailableError(
            f"{url} gave no usable answer at {self.patience.attempts} attempts, the last: {problem}; poll again later"
        )

    def _once(self, url: str, params: Mapping[str, str]) -> tuple[Answer, httpx.Headers]:
        limit = self._monotonic() + self.patience.total_seconds
        with self._http.stream("GET", url, params=dict(params)) as response:
            parts, size = [], 0
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > self.patience.most_bytes:
                    raise SourceError(
                        f"{url} answers with more than {self.patience.most_bytes} bytes, expected a table: "
                        "check the address"
                    )
                if self._monotonic() > limit:
                    raise IncompleteAnswerError(f"the answer took more than {self.patience.total_seconds:g} s")
            headers = response.headers
            framed = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
            return Answer(response.status_code, b"".join(parts), framed, self.now()), headers

    def _compare_clocks(self, url: str, answer: Answer, headers: httpx.Headers) -> None:
        server = _server_time(headers)
        if server is None:
            return
        apart = abs((server - answer.received).total_seconds()) / 60
        if apart > self.patience.clock_minutes:
            raise ServiceError(
                f"this machine's clock says {answer.received:%Y-%m-%d %H:%M:%S} UTC and {urlsplit(url).netloc} says "
                f"{server:%Y-%m-%d %H:%M:%S}, {apart:.0f} minutes apart, expected at most "
                f"{self.patience.clock_minutes:g}: what has closed cannot be judged; set the clock and poll again"
            )

    def _asked_to_wait(self, url: str, headers: httpx.Headers, answer: Answer) -> float:
        seconds = retry_after(headers.get("retry-after", ""), _server_time(headers) or answer.received)
        if seconds > self.patience.longest_wait_seconds:
            raise ServiceError(
                f"{url} answers {answer.status} and asks to wait {seconds:.0f} s, more than "
                f"{self.patience.longest_wait_seconds:g} s: left alone until the next poll"
            )
        return seconds

    def _backoff(self, attempt: int) -> float:
        wait = self.patience.first_wait_seconds * 2.0 ** (attempt - 1) * float(self._random.uniform(0.5, 1.5))
        return min(wait, self.patience.longest_wait_seconds)


def retry_after(text: str, now: datetime) -> float:
    """Seconds that a ``Retry-After`` header asks for, in either of its forms; 0 where it is absent or unreadable.

    Parameters
    ----------
    text
        seconds, or an HTTP date
    now
        the server's time, or ours where it gave none
    """
    if text.strip().isdigit():
        return float(text)
    moment = _http_date(text)
    return max(0.0, (moment - now).total_seconds()) if moment else 0.0


def _passing(url: str, answer: Answer, headers: httpx.Headers) -> str:
    """What passes and deserves another attempt, or nothing; what blocks is raised."""
    if answer.status in BLOCKED:
        raise ServiceError(
            f"{url} {BLOCKED[answer.status]} ({answer.status}), expected data: check from where it is asked, and its "
            "terms of use"
        )
    if 300 <= answer.status < 400:
        target = urlsplit(headers.get("location", "")).netloc or "another page"
        raise ServiceError(
            f"{url} redirects to {target} ({answer.status}), expected data: it may want consent, or have moved; "
            "give its new address"
        )
    if answer.status in PASSING or answer.status >= 500:
        return f"answered {answer.status}"
    return ""


def _server_time(headers: httpx.Headers) -> datetime | None:
    """The server's time now: a cache passes the ``Date`` of its origin on and adds the ``Age``."""
    moment = _http_date(headers.get("date", ""))
    age = headers.get("age", "").strip()
    return moment + timedelta(seconds=int(age)) if moment and age.isdigit() else moment


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
