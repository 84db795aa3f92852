"""Clocks stand still, are moved, or run."""

from __future__ import annotations

import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.market.exchange.clock import RunningClock, SteppedClock


def test_a_stepped_clock_goes_forward_only_when_moved() -> None:
    clock = SteppedClock(1_000)
    clock.advance(500)
    assert [clock(), clock()] == [1_500, 1_500]
    with pytest.raises(ConfigError, match="cannot go back by 1 ms"):
        clock.advance(-1)


def test_a_running_clock_goes_as_fast_as_its_timer() -> None:
    seconds = iter([7.0, 7.0, 7.25, 67.25])
    clock = RunningClock(1_000, lambda: next(seconds))
    assert [clock(), clock(), clock()] == [1_000, 1_250, 61_250]
