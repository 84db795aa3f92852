"""How often each endpoint may be asked, kept for everything that asks.

OKX admits so many requests in any two seconds, for most public endpoints by address, for some by address and
instrument. It counts when a request arrives, which is some time between its leaving and its answer. So a request leaves
only when the answer to the one that many before it lies a whole window back: whatever is late on the way, the exchange
never sees more than it permits, at the price of one round trip in every window.

What belongs here: the permitted rates and when a request may leave. What does not: what is asked (`questions.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from butterquant_assets.foundation.errors import ConfigError

LONGEST_WAY_SECONDS = 1.0
"""A request without an answer has arrived by then, or never does."""

UNSENT_SECONDS = 0.02
"""Until one looks again whether a request that had its turn has left."""


@dataclass(frozen=True)
class Permitted:
    """`requests` in any `seconds`, counted separately for each value of the parameter `per`, if there is one."""

    requests: int
    seconds: float = 2.0
    per: str = ""


PERMITTED: Mapping[str, Permitted] = {
    "market/candles": Permitted(40),
    "market/history-candles": Permitted(20),
    "market/mark-price-candles": Permitted(20),
    "market/history-mark-price-candles": Permitted(20),
    "market/index-candles": Permitted(20),
    "market/history-index-candles": Permitted(10),
    "market/books": Permitted(40),
    "market/trades": Permitted(100),
    "market/history-trades": Permitted(20),
    "public/time": Permitted(10),
    "public/instruments": Permitted(20, per="instType"),
    "public/position-tiers": Permitted(10),
    "public/funding-rate-history": Permitted(10, per="instId"),
    "rubik/stat/contracts/open-interest-history": Permitted(10, per="instId"),
    "rubik/stat/taker-volume-contract": Permitted(5, per="instId"),
}
"""Of the endpoints that are asked. Source: OKX's v5 documentation, "Rate Limit" of each endpoint."""


@dataclass(eq=False)
class Ticket:
    """One request that had its turn: when it left and when its answer came, in seconds; None before."""

    sent: float | None = None
    answered: float | None = None

    def arrived_by(self, now: float) -> float:
        """The latest moment at which it arrived, as far as that is known now."""
        if self.sent is None:
            return now
        latest = self.sent + LONGEST_WAY_SECONDS
        return min(now if self.answered is None else self.answered, latest)


@dataclass(eq=False)
class _Lane:
    permitted: Permitted
    last: deque[Ticket] = field(default_factory=deque)
    held_until: float = float("-inf")
    queue: asyncio.Lock = field(default_factory=asyncio.Lock)


class Limiter:
    """Decides when a request may leave.

    Parameters
    ----------
    permitted
        by endpoint
    now
        seconds that only move forward
    sleep
        pause in seconds
    """

    def __init__(
        self,
        permitted: Mapping[str, Permitted] = PERMITTED,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._permitted = permitted
        self._now = now
        self._sleep = sleep
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self.sent: Counter[str] = Counter()
        """Requests let out so far, by endpoint."""

    async def turn(self, path: str, parameters: Mapping[str, str]) -> Ticket:
        """Wait until one more request fits the lane's window; first come, first served.

        The ticket says so to `leaving` and, in every case, to `over`.

        Raises
        ------
        ConfigError
            for an endpoint whose limit is not known: it is not asked blindly.
        """
        lane = self._lane(path, parameters)
        async with lane.queue:
            while (wait := self._opens(lane) - self._now()) > 0:
                await self._sleep(wait)
            ticket = Ticket()
            lane.last.append(ticket)
            if len(lane.last) > lane.permitted.requests:
                lane.last.popleft()
        self.sent[path] += 1
        return ticket

    def leaving(self, ticket: Ticket) -> None:
        """The request leaves now."""
        ticket.sent = self._now()

    def over(self, ticket: Ticket) -> None:
        """The request has its answer, or never will."""
        ticket.answered = self._now()
        ticket.sent = ticket.answered if ticket.sent is None else ticket.sent

    def hold(self, path: str, parameters: Mapping[str, str], seconds: float) -> None:
        """Nothing leaves on this lane for so long: the exchange asked for it."""
        lane = self._lane(path, parameters)
        lane.held_until = max(lane.held_until, self._now() + seconds)

    def held(self, path: str, parameters: Mapping[str, str]) -> float:
        """Seconds for which nothing may leave on this lane, not even what has had its turn; at most 0 for none."""
        return self._lane(path, parameters).held_until - self._now()

    def _opens(self, lane: _Lane) -> float:
        """The moment at which to look (again) whether one more request fits."""
        if len(lane.last) < lane.permitted.requests:
            return lane.held_until
        now, first = self._now(), lane.last[0]
        if first.sent is None:
            return max(lane.held_until, now + UNSENT_SECONDS)
        # While its answer is not there, it may still arrive: it is looked at again when the window could open.
        arrived = first.sent if now < first.sent + lane.permitted.seconds else first.arrived_by(now)
        return max(lane.held_until, arrived + lane.permitted.seconds)

    def _lane(self, path: str, parameters: Mapping[str, str]) -> _Lane:
        if path not in self._permitted:
            raise ConfigError(f"no rate limit is known for {path}, expected one of {', '.join(self._permitted)}")
        permitted = self._permitted[path]
        value = parameters.get(permitted.per, "") if permitted.per else ""
        return self._lanes.setdefault((path, value), _Lane(permitted))
