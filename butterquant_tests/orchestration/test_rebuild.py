"""Who may write which partitions, and at what cost."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from butterquant_assets.foundation.calendar import key_range
from butterquant_assets.foundation.files import locked
from butterquant_assets.orchestration.rebuild import writing
from butterquant_tests.automation import toys
from butterquant_tests.orchestration import days

YEARS = key_range("2020-01-01", "2025-04-24", "day")


@pytest.fixture
def few_files() -> Iterator[None]:
    """No more than 128 open files beside those that are open already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 128, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_years_of_days_are_written_with_few_open_files_and_exclude_whoever_writes_one_of_their_months(
    tmp_path: Path, few_files: None
) -> None:
    house = days.day_house(tmp_path, days.DaySource())
    assert len(YEARS) == 1941
    with writing(house, days.hours, YEARS):
        locks = sorted(path.name for path in (tmp_path / "locks").iterdir())
        assert (len(locks), locks[0], locks[-1]) == (64, "toy.hours.2020-01", "toy.hours.2025-04")
        with pytest.raises(BlockingIOError), locked(tmp_path / "locks" / "toy.hours.2024-02", wait=False):
            pass


def test_months_have_a_lock_each_and_an_asset_without_partitions_has_one(tmp_path: Path) -> None:
    house = toys.toy_house(tmp_path, toys.ToySource())
    with ExitStack() as held:
        held.enter_context(writing(house, toys.raw, ("2018-02", "2018-01")))
        held.enter_context(writing(house, toys.total, (None,)))
        names = {path.name for path in (tmp_path / "locks").iterdir()}
    assert names == {"toy.raw.2018-01", "toy.raw.2018-02", "toy.total"}
