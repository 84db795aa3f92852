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
    torn = np.delete(whole, 7)
    assert missing_settlements(torn, int(whole[-1]), START).tolist() == [whole[7]]
    # What is twice as long because one did not come is no interval.
    assert np.flatnonzero(np.isnan(interval_hours(torn))).tolist() == [0, 7]


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


@pytest.mark.parametrize(
    ("step", "until", "lost"),
    [(4, 24, [20]), (2, 24, [18, 20, 22]), (1, 24, list(range(17, 24))), (4, 20.2, []), (4, 20.3, [20]), (8, 24, [])],
)
def test_silence_at_the_end_is_measured_by_the_coins_own_rhythm(step: int, until: float, lost: list[int]) -> None:
    stamps = at(*range(-24, 17, step))
    assert missing_settlements(stamps, int(at(until)[0]), START).tolist() == at(*lost).tolist()


@pytest.mark.parametrize(
    ("after", "lost"),
    [
        ([24], [20]),  # torn or lengthened: nothing tells yet
        ([24, 28], [20]),  # torn, and from then on as before
        ([24, 32], []),  # lengthened
    ],
)
def test_only_the_second_settlement_after_a_longer_gap_tells_what_it_was(after: list[int], lost: list[int]) -> None:
    stamps = at(0, 4, 8, 12, 16, *after)
    assert missing_settlements(stamps, int(stamps[-1]) + HOUR_MS, START).tolist() == at(*lost).tolist()


def test_where_a_coin_ends_nothing_later_is_waited_for() -> None:
    until = int(at(30)[0])
    assert missing_settlements(at(0, 4, 8, 16), until, START, int(at(22)[0])).tolist() == []
    assert missing_settlements(at(0, 4, 8), until, START, int(at(16)[0])).tolist() == at(12).tolist()
    # An end that is further off leaves time to tell.
    assert missing_settlements(at(0, 4, 8, 16), int(at(17)[0]), START, int(at(40)[0])).tolist() == at(12).tolist()


def test_settlements_some_seconds_late_are_in_time() -> None:
    stamps = at(0, 8, 16) + np.array([0, 7_000, 2_000])
    assert interval_hours(stamps)[1:] == pytest.approx([8, 8], abs=1 / 60)
    early = at(0, 4) + np.array([7_000, 0])
    assert missing_settlements(early, int(at(9)[0]), START).tolist() == at(8).tolist()
    assert len(missing_settlements(stamps, int(stamps[-1]), START)) == 0


@pytest.mark.parametrize(
    "hours",
    [
        [0, 8, 16, 20, 22, 23, 24, 25],  # by single steps, where rates hit their limit
        [0, 8, 16, 20, 21, 22],
        [0, 4, 8, 12, 16, 18, 19, 20],
        [0, 1, 2, 3, 4, 5, 8, 12, 16],  # back to the grid of 4
        [0, 1, 2, 3, 8, 16, 24],  # back to the grid of 8
        [0, 8, 16, 20, 28, 36],
    ],
)
def test_single_steps_between_intervals_are_no_hole(hours: list[int]) -> None:
    stamps = at(*hours)
    assert len(missing_settlements(stamps, int(stamps[-1]), START)) == 0
    assert interval_hours(stamps)[1:].tolist() == np.diff(hours).tolist()


@pytest.mark.parametrize("step", [1, 2, 4, 6, 8])
def test_a_loss_before_the_first_settlement_is_named(step: int) -> None:
    stamps = at(*range(48, 96, step))
    lost = missing_settlements(stamps, int(stamps[-1]), START)
    assert lost.tolist() == at(*range(step, 48, step)).tolist()
    in_time = int(stamps[0]) - step * HOUR_MS
    assert len(missing_settlements(stamps, int(stamps[-1]), in_time)) == 0


@pytest.mark.parametrize(
    ("listed", "stamps", "lost"),
    [
        (10, [16, 17, 18], []),  # hourly from its first settlement on, since its rate hit the limit
        (10, [24, 32], []),
        (10, [32, 40], [24]),
        (7.5, [16, 24], []),
        (0, [8, 16], []),
        (0, [24, 32, 40], [8, 16]),
    ],
)
def test_how_soon_a_new_coin_is_settled_is_not_known(listed: float, stamps: list[int], lost: list[int]) -> None:
    since, settled = int(at(listed)[0]), at(*stamps)
    assert missing_settlements(settled, int(settled[-1]), since, listed=True).tolist() == at(*lost).tolist()


def test_where_nothing_came_at_all_every_day_lacks_something() -> None:
    lost = (missing_settlements(at(), START + 96 * HOUR_MS, START) - START) // (24 * HOUR_MS)
    assert set(lost.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", range(3))
def test_no_whole_schedule_is_blamed_and_most_torn_ones_are(seed: int) -> None:
    rng, noticed, torn = np.random.default_rng(seed), 0, 200
    for _ in range(torn):
        steps = np.repeat(rng.choice([1, 2, 4, 6, 8], 4), rng.integers(3, 10, 4))
        whole = at(*np.append(0, np.cumsum(steps)))
        assert len(missing_settlements(whole, int(whole[-1]), START)) == 0
        left = np.delete(whole, rng.integers(2, len(whole) - 3))
        noticed += len(missing_settlements(left, int(whole[-1]), START)) > 0
    assert noticed > 0.7 * torn
