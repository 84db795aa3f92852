"""The exchange's own time."""

from __future__ import annotations

from collections.abc import Callable

from butterquant_assets.foundation.errors import ConfigError

Clock = Callable[[], int]
"""Milliseconds since 1970-01-01 UTC."""


class SteppedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int) -> None:
        self._now = now

    def __call__(self) -> int:
        """Ms since 1970-01-01 UTC."""
        return self._now

    def advance(self, milliseconds: int) -> None:
        """Move on.

        Raises
        ------
        ConfigError
            for a step back: a market does not unhappen. (For a clock that errs there is the clock_skew fault.)
        """
        if milliseconds < 0:
            raise ConfigError(f"the exchange's clock cannot go back by {-milliseconds} ms; advance by 0 or more")
        self._now += milliseconds


class RunningClock:
    """A clock that runs from a moment on, as fast as time goes by.

    Parameters
    ----------
    start
        ms since 1970-01-01 UTC
    timer
        seconds that only move forward
    """

    def __init__(self, start: int, timer: Callable[[], float]) -> None:
        self._start = start
        self._timer = timer
        self._begun = timer()

    def __call__(self) -> int:
        """Ms since 1970-01-01 UTC."""
        return self._start + round((self._timer() - self._begun) * 1000)
