"""Blocks of months: against the bootstrap over single clusters, a plain loop, and the truth under overlap."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.butterfly.block_bootstrap import (
    block_picks,
    difference_over_months,
    mean_over_months,
    month_numbers,
)
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.learning.evidence import episode_interval, expanded_interval


def test_months_are_counted_by_the_calendar() -> None:
    days = np.array(["1970-01-31", "1970-02-01", "2016-03-01"], dtype="datetime64[us]")
    assert list(month_numbers(days)) == [0, 1, 46 * 12 + 2]


def test_blocks_hold_consecutive_months_and_wrap_around() -> None:
    picks = block_picks(7, block=3, seed=1, draws=200)
    assert picks.shape == (200, 7)
    steps = np.diff(picks, axis=1) % 7
    assert (steps[:, [0, 1, 3, 4]] == 1).all()
    assert set(picks[:, 0]) == set(range(7))
    with pytest.raises(ConfigError, match="block_months is 0"):
        block_picks(7, block=0, seed=1)


def test_blocks_of_one_month_are_the_bootstrap_over_episodes() -> None:
    random = np.random.default_rng(0)
    month = np.sort(random.integers(0, 30, 400))
    values = random.normal(size=400)
    values[::9] = np.nan
    ours = mean_over_months(values, month, seed=4, block=1)
    theirs = episode_interval(values, month, seed=4)
    assert (ours.value, ours.low, ours.high, ours.months) == (theirs.mean, theirs.low, theirs.high, theirs.episodes)


def test_intervals_match_a_plain_loop() -> None:
    random = np.random.default_rng(1)
    ours, theirs = random.normal(0.1, 1, 120), random.normal(0, 1, 90)
    months = [np.sort(random.integers(10, 22, count)) for count in (120, 90)]
    present = sorted({*months[0], *months[1]})
    k, drawn = len(present), []
    for starts in np.random.default_rng(3).integers(0, k, size=(300, -(-k // 2))):
        chosen = [present[(start + step) % k] for start in starts for step in range(2)][:k]
        sides = [
            np.concatenate([values[month == m] for m in chosen])
            for values, month in zip((ours, theirs), months, strict=True)
        ]
        drawn.append(sides[0].mean() - sides[1].mean())
    found = difference_over_months(ours, months[0], theirs, months[1], seed=3, draws=300)
    assert (found.rows, found.months) == (210, k)
    assert found.value == pytest.approx(ours.mean() - theirs.mean())
    assert (found.low, found.high) == pytest.approx(expanded_interval(np.array(drawn), -(-k // 2)), rel=1e-9)


def test_intervals_cover_the_truth_where_neighbouring_months_overlap() -> None:
    covered = {1: 0, 2: 0}
    for seed in range(200):
        random = np.random.default_rng(seed)
        shock = random.normal(size=49)
        level = shock[1:] + shock[:-1]  # each month shares half its market with the next
        month = np.repeat(np.arange(48), 10)
        values = level[month] + random.normal(size=month.size)
        for block in covered:
            found = mean_over_months(values, month, seed=1, draws=300, block=block)
            covered[block] += found.low <= 0.0 <= found.high
    assert covered[2] >= 176
    assert covered[2] > covered[1]


def test_what_says_nothing_gives_no_bounds() -> None:
    nothing = mean_over_months([np.nan], [3], seed=1)
    assert (nothing.rows, nothing.months) == (0, 0)
    assert np.isnan(nothing.value)
    single = mean_over_months([0.1, 0.3], [3, 3], seed=1)
    assert single.value == pytest.approx(0.2)
    assert (single.low, single.high) == (-np.inf, np.inf)
    one_sided = difference_over_months([0.1], [3], [], [], seed=1)
    assert np.isnan(one_sided.value)
    assert one_sided.rows == 1
    with pytest.raises(ValueError, match="expected the same"):
        mean_over_months([0.1], [1, 2], seed=1)


def test_the_difference_of_a_side_with_itself_is_nothing() -> None:
    random = np.random.default_rng(2)
    values, month = random.normal(size=60), np.sort(random.integers(0, 12, 60))
    found = difference_over_months(values, month, values, month, seed=1)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
