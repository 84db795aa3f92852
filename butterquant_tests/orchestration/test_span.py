from __future__ import annotations

from datetime import UTC, datetime

import pytest

from butterquant_assets.orchestration.partitions import monthly
from butterquant_assets.orchestration.span import grown, may_grow

BOUND = {"start": "2018-01", "end": "2018-03", "market_start": "2017-11", "market_end": "2018-03"}
OPEN, TO_MAY = {**BOUND, "grows_to": None}, {**BOUND, "grows_to": "2018-05"}


@pytest.mark.parametrize(
    ("binding", "delivered", "held", "this_month", "end", "market_end"),
    [
        (OPEN, "2018-03", None, "2026-01", "2018-03", "2018-03"),
        (OPEN, "2018-06", None, "2026-01", "2018-06", "2018-06"),
        (OPEN, "2018-06", None, "2018-05", "2018-05", "2018-05"),  # a source that serves a month that has not begun
        (OPEN, "2018-02", None, "2026-01", "2018-03", "2018-03"),  # a source that lost its newest months
        (OPEN, "2018-02", "2018-06", "2026-01", "2018-06", "2018-06"),  # the same after they were taken in
        (TO_MAY, "2018-04", None, "2026-01", "2018-03", "2018-04"),
        (TO_MAY, "2018-09", "2018-05", "2026-01", "2018-03", "2018-05"),
        (BOUND, "2018-09", None, "2026-01", "2018-03", "2018-03"),
    ],
)
def test_months_grow_with_the_source_within_what_the_home_is_bound_to(
    binding: dict[str, str | None], delivered: str, held: str | None, this_month: str, end: str, market_end: str
) -> None:
    assert grown(binding, delivered, held, this_month) == {"end": end, "market_end": market_end}


def test_a_home_that_has_all_its_months_does_not_ask_its_source() -> None:
    assert may_grow(OPEN)
    assert may_grow(TO_MAY)
    assert not may_grow(BOUND)
    assert not may_grow({**TO_MAY, "market_end": "2018-05"})


def test_partitions_without_an_end_reach_the_current_month_without_being_defined_again() -> None:
    months = monthly("2018-01", None)
    for now, last in (((2018, 3, 31), "2018-03"), ((2018, 4, 1), "2018-04")):
        assert months.get_partition_keys(current_time=datetime(*now, 12, tzinfo=UTC))[-1] == last
    assert monthly("2018-01", "2018-02").get_partition_keys() == ["2018-01", "2018-02"]
