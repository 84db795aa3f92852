from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from butterquant_assets.foundation.lake_listing import Version, listed

WRITTEN = datetime(2026, 1, 5, 21, 0, 7, tzinfo=UTC)
LATER = WRITTEN + timedelta(seconds=1)


def version(**detail: Any) -> Version | None:
    return listed("bucket/lake/g/a/2018-01.parquet", "g/a/2018-01.parquet", {"size": 700, **detail}).version


@pytest.mark.parametrize(
    "successor",
    [
        {"ETag": '"b"', "LastModified": WRITTEN},
        {"ETag": '"a"', "LastModified": LATER},  # the content of before, written again
        {"ETag": '"a"', "LastModified": WRITTEN, "size": 701},
    ],
)
def test_a_successor_has_another_version(successor: dict[str, Any]) -> None:
    first = version(ETag='"a"', LastModified=WRITTEN)
    assert first is not None
    assert version(**successor) != first


def test_a_tagged_file_has_one_version_whether_its_time_is_told_in_fractions_or_not() -> None:
    exact = WRITTEN + timedelta(microseconds=437_000)
    assert version(ETag='"a"', LastModified=exact) == version(ETag='"a"', LastModified=WRITTEN) is not None


@pytest.mark.parametrize("detail", [{}, {"mtime": WRITTEN}, {"mtime": WRITTEN.timestamp()}])
def test_a_time_in_whole_seconds_is_no_version(detail: dict[str, Any]) -> None:
    assert version(**detail) is None


def test_a_fine_time_is_a_version_however_it_is_told() -> None:
    fine = WRITTEN + timedelta(microseconds=1)
    assert version(created=fine) == version(created=fine.timestamp()) is not None
    assert version(created=fine) != version(created=fine + timedelta(microseconds=1))
