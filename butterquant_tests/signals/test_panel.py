"""What a panel may not hold, and how one is cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.signals.panel import check_panel
from butterquant_tests.signals.factor_cases import SERIES, changed, random_panel


@pytest.fixture
def panel():
    return random_panel(30)


def test_a_sound_panel_passes_with_and_without_missing_values(panel):
    check_panel(panel)
    check_panel(changed(panel, "index", slice(None), slice(None), np.nan))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("close", 0.0, "close of AAA at 2024-01-01T03.* is 0.0, expected positive"),
        ("mark", -1.0, "mark of AAA .* expected positive"),
        ("volume", -2.0, "volume of AAA .* is -2.0, expected not negative"),
        ("open_interest", -1.0, "open_interest of AAA .* expected not negative"),
        ("high", 1e-3, "high of AAA .* expected at least the low; repair it or mark the hour defective"),
        ("funding_8h", np.inf, "funding_8h of AAA .* is inf, expected finite; a missing value is NaN"),
    ],
)
def test_impossible_values_are_named_unless_the_hour_is_marked(panel, name, value, expected):
    bad = changed(panel, name, 3, "AAA", value)
    with pytest.raises(DataError, match=expected):
        check_panel(bad)
    check_panel(changed(bad, "defective", 3, "AAA", True))
    with pytest.raises(DataError, match=expected):
        check_panel(changed(bad, "defective", 4, "AAA", True))


def test_hours_must_follow_each_other(panel):
    hours = panel.hours.copy()
    hours[10:] += np.timedelta64(1, "h")
    with pytest.raises(DataError, match=r"T09.* is followed by .*T11.* rows of NaN"):
        check_panel(replace(panel, hours=hours))


def test_shapes_types_and_names_must_fit(panel):
    with pytest.raises(DataError, match=r"mark is float64 of shape \(30, 2\), expected float64 of shape \(30, 5\)"):
        check_panel(replace(panel, mark=panel.mark[:, :2]))
    with pytest.raises(DataError, match=r"volume is float32 .* expected float64"):
        check_panel(replace(panel, volume=panel.volume.astype(np.float32)))
    with pytest.raises(DataError, match="coin ETH appears twice"):
        check_panel(replace(panel, coins=("BTC", "ETH", "ETH", "BBB", "CCC")))


def test_parts_of_a_panel_keep_all_its_series(panel):
    part = panel.rows(slice(5, 9)).select(("CCC", "BTC"))
    assert part.coins == ("CCC", "BTC")
    for name in SERIES:
        np.testing.assert_array_equal(getattr(part, name), getattr(panel, name)[5:9][:, [4, 0]])
    with pytest.raises(DataError, match=r"coin DDD is not in the panel \(BTC, ETH, AAA, BBB, CCC\)"):
        panel.select(("DDD",))
