"""Windows end at the analysis date, undo splits inside themselves only, and say why a row has none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import windows
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.cases import session_range


def _bars(count: int = 40, first: str = "2015-01-02", ticker: str = "AAA") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "session": session_range(first, count),
            "ticker": ticker,
            "close": 100.0 + np.arange(count),
            "volume": 1000.0 + np.arange(count),
            "split_ratio": 1.0,
        }
    )


def _build(bars: pd.DataFrame, row: int, length: int = 30) -> windows.Windows:
    return windows.build(["AAA"], [bars["session"].iloc[row]], windows.quoted_bars(bars), length)


def test_a_window_holds_the_last_bars_up_to_and_including_the_date() -> None:
    found = _build(_bars(), 35)
    assert found.closes[0].tolist() == [106.0 + step for step in range(30)]
    assert found.volumes[0].tolist() == [1006.0 + step for step in range(30)]
    assert (found.reasons[0], found.details[0]) == ("", "")


def test_a_split_inside_the_window_divides_the_closes_before_it_and_multiplies_their_volumes() -> None:
    bars = _bars()
    bars.loc[20, "split_ratio"] = 3.0
    found = _build(bars, 35)
    assert found.closes[0, :14].tolist() == [(106.0 + step) / 3.0 for step in range(14)]
    assert found.closes[0, 14:].tolist() == [120.0 + step for step in range(16)]
    assert found.volumes[0, :14].tolist() == [3.0 * (1006.0 + step) for step in range(14)]


@pytest.mark.parametrize("row", [6, 36])
def test_splits_on_the_first_bar_of_the_window_and_after_its_date_change_nothing(row: int) -> None:
    bars = _bars()
    plain = _build(bars, 35)
    bars.loc[row, "split_ratio"] = 4.0
    assert _build(bars, 35).closes.tolist() == plain.closes.tolist()


def test_two_splits_multiply() -> None:
    bars = _bars()
    bars.loc[[10, 20], "split_ratio"] = [2.0, 3.0]
    found = _build(bars, 35)
    assert found.closes[0, 0] == 106.0 / 6.0
    assert found.closes[0, 5] == 111.0 / 3.0


def test_the_split_of_an_unquoted_row_applies_from_the_next_quoted_bar() -> None:
    bars = _bars()
    bars.loc[20, ["split_ratio", "close"]] = [3.0, np.nan]
    found = _build(bars, 35)
    assert found.closes[0, 0] == 105.0 / 3.0  # one quoted bar fewer, so the window starts one bar earlier
    assert found.closes[0, 14] == 119.0 / 3.0
    assert found.closes[0, 15] == 121.0


def test_a_date_without_a_bar_is_rejected_even_when_the_ticker_traded_before() -> None:
    bars = _bars().drop(index=35)
    found = windows.build(["AAA"], ["2015-02-24"], windows.quoted_bars(bars), 30)
    assert _bars()["session"].iloc[35] == pd.Timestamp("2015-02-24")
    assert found.reasons[0] == "no_bar_on_date"
    assert "2015-02-24" in found.details[0]
    assert np.isnan(found.closes).all()


def test_an_unknown_ticker_has_no_bar() -> None:
    found = windows.build(["ZZZ"], ["2015-02-24"], windows.quoted_bars(_bars()), 30)
    assert found.reasons[0] == "no_bar_on_date"


def test_a_short_history_is_rejected_with_its_count_and_never_borrows_from_the_ticker_before() -> None:
    bars = pd.concat([_bars(ticker="AAA"), _bars(ticker="BBB")])
    found = windows.build(["BBB"], [_bars()["session"].iloc[28]], windows.quoted_bars(bars), 30)
    assert found.reasons[0] == "too_short"
    assert found.details[0].startswith("29 quoted bars")


@pytest.mark.parametrize(("holes", "reason"), [(5, ""), (6, "missing_sessions")])
def test_up_to_five_sessions_may_be_missing_inside_a_window(holes: int, reason: str) -> None:
    bars = _bars(60)
    bars = bars.drop(index=range(40, 40 + holes))
    found = windows.build(["AAA"], [bars["session"].iloc[-1]], windows.quoted_bars(bars), 30)
    assert found.reasons[0] == reason
    assert (f"{holes} exchange sessions" in found.details[0]) == bool(reason)


@pytest.mark.parametrize("defect", [{"close": np.nan}, {"close": 0.0}, {"close": -3.0}, {"volume": np.nan}])
def test_rows_without_a_usable_price_or_volume_are_not_quoted_bars(defect: dict[str, float]) -> None:
    bars = _bars()
    for column, value in defect.items():
        bars.loc[35, column] = value
    found = _build(bars, 35)
    assert found.reasons[0] == "no_bar_on_date"


def test_duplicate_bars_are_refused_with_ticker_and_date() -> None:
    bars = pd.concat([_bars(), _bars().iloc[[7]]])
    with pytest.raises(DataError, match="AAA has two bars on 2015-01-13"):
        windows.quoted_bars(bars)


@pytest.mark.parametrize("ratio", [0.0, -1.0, np.nan, np.inf])
def test_impossible_split_ratios_are_refused(ratio: float) -> None:
    bars = _bars()
    bars.loc[3, "split_ratio"] = ratio
    with pytest.raises(DataError, match="split_ratio"):
        windows.quoted_bars(bars)


def test_the_order_of_the_bars_does_not_matter() -> None:
    bars = pd.concat([_bars(ticker="AAA"), _bars(ticker="BBB")])
    bars.iloc[50, 4] = 2.0
    shuffled = bars.sample(frac=1.0, random_state=5)
    one, other = (
        windows.build(["BBB"], [bars["session"].iloc[-1]], windows.quoted_bars(b), 30) for b in (bars, shuffled)
    )
    assert one.closes.tobytes() == other.closes.tobytes()


def test_twenty_bars_in_a_row_or_the_last_five_without_volume_are_a_defect() -> None:
    volumes = np.ones((4, 60))
    volumes[1, 10:30] = 0.0
    volumes[2, 10:29] = 0.0
    volumes[3, -5:] = 0.0
    found = windows.volume_defects(volumes)
    assert [bool(sentence) for sentence in found] == [False, True, False, True]
    assert "VWAP" in found[1]


def test_no_rows_give_no_windows() -> None:
    found = windows.build([], np.array([], dtype="datetime64[D]"), windows.quoted_bars(_bars()), 30)
    assert found.closes.shape == (0, 30)


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_step_that_no_split_explains_rejects_the_window_and_a_split_that_explains_it_does_not(factor: float) -> None:
    bars = _bars()
    bars.loc[20:, "close"] *= factor
    found = _build(bars, 35)
    assert found.reasons[0] == "unexplained_jump"
    assert np.isnan(found.closes).all()
    assert "a factor of 5" in found.details[0] or "a factor of 4.9" in found.details[0]
    bars.loc[20, "split_ratio"] = 1.0 / factor
    assert _build(bars, 35).reasons[0] == ""


@pytest.mark.parametrize("dropped", [slice(3, 12), slice(0, 12)])
def test_the_reason_of_a_reject_does_not_depend_on_how_far_back_the_bars_reach(dropped: slice) -> None:
    whole = _bars(80)
    bars = whole.drop(index=whole.index[40:60][dropped])
    alone = _build(bars.iloc[-45:], len(bars.iloc[-45:]) - 1)
    among = _build(bars, len(bars) - 1)
    assert alone.reasons[0] != ""
    assert (alone.reasons[0], alone.details[0]) == (among.reasons[0], among.details[0])
