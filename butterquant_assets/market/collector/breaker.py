"""Leaving an endpoint alone that does not answer, so that one that is down does not hold up all the others.

What belongs here: counting failures, and when they are enough. What does not: sending again (`client.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from butterquant_assets.market.collector.answers import RestedEndpointError

LEAST_SECONDS = 30.0
"""A stumble of the exchange that hits many requests at once is over by then."""


@dataclass
class _Run:
    """Requests in a row without a usable answer, and when the first of them failed, in seconds."""

    failures: int
    since: float


class Breaker:
    """Counts by endpoint, for one collection.

    Parameters
    ----------
    most
        requests in a row without a usable answer after which an endpoint is left alone, once they took `seconds`
    now
        stopwatch, seconds
    seconds
        see `most`
    """

    def __init__(self, most: int, now: Callable[[], float], seconds: float = LEAST_SECONDS) -> None:
        self._most, self._now, self._seconds = most, now, seconds
        self._runs: dict[str, _Run] = {}
        self._resting: dict[str, str] = {}

    def check(self, path: str) -> None:
        """Let a request pass.

        Raises
        ------
        RestedEndpointError
            if the endpoint is left alone, always in the same words.
        """
        if path in self._resting:
            raise RestedEndpointError(self._resting[path])

    def answered(self, path: str) -> None:
        """A request got a usable answer."""
        self._runs.pop(path, None)

    def failed(self, path: str, why: str) -> None:
        """A request got none."""
        run = self._runs.setdefault(path, _Run(0, self._now()))
        run.failures += 1
        lasted = self._now() - run.since
        if path not in self._resting and run.failures >= self._most and lasted >= self._seconds:
            self._resting[path] = (
                f"{path}: {run.failures} requests in a row got no usable answer in {lasted:.0f} s, the last: {why}; "
                "it is left alone for the rest of this collection, and the next one asks for what is missing"
            )
