"""Published volatilities: linear in total variance, never beyond the published tenors, never from a later session."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from butterquant_assets.butterfly.implied_vols import iv_table
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.cases import NO_VOLS, session_range


def _published(rows: list[tuple[str, str, int, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["session", "ticker", "days", "iv"])
    return frame.assign(session=pd.to_datetime(frame["session"]).astype("datetime64[us]"))


TWO_TENORS = _published(
    [
        ("2015-01-05", "AAA", 10, 0.30),
        ("2015-01-05", "AAA", 30, 0.20),
        ("2015-01-05", "BBB", 20, 0.50),
        ("2015-01-06", "AAA", 10, 0.40),
    ]
)


def _at(ticker: str, session: str, days: int, table: pd.DataFrame = TWO_TENORS) -> float:
    return float(iv_table(table).at([ticker], [np.datetime64(session)], [days])[0])


def test_a_published_tenor_is_returned_as_it_is() -> None:
    assert _at("AAA", "2015-01-05", 10) == 0.30
    assert _at("BBB", "2015-01-05", 20) == 0.50


def test_between_tenors_total_variance_is_interpolated_linearly() -> None:
    total = 0.75 * 0.30**2 * 10 + 0.25 * 0.20**2 * 30
    assert _at("AAA", "2015-01-05", 15) == pytest.approx(np.sqrt(total / 15), rel=1e-14)


@pytest.mark.parametrize(
    ("ticker", "session", "days"),
    [
        ("AAA", "2015-01-05", 9),
        ("AAA", "2015-01-05", 31),
        ("AAA", "2015-01-06", 15),  # the next key in order belongs to another session
        ("BBB", "2015-01-05", 19),
        ("CCC", "2015-01-05", 10),
        ("AAA", "2015-01-07", 10),
        ("BBB", "2015-01-06", 20),
    ],
)
def test_nothing_is_extrapolated_or_borrowed_from_another_session_or_ticker(
    ticker: str, session: str, days: int
) -> None:
    assert np.isnan(_at(ticker, session, days))


def test_an_empty_table_has_no_value() -> None:
    assert np.isnan(_at("AAA", "2015-01-05", 10, NO_VOLS))


def test_a_missing_iv_counts_as_not_published() -> None:
    assert np.isnan(_at("AAA", "2015-01-05", 10, _published([("2015-01-05", "AAA", 10, np.nan)])))


@pytest.mark.parametrize(("iv", "days"), [(0.0, 10), (-0.2, 10), (np.inf, 10), (0.2, 0), (0.2, 10_000)])
def test_impossible_values_are_refused_with_ticker_and_session(iv: float, days: int) -> None:
    with pytest.raises(DataError, match=r"AAA .* 2015-01-05"):
        iv_table(_published([("2015-01-05", "AAA", days, iv)]))


def test_a_value_published_twice_is_refused() -> None:
    with pytest.raises(DataError, match="two implied volatilities for 10 days on 2015-01-05"):
        iv_table(pd.concat([TWO_TENORS, TWO_TENORS.iloc[[0]]]))


def test_the_history_holds_the_previous_252_sessions_without_today() -> None:
    days = session_range("2014-01-02", 300)
    table = pd.DataFrame({"session": days, "ticker": "AAA", "days": 30, "iv": 0.1 + 0.001 * np.arange(300)})
    found = iv_table(table.drop(index=250)).history(["AAA"], [days[280]], [30])[0]
    expected = 0.1 + 0.001 * np.arange(28, 280)
    expected[250 - 28] = np.nan
    np.testing.assert_allclose(found, expected)


@given(st.integers(10, 30), st.floats(0.05, 2.0), st.floats(0.05, 2.0))
def test_an_interpolated_total_variance_lies_between_its_neighbours(days: int, near: float, far: float) -> None:
    table = _published([("2015-01-05", "AAA", 10, near), ("2015-01-05", "AAA", 30, far)])
    total = _at("AAA", "2015-01-05", days, table) ** 2 * days
    low, high = sorted([near**2 * 10, far**2 * 30])
    assert low * (1 - 1e-12) <= total <= high * (1 + 1e-12)
