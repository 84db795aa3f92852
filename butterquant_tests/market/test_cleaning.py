from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import SourceError
from butterquant_assets.market.cleaning import clean_equity_bars, clean_implied_vols, clean_index_bars, clean_vix
from butterquant_assets.market.schemas import BAR_REJECTS, EQUITY_BARS, IMPLIED_VOLS, INDEX_BARS, VIX
from butterquant_tests.market.raw_bars import raw_bars, some_sessions


def reasons(cleaned) -> dict[str, int]:
    return cleaned.rejects["reason"].value_counts().to_dict()


def test_good_bars_all_stay():
    raw = pd.concat([raw_bars(60, "BBB"), raw_bars(30, "AAA")], ignore_index=True)
    cleaned = clean_equity_bars(raw, None, quoted=False)
    assert len(cleaned.rows) == 90
    assert cleaned.rejects.empty
    assert EQUITY_BARS.validate(cleaned.rows).passed
    assert not cleaned.rows["quoted"].any()


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("close", 0.0, "non_positive_price"),
        ("low", -3.0, "non_positive_price"),
        ("open", np.nan, "missing_price"),
        ("high", np.inf, "missing_price"),
        ("high", 1.0, "ohlc_violation"),
        ("volume", np.nan, "missing_volume"),
        ("volume", -100.0, "negative_volume"),
        ("dividend", -0.5, "invalid_dividend"),
        ("session", pd.Timestamp("2016-02-06"), "not_a_session"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason_and_every_other_row_stays(column, value, reason):
    raw = raw_bars(60)
    raw.loc[17, column] = value
    cleaned = clean_equity_bars(raw, None, quoted=False)
    assert reasons(cleaned) == {reason: 1}
    assert cleaned.rejects.loc[0, "row"] == "bars.parquet row 18"
    assert cleaned.rejects.loc[0, "action"] == "rejected"
    assert set(cleaned.rows["session"]) == set(raw_bars(60)["session"].drop(17))
    assert EQUITY_BARS.validate(cleaned.rows).passed
    assert BAR_REJECTS.validate(cleaned.rejects).passed


def test_of_identical_bars_one_stays():
    raw = raw_bars(60)
    cleaned = clean_equity_bars(pd.concat([raw, raw.iloc[[5, 5]].assign(line=[61, 62])]), None, quoted=False)
    assert len(cleaned.rows) == 60
    assert reasons(cleaned) == {"duplicate": 2}
    assert cleaned.rejects["row"].tolist() == ["bars.parquet row 61", "bars.parquet row 62"]


def test_of_conflicting_bars_none_stays():
    raw = raw_bars(60)
    other = raw.iloc[[5, 5]].assign(line=[61, 62], volume=[1000.0 * 6, 7.0])
    cleaned = clean_equity_bars(pd.concat([raw, other], ignore_index=True), None, quoted=False)
    assert len(cleaned.rows) == 59
    assert raw["session"][5] not in set(cleaned.rows["session"])
    assert cleaned.rejects["row"].tolist() == ["bars.parquet row 6", "bars.parquet row 61", "bars.parquet row 62"]


def test_a_bar_that_conflicts_only_with_an_impossible_one_stays():
    raw = raw_bars(60)
    cleaned = clean_equity_bars(pd.concat([raw, raw.iloc[[5]].assign(line=61, close=-1.0)]), None, quoted=False)
    assert len(cleaned.rows) == 60
    assert reasons(cleaned) == {"non_positive_price": 1}


def test_an_isolated_absurd_bar_is_rejected_but_a_split_is_not():
    raw = raw_bars(60)
    raw.loc[20, ["open", "high", "low", "close"]] *= 100
    raw.loc[40:, ["open", "high", "low", "close"]] /= 8
    splits = pd.DataFrame({"session": [raw["session"][40]], "ticker": ["AAA"], "split_ratio": [8.0]})
    cleaned = clean_equity_bars(raw, splits, quoted=True)
    assert reasons(cleaned) == {"absurd_jump": 1}
    assert cleaned.rows["split_ratio"].prod() == 8.0


def test_an_unexplained_step_and_a_gap_are_noted_and_every_row_stays():
    raw = raw_bars(60).drop(index=range(10, 18))
    raw.loc[40:, ["open", "high", "low", "close"]] *= 8
    cleaned = clean_equity_bars(raw, None, quoted=False)
    assert len(cleaned.rows) == 52
    assert cleaned.rejects[["reason", "action"]].to_numpy().tolist() == [
        ["gap", "noted"],
        ["unexplained_jump", "noted"],
    ]
    assert cleaned.rejects.loc[0, "detail"].startswith("8 sessions missing")


def test_stale_bars_are_rejected_from_the_fifth_on():
    raw = raw_bars(60)
    raw.loc[30:39, ["open", "high", "low", "close"]] = raw.loc[30, ["open", "high", "low", "close"]].to_numpy()
    raw.loc[31:39, "volume"] = 0.0
    cleaned = clean_equity_bars(raw, None, quoted=False)
    assert reasons(cleaned) == {"stale": 5}


def test_quoted_and_adjusted_files_of_the_same_history_give_identical_rows():
    quoted = raw_bars(60, price=400.0).assign(volume=lambda frame: frame["volume"] * 7)
    later = pd.DataFrame(
        {"session": pd.to_datetime(["2016-02-10", "2024-01-02"]), "ticker": "AAA", "split_ratio": [4.0, 1.061]}
    )
    factor = np.where(quoted["session"] < later["session"][0], 4.0, 1.0)
    for column in ("open", "high", "low", "close"):
        quoted[column] = np.round(quoted[column] * factor / 4, 2)
    adjusted = quoted.assign(volume=np.round(quoted["volume"] * factor * 1.061))
    for column in ("open", "high", "low", "close"):
        adjusted[column] = (quoted[column] / factor / 1.061).astype("float32").astype(float)
    expected = clean_equity_bars(quoted, later, quoted=True).rows
    assert expected["close"].tolist() == quoted["close"].tolist()
    pd.testing.assert_frame_equal(clean_equity_bars(adjusted, later, quoted=True).rows, expected, check_exact=True)


def test_cutting_later_bars_changes_no_earlier_row():
    raw = raw_bars(60)
    raw.loc[20, "close"] = -1.0
    raw.loc[25:35, ["open", "high", "low", "close", "volume"]] = [10.0, 10.0, 10.0, 10.0, 0.0]
    whole = clean_equity_bars(raw, None, quoted=False)
    for length in (22, 28, 33, 50):
        cut = clean_equity_bars(raw[:length], None, quoted=False)
        last = raw["session"][length - 1]
        earlier = whole.rows[whole.rows["session"] <= last].reset_index(drop=True)
        pd.testing.assert_frame_equal(cut.rows, earlier, check_exact=True)


def test_the_order_of_the_file_does_not_matter():
    raw = pd.concat([raw_bars(60, "BBB"), raw_bars(30, "AAA")], ignore_index=True)
    shuffled = raw.sample(frac=1.0, random_state=4)
    pd.testing.assert_frame_equal(
        clean_equity_bars(shuffled, None, quoted=False).rows, clean_equity_bars(raw, None, quoted=False).rows
    )


def test_a_half_adjusted_file_is_refused():
    raw = raw_bars(60)
    raw.loc[20:, ["open", "high", "low", "close"]] /= 4
    splits = pd.DataFrame({"session": raw["session"][[20, 40]], "ticker": "AAA", "split_ratio": [4.0, 2.0]})
    with pytest.raises(SourceError, match="correct the split table"):
        clean_equity_bars(raw, splits, quoted=True)


def test_index_bars_may_lack_volume_but_not_prices():
    raw = raw_bars(30).assign(volume=np.nan)
    raw.loc[3, "open"] = np.nan
    cleaned = clean_index_bars(raw)
    assert reasons(cleaned) == {"missing_price": 1}
    assert INDEX_BARS.validate(cleaned.rows).passed


def test_the_vix_close_survives_impossible_open_high_and_low():
    raw = raw_bars(30, "VIX")
    raw.loc[4, "open"] = 99.0
    raw.loc[5, "high"] = 1.0
    raw.loc[6, "low"] = -1.0
    raw.loc[7, "close"] = 0.0
    raw.loc[8, "session"] = pd.Timestamp("2016-01-18")  # Martin Luther King day
    cleaned = clean_vix(raw)
    assert reasons(cleaned) == {"ohlc_violation": 3, "non_positive_price": 1, "not_a_session": 1}
    assert len(cleaned.rows) == 28
    assert VIX.validate(cleaned.rows).passed
    blanked = cleaned.rows.loc[4:6, ["open", "high", "low", "close"]].isna().to_numpy().tolist()
    assert blanked == [[True, False, False, False], [True, True, True, False], [True, True, True, False]]


def test_implied_vols_need_whole_days_and_a_positive_volatility():
    days = some_sessions(4)
    raw = pd.DataFrame(
        {"session": days, "ticker": "AAA", "days": [21.0, 21.5, 30.0, 45.0], "iv": [0.3, 0.3, 0.0, np.nan]}
    ).assign(file="implied_vols.csv", place="line", line=[2, 3, 4, 5])
    cleaned = clean_implied_vols(raw)
    assert reasons(cleaned) == {"invalid_iv": 3}
    assert cleaned.rejects.loc[0, "row"] == "implied_vols.csv line 3"
    assert IMPLIED_VOLS.validate(cleaned.rows).passed
