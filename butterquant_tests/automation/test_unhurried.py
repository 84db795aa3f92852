"""Work that may take longer than a tick."""

from __future__ import annotations

import threading

import pytest

from butterquant_assets.automation.unhurried import Unhurried


def test_quick_work_is_done_anew_for_every_result() -> None:
    done: list[int] = []
    work = Unhurried(lambda: done.append(1) or len(done))
    assert [work.result(5.0) for _ in range(3)] == [1, 2, 3]


def test_slow_work_goes_on_and_a_later_tick_takes_its_result_without_doing_it_twice() -> None:
    free, begun = threading.Event(), []

    def slow() -> str:
        begun.append(1)
        free.wait(10)
        return "seen"

    work = Unhurried(slow)
    for _ in range(2):
        with pytest.raises(TimeoutError, match="the next tick looks"):
            work.result(0.02)
    free.set()
    assert work.result(5.0) == "seen"
    assert begun == [1]


def test_an_error_is_raised_once_and_the_work_is_tried_again() -> None:
    outcomes = iter([OSError("not mounted"), None])

    def fragile() -> str:
        if error := next(outcomes):
            raise error
        return "read"

    work = Unhurried(fragile)
    with pytest.raises(OSError, match="not mounted"):
        work.result(5.0)
    assert work.result(5.0) == "read"
