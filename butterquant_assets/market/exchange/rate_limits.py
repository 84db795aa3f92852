"""How often an endpoint may be asked: a window per client address and, where OKX says so, per instrument.

Numbers: OKX's v5 documentation ("Rate Limit" of each endpoint), which ccxt's costs restate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from butterquant_assets.market.exchange.answers import OkxError


@dataclass(frozen=True)
class RateLimit:
    """`requests` in any `seconds`, counted separately for each value of the parameter `per`, if there is one."""

    requests: int
    seconds: float = 2.0
    per: str = ""


class RateLimiter:
    """Counts what was admitted.

    Parameters
    ----------
    timer
        seconds that only move forward
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._admitted: dict[tuple[str, str, str], deque[float]] = {}
        self.refused = 0
        """Requests turned down so far."""

    def admit(self, client: str, path: str, value: str, limit: RateLimit) -> None:
        """Count a request.

        Raises
        ------
        OkxError
            50011 with HTTP 429 when the window is full.
        """
        now = self._timer()
        window = self._admitted.setdefault((client, path, value), deque())
        while window and window[0] <= now - limit.seconds:
            window.popleft()
        if len(window) >= limit.requests:
            self.refused += 1
            raise OkxError("50011", "Too Many Requests", 429)
        window.append(now)
