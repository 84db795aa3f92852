"""A house that the sensors of one process share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from butterquant_tests.automation import toys


class Counting(toys.ToySource):
    """Knows how many looks are at it at once, and takes long enough for others to join."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def fingerprints(self, dataset: str, months: Sequence[str]) -> dict[str, str]:
        self.now += 1
        self.most = max(self.most, self.now)
        time.sleep(0.05)
        self.now -= 1
        return super().fingerprints(dataset, months)


def test_looks_from_several_threads_come_one_after_the_other(tmp_path: Path) -> None:
    source = Counting()
    house = toys.toy_house(tmp_path, source)
    with ThreadPoolExecutor(4) as pool:
        looks = list(pool.map(lambda _: house.freshness(), range(4)))
    assert len(looks) == 4
    assert source.most == 1
