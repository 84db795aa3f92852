"""Settlement intervals of 1 to 8 hours and their changes; a settlement that did not come is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.market.collector.days import HOUR_MS
from butterquant_assets.market.collector.settlements import interval_hours, missing_settlements

START = 500_000 * HOUR_MS


def at(*hours: float) -> np.ndarray:
    return (START + np.array(hours) * HOUR_MS).astype(np.int64)


@pytest.mark.parametrize("step", [1, 2, 4, 6, 8])
def test_each_interval_is_told_and_a_hole_in_it_found(step: int) -> None:
    hours = np.arange(0, 20 * step, step)
    whole = at(*hours)
    assert np.isnan(interval_hours(whole)[0])
    assert (interval_hours(whole)[1:] == step).all()
    assert len(missing_settlements(whole, int(whole[-1]) + step * HOUR_MS, START)) == 0
    assert missing_settlements(np.delete(whole, 7), int(whole[-1]), START).tolist() == [whole[7]]


def test_a_change_of_interval_is_no_hole() -> None:
    stamps = at(0, 8, 16, 24, 26, 28, 30, 32, 36, 40, 44, 52, 60)
    assert len(missing_settlements(stamps, int(stamps[-1]), START)) == 0
    assert interval_hours(stamps)[1:].tolist() == [8, 8, 8, 2, 2, 2, 2, 4, 4, 4, 8, 8]


def test_two_in_a_row_that_are_missing_are_both_named() -> None:
    stamps = at(0, 8, 16, 40, 48)
    assert missing_settlements(stamps, int(stamps[-1]), START).tolist() == at(24, 32).tolist()
    assert np.isnan(interval_hours(stamps)[3])


def test_silence_at_the_end_is_noticed_and_a_young_market_is_not_blamed() -> None:
    stamps = at(0, 4, 8)
    until = START + 17 * HOUR_MS
    assert missing_settlements(stamps, until, START).tolist() == at(12, 16).tolist()
    assert len(missing_settlements(at(), START + 8 * HOUR_MS, START)) == 0
    assert len(missing_settlements(at(), START + 9 * HOUR_MS, START)) == 1


def test_settlements_some_seconds_late_are_in_time() -> None:
    stamps = at(0, 8, 16) + np.array([0, 7_000, 2_000])
    assert interval_hours(stamps)[1:] == pytest.approx([8, 8], abs=1 / 60)
    assert len(missing_settlements(stamps, int(stamps[-1]), START)) == 0
