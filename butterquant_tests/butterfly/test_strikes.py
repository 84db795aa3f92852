"""Types, expiries, strikes and evaluation dates by the rules of REFERENCE section 1."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from butterquant_assets.butterfly import strikes
from butterquant_assets.foundation.errors import ConfigError

INCREMENTS = sorted(m * 10.0**k for m in (1.0, 2.5, 5.0) for k in range(-4, 5))


def _choose(spot: float, forecast: float, vol: float, dte: int, band: float = 10.0, period: float = 30.0, **rule: str):
    arrays = (np.array([value]) for value in (spot, forecast, vol))
    found = strikes.choose_strikes(
        *arrays,
        np.array([dte]),
        np.array([band]),
        np.array([period]),
        rule.get("rule", "ours"),  # type: ignore[arg-type]
    )
    return tuple(float(array[0]) for array in (found.lower, found.center, found.upper, found.width))


def test_our_strikes_of_a_worked_case() -> None:
    # raw width 1.25 x 100 x .25 x sqrt(45/365) = 10.97, a quarter of it is 2.74, the nearest increment in log 2.5
    assert _choose(100.0, 101.0, 0.25, 45) == (90.0, 100.0, 110.0, 10.0)


@given(st.floats(1.0, 5000.0), st.floats(0.87, 1.14), st.floats(0.05, 2.0), st.sampled_from([21, 30, 45]))
def test_our_strikes_match_a_plain_search_over_increments(spot: float, move: float, vol: float, dte: int) -> None:
    raw = 1.25 * spot * vol * np.sqrt(dte / 365)
    increment = min(INCREMENTS, key=lambda step: abs(np.log(step / (raw / 4))))
    lower, center, upper, width = _choose(spot, spot * move, vol, dte)
    assert width == pytest.approx(round(round(raw / increment, 9)) * increment, rel=1e-12)
    assert center == pytest.approx(round(round(spot * move / increment, 9)) * increment, rel=1e-12)
    assert (upper - center, center - lower) == pytest.approx((width, width), rel=1e-9)


@given(st.floats(1.0, 500.0), st.floats(0.87, 1.14), st.floats(0.05, 2.0), st.sampled_from([21, 30, 45]))
@example(1.0, 0.95, 1.0, 21)  # 9.5 increments at both prices, below the half in floats at one of them
def test_ten_times_the_price_gives_ten_times_our_strikes(spot: float, move: float, vol: float, dte: int) -> None:
    one, ten = _choose(spot, spot * move, vol, dte), _choose(10 * spot, 10 * spot * move, vol, dte)
    assert np.array(ten) == pytest.approx(10 * np.array(one), rel=1e-12)


def test_strikes_are_the_floats_nearest_to_their_decimals() -> None:
    lower, center, upper, width = _choose(1.2, 1.2, 0.5, 30)
    assert (lower, center, upper, width) == (1.0, 1.2, 1.4, 0.2)


@pytest.mark.parametrize(
    ("spot", "band", "period", "expected"),
    [
        (40.0, 7.0, 30.0, (37.5, 40.0, 42.5, 2.5)),
        (100.0, 7.0, 30.0, (95.0, 100.0, 105.0, 5.0)),
        (100.0, 11.0, 30.0, (90.0, 100.0, 110.0, 10.0)),
        (300.0, 20.0, 30.0, (270.0, 300.0, 330.0, 30.0)),
        (300.0, 20.0, 60.0, (260.0, 300.0, 340.0, 40.0)),  # 3 x 1.2 = 3.6 increments, rounded to 4
        (300.0, 11.0, 10.0, (280.0, 300.0, 320.0, 20.0)),  # 2 x 0.8 = 1.6, rounded to 2
    ],
)
def test_the_strikes_of_the_document(
    spot: float, band: float, period: float, expected: tuple[float, float, float, float]
) -> None:
    assert _choose(spot, spot, 0.3, 30, band, period, rule="document") == expected


@pytest.mark.parametrize(("rule", "expected"), [("ours", [21, 21, 30, 30, 45]), ("document", [21, 30, 45, 45, 45])])
def test_days_to_expiry_follow_the_dominant_period(rule: str, expected: list[int]) -> None:
    periods = np.array([19.9, 20.0, 52.0, 84.9, 85.0])
    assert strikes.days_to_expiry(periods, rule).tolist() == expected  # type: ignore[arg-type]


def test_unknown_rules_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'theirs'"):
        strikes.days_to_expiry(np.array([30.0]), "theirs")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'theirs'"):
        _choose(100.0, 100.0, 0.2, 30, rule="theirs")


def test_type_follows_from_trend_and_cycle() -> None:
    trend = strikes.trend_direction(np.array([0.16, 0.16, -0.16, -0.16, 0.15, -0.15]))
    cycle = np.zeros((6, 30))
    cycle[:, :20] = -100.0  # only the last ten values count
    cycle[[1, 2, 4], -10:] = 1.0
    position = strikes.cycle_position(cycle)
    assert trend.tolist() == ["UP", "UP", "DOWN", "DOWN", "FLAT", "FLAT"]
    assert position.tolist() == ["TROUGH", "PEAK", "PEAK", "TROUGH", "PEAK", "TROUGH"]
    assert strikes.butterfly_type(trend, position).tolist() == ["CALL", "CALL", "PUT", "CALL", "IRON", "IRON"]


@pytest.mark.parametrize(("dte", "held"), [(45, 40), (30, 25), (29, 26), (21, 18), (10, 8), (2, 1)])
def test_days_held_are_those_of_the_document(dte: int, held: int) -> None:
    assert strikes.days_held(np.array([dte])).tolist() == [held]


@pytest.mark.parametrize(
    ("session", "dte", "evaluation", "left"),
    [
        ("2015-06-03", 30, "2015-06-26", 7),  # planned for Sunday 28 June
        ("2016-02-16", 45, "2016-03-24", 8),  # Sunday 27 March, and the Friday before is Good Friday
        ("2015-12-07", 21, "2015-12-24", 4),  # Christmas Day
        ("2015-06-02", 30, "2015-06-26", 6),  # Saturday
        ("2015-06-01", 30, "2015-06-26", 5),  # an ordinary Friday
    ],
)
def test_an_evaluation_on_a_holiday_or_weekend_uses_the_session_before(
    session: str, dte: int, evaluation: str, left: int
) -> None:
    days, remaining = strikes.evaluation_dates(np.array([session], dtype="datetime64[D]"), np.array([dte]))
    assert (str(days[0]), int(remaining[0])) == (evaluation, left)
    assert pd.Timestamp(session) + pd.Timedelta(days=dte) == pd.Timestamp(evaluation) + pd.Timedelta(days=left)
