"""Ends that are announced, ends that are only bounded, and coins that are listed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from butterquant_assets.market.collector.days import DAY_MS, HOUR_MS, day_at
from butterquant_assets.market.collector.lives import Life, absent, dropped, followed, resting, to_confirm
from butterquant_assets.market.collector.progress import Progress

BEGUN = 19_000 * DAY_MS
DAY = day_at(BEGUN)


def at(hour: float) -> int:
    return BEGUN + round(hour * HOUR_MS)


def test_an_end_is_believed_when_a_second_list_an_hour_later_lacks_the_coin_too() -> None:
    lives = followed((), 0, at(7), None)
    once = absent(lives, at(8))
    assert not to_confirm(once[0], at(8.9))
    assert to_confirm(absent(once, at(9))[0], at(9))
    assert absent(once, at(9)) == once
    assert followed(once, 0, at(9), None)[0].first_absent is None


@pytest.mark.parametrize(
    ("last_live", "first_absent", "bar", "closed"),
    [
        (7.1, 8.1, HOUR_MS, 7),  # only the bar it ended with
        (7.1, 7.9, HOUR_MS, 7),
        (7.1, 10.1, HOUR_MS, 10),  # whole bars are not known
        (7.1, 8.1, HOUR_MS // 60, 8.1),
    ],
)
def test_bars_are_owed_until_the_end_as_far_as_it_is_known(
    last_live: float, first_absent: float, bar: int, closed: float
) -> None:
    life = Life(0, BEGUN, at(last_live), first_absent=at(first_absent))
    assert life.closed(bar) is None
    gone = Life(0, BEGUN, at(last_live), first_absent=at(first_absent), denied=True)
    assert gone.unannounced
    assert gone.closed(bar) == at(closed)
    assert gone.owes(DAY)
    assert not gone.owes(day_at(BEGUN + DAY_MS))


def test_an_announced_end_needs_no_confirmation_but_an_earlier_one_does() -> None:
    ended = Life(0, BEGUN, at(7), end=at(8), first_absent=at(9))
    assert not to_confirm(ended, at(20))
    assert (ended.gone, ended.closed(HOUR_MS)) == (at(8), at(7))
    early = Life(0, BEGUN, at(3), end=at(8), first_absent=at(4), denied=True)
    assert (early.unannounced, early.gone) == (True, at(4))


def test_a_coin_that_is_listed_again_keeps_its_former_end(tmp_path: Path) -> None:
    ended = (Life(0, BEGUN, at(7), end=at(8)),)
    # Announced anew, it rests before it trades.
    assert resting(ended, at(30), None) == ended
    former, present = followed(ended, at(48), at(49), None)
    assert (former.end, former.gone) == (at(8), at(8))
    assert (present.listed, present.since, present.end) == (at(48), at(48), None)
    memory = Progress(tmp_path)
    memory.lives["SOL"] = (former, present)
    memory.save()
    again = Progress(tmp_path)
    assert again.lives == memory.lives
    assert again.life("SOL", DAY) == former
    assert again.life("SOL", day_at(at(48))) == present
    assert [coin for coin, _ in again.owing(day_at(at(24)))] == []


def test_a_coin_that_was_listed_again_unseen_ended_before_that() -> None:
    former, present = followed((Life(0, BEGUN, at(7)),), at(48), at(49), None)
    assert (former.unannounced, former.gone) == (True, at(48))
    assert present.listed == at(48)


def test_a_coin_that_is_no_longer_followed_is_owed_to_the_end_of_its_last_day() -> None:
    (life,) = dropped((Life(0, BEGUN, at(7)),), 0, None)
    assert life.left == at(24)
    assert life.closed(HOUR_MS) == at(24)
    assert dropped((life,), 0, None) == (life,)
    assert not to_confirm(absent((life,), at(30))[0], at(40))
    assert followed((life,), 0, at(50), None)[0].left is None
