"""Rows that cannot be true are left out with their reason; the rest passes the contracts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.market.crypto_cleaning import missing_notes, screen, settle, without_rejected
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_coverage import cover
from butterquant_assets.market.crypto_schemas import CRYPTO_REJECTS
from butterquant_assets.market.crypto_sources.files import FilesCryptoSource
from butterquant_tests.market.crypto_cases import LATER, hours_of, raw_bars
from butterquant_tests.shared_data import data_dir


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"low": 0.0}, "non_positive_price"),
        ({"close": -1.0}, "non_positive_price"),
        ({"open": np.nan}, "non_positive_price"),
        ({"high": np.inf}, "non_positive_price"),
        ({"high": 1.0}, "ohlc_violation"),
        ({"volume": -3.0}, "bad_amount"),
        ({"volume": np.nan}, "bad_amount"),
        ({"hour": pd.Timestamp("2024-01-01 05:00:01")}, "off_the_clock"),
        ({"hour": pd.NaT}, "no_stamp"),
        ({"coin": None}, "no_stamp"),
    ],
)
def test_an_impossible_bar_is_refused_with_its_reason_and_the_others_stay(change: dict, reason: str) -> None:
    raw = raw_bars(hours=24)
    for name, value in change.items():
        raw.loc[5, name] = value
    found = screen("crypto_bars", raw)
    assert found.rejects["reason"].tolist() == [reason]
    assert found.rejects["action"].tolist() == ["rejected"]
    assert len(found.rows) == 23
    assert CRYPTO_REJECTS.validate(CRYPTO_REJECTS.arrange(found.rejects)).passed


def test_the_value_that_broke_the_rule_is_kept() -> None:
    raw = raw_bars(hours=3)
    raw.loc[1, "volume"] = -3.0
    assert "volume -3.0" in screen("crypto_bars", raw).rejects["value"].iloc[0]


def test_of_repeated_rows_the_last_counts_and_the_others_are_told_apart() -> None:
    raw = raw_bars(hours=3)
    revised = raw.iloc[[1]].assign(close=raw["high"].iloc[1])
    found = screen("crypto_bars", pd.concat([raw, raw.iloc[[0]], revised], ignore_index=True))
    assert sorted(found.rejects["reason"]) == ["duplicate", "revised"]
    assert found.rows["close"].iloc[1] == raw["high"].iloc[1]
    assert len(found.rows) == 3


def test_a_bar_that_has_not_closed_yet_is_refused_until_it_has() -> None:
    raw = raw_bars(hours=3)
    assert screen("crypto_bars", raw, np.datetime64("2024-01-01T02:59")).rejects["reason"].tolist() == ["future"]
    assert screen("crypto_bars", raw, np.datetime64("2024-01-01T03:00")).rejects.empty


def test_open_interest_of_zero_is_a_recorder_that_had_not_started() -> None:
    hours = hours_of("2024-01-01")[:3]
    raw = pd.DataFrame({"hour": hours, "coin": "BTC", "open_interest": [0.0, 5.0, 6.0], "open_interest_usd": np.nan})
    assert screen("open_interest", raw).rejects["reason"].tolist() == ["zero"]


def test_a_crossed_book_is_refused() -> None:
    row = {"best_bid": 101.0, "best_ask": 100.0, "spread_bps": 1.0, "imbalance": 0.0, "levels": 1}
    raw = pd.DataFrame([{"taken_at": pd.Timestamp("2024-01-01"), "coin": "BTC", **row}])
    raw = raw.assign(bid_depth_10bp_usd=1.0, ask_depth_10bp_usd=1.0)
    assert screen("order_books", raw).rejects["reason"].tolist() == ["crossed"]


def test_screening_depends_on_no_other_row() -> None:
    raw = raw_bars(hours=48)
    raw.loc[[3, 30], "low"] = 0.0
    whole = screen("crypto_bars", raw).rejects
    halves = [screen("crypto_bars", part).rejects for part in (raw.iloc[:24], raw.iloc[24:])]
    pd.testing.assert_frame_equal(whole, pd.concat(halves, ignore_index=True))


def test_intervals_of_2_4_and_8_hours_are_read_off_the_settlements_themselves() -> None:
    hours = [0, 8, 16, 18, 20, 24, 28, 52]
    stamps = np.datetime64("2024-01-01", "us") + np.array(hours) * np.timedelta64(1, "h")
    stamps += np.array([0, 4, -2, 1, 0, 3, 0, 1]) * np.timedelta64(1, "ms")
    rows = pd.DataFrame({"settled_at": stamps, "coin": "SOL", "funding_rate": 1e-4, "mark_price": np.nan})
    found = settle(rows.assign(interval_hours=np.nan))["interval_hours"]
    # The first of four hours was one of two hours after one that did not come, had the next not come as late.
    assert found.isna().tolist() == [True, *[False] * 6, True]
    assert found.dropna().tolist() == [8, 8, 2, 2, 4, 4]


def test_an_interval_the_exchange_stated_is_kept() -> None:
    rows = pd.DataFrame({"settled_at": [pd.Timestamp("2024-01-01")], "coin": ["SOL"], "interval_hours": [4.0]})
    assert settle(rows)["interval_hours"].tolist() == [4.0]


def test_a_refused_row_is_missing_after_all_but_a_repeated_one_is_not() -> None:
    raw = raw_bars(hours=24)
    complete = cover(raw, "hour", {"BTC": hours_of("2024-01-01")}, over=True)
    repeated = screen("crypto_bars", pd.concat([raw, raw.iloc[[4]]]))
    assert without_rejected(complete, "crypto_bars", repeated.rejects, repeated.rows) == complete
    raw.loc[4, "low"] = 0.0
    refused = screen("crypto_bars", raw)
    torn = without_rejected(complete, "crypto_bars", refused.rejects, refused.rows)
    assert torn.missing == {"BTC": ("2024-01-01T04:00",)}
    assert (torn.received, torn.complete) == (23, False)


def test_every_missing_stamp_gets_a_note() -> None:
    coverage = cover(raw_bars(hours=24).drop([7]), "hour", {"BTC": hours_of("2024-01-01")}, over=True)
    notes = missing_notes("crypto_bars", [coverage])
    assert notes["at"].tolist() == [pd.Timestamp("2024-01-01 07:00")]
    assert notes["action"].tolist() == ["noted"]


def test_a_stamp_with_a_good_row_beside_a_broken_one_is_not_missing() -> None:
    raw = raw_bars(hours=24)
    complete = cover(raw, "hour", {"BTC": hours_of("2024-01-01")}, over=True)
    found = screen("crypto_bars", pd.concat([raw.iloc[[4]].assign(low=0.0), raw], ignore_index=True))
    assert found.rejects["reason"].tolist() == ["non_positive_price"]
    assert without_rejected(complete, "crypto_bars", found.rejects, found.rows) == complete


def settlements(hours: list[float], coin: str = "SOL") -> pd.DataFrame:
    stamps = np.datetime64("2024-01-01", "us") + (np.array(hours) * 3.6e9).astype("timedelta64[us]")
    return pd.DataFrame(
        {"settled_at": stamps, "coin": coin, "funding_rate": 1e-4, "interval_hours": np.nan, "mark_price": np.nan}
    )


def test_one_settlement_told_twice_is_kept_once_and_the_other_is_in_the_rejects() -> None:
    moment = 5e-3 / 3600
    raw = pd.concat([settlements([0, 8, 8 + moment, 16]), settlements([8 + 2 * moment], "BTC")], ignore_index=True)
    found = screen("funding_rates", raw)
    assert found.rejects[["coin", "reason", "action"]].to_numpy().tolist() == [["SOL", "duplicate", "rejected"]]
    assert found.rejects["at"].tolist() == [raw["settled_at"].iloc[2]]
    assert len(found.rows) == 4


@pytest.mark.parametrize(
    ("hours", "intervals"),
    [
        ([0, 2, 4, 6, 8, 16, 24, 32], [2, 2, 2, 2, 8, 8, 8]),  # two hours to eight, as SOL in November 2022
        ([0, 4, 8, 16, 24], [4, 4, 8, 8]),
        ([0, 2, 4, 8, 12, 20, 28], [2, 2, 4, 4, 8, 8]),
        ([0, 2, 4, 8, 16, 24], [2, 2, None, 8, 8]),  # two to four to eight: nothing tells four from one that was lost
        ([0, 2, 4, 12, 14, 16], [2, 2, None, 2, 2]),  # three of two hours that did not come
        ([0, 4, 8, 16], [4, 4, None]),  # not known yet
    ],
)
def test_a_lengthened_interval_is_told_from_settlements_that_did_not_come(
    hours: list[float], intervals: list[float | None]
) -> None:
    found = settle(settlements(hours))["interval_hours"].iloc[1:]
    assert [None if np.isnan(value) else value for value in found] == intervals


def test_a_real_interval_that_went_from_two_hours_to_eight_at_once_is_known() -> None:
    """SOL on Binance in November 2022: every eight hours, every four, every two, and every eight again."""
    source = FilesCryptoSource(CryptoConfig(source="files", data_dir=data_dir(), recording="perp"), lambda: LATER)
    days = [f"2022-11-{day:02d}" for day in range(9, 21)]
    whole = source.fetch("funding_rates", days).rows
    sol = whole[whole["coin"] == "SOL"]
    assert sol["interval_hours"].notna().all()
    assert sol["interval_hours"].drop_duplicates().tolist() == [8.0, 4.0, 2.0]
    longer = sol[(sol["interval_hours"] == 8) & (sol["interval_hours"].shift() == 2)]
    assert len(longer) == 1
    alone = source.fetch("funding_rates", [f"{longer['settled_at'].iloc[0]:%Y-%m-%d}"]).rows
    known = alone[alone["settled_at"] == longer["settled_at"].iloc[0]].set_index("coin")
    assert known.loc["SOL", "interval_hours"] == 8


def test_a_settlement_of_a_four_hour_coin_that_did_not_come_makes_no_interval_of_eight() -> None:
    found = settle(settlements([0, 4, 8, 16, 20, 24]))["interval_hours"]
    assert found.isna().tolist() == [True, False, False, True, False, False]
    assert set(found.dropna()) == {4.0}
