"""Books, instruments and tiers as the exchange words them become rows; what is none is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.market.collector.snapshots import listed_ms, read_book, read_instruments, read_tiers
from butterquant_assets.market.collector.tables import DamagedAnswerError

BOOK = {
    "ts": "1704067200123",
    "bids": [["99.95", "4", "0", "1"], ["99.92", "6", "0", "1"], ["99.0", "10", "0", "1"]],
    "asks": [["100.05", "5", "0", "1"], ["100.5", "5", "0", "1"]],
}
SWAP = {
    "instId": "BTC-USDT-SWAP",
    "instFamily": "BTC-USDT",
    "ctType": "linear",
    "settleCcy": "USDT",
    "ctVal": "0.01",
    "ctMult": "1",
    "tickSz": "0.1",
    "lotSz": "0.01",
    "lever": "100",
    "listTime": "1573557408000",
    "state": "live",
}


def test_a_book_becomes_a_summary_and_its_levels() -> None:
    summary, levels = read_book([BOOK], "BTC", 0.1)
    row = summary.iloc[0]
    assert row["taken_at"] == pd.Timestamp("2024-01-01 00:00:00.123")
    assert row["spread_bps"] == pytest.approx(10.0)
    # Within 10 bp of 100: bids down to 99.9, asks up to 100.1.
    assert row["bid_depth_10bp_usd"] == pytest.approx((99.95 * 4 + 99.92 * 6) * 0.1)
    assert row["ask_depth_10bp_usd"] == pytest.approx(100.05 * 5 * 0.1)
    assert row["imbalance"] == pytest.approx((20 - 10) / 30)
    assert row["levels"] == 2
    assert levels.groupby("side")["level"].max().to_dict() == {"ask": 2, "bid": 3}
    assert levels["size"].sum() == pytest.approx(3.0)


@pytest.mark.parametrize(
    "book",
    [
        [],
        [{**BOOK, "bids": []}],
        [{**BOOK, "bids": [["100.05", "1"]]}],
        [{**BOOK, "asks": [["many", "1"]]}],
        [{"bids": BOOK["bids"]}],
    ],
)
def test_an_empty_crossed_or_unreadable_book_is_damaged(book: list[Any]) -> None:
    with pytest.raises(DamagedAnswerError, match="BTC"):
        read_book(book, "BTC", 0.1)


def test_instruments_are_the_linear_usdt_swaps() -> None:
    inverse = {**SWAP, "instId": "BTC-USD-SWAP", "ctType": "inverse", "settleCcy": "BTC", "instFamily": "BTC-USD"}
    undated = {**SWAP, "instId": "NEW-USDT-SWAP", "instFamily": "NEW-USDT", "listTime": ""}
    dollars = {**SWAP, "instId": "BTC-USDC-SWAP", "settleCcy": "USDC", "instFamily": "BTC-USDC"}
    rows = read_instruments([SWAP, inverse, undated, dollars], "2024-05-01")
    assert rows["coin"].tolist() == ["BTC", "NEW"]
    assert rows.loc[0, ["contract_value", "tick_size", "lot_size", "max_leverage"]].tolist() == [0.01, 0.1, 0.01, 100]
    assert rows["listed_at"].isna().tolist() == [False, True]
    assert listed_ms(rows) == {"BTC": 1573557408000, "NEW": 0}
    with pytest.raises(DamagedAnswerError, match="instruments"):
        read_instruments([{**SWAP, "ctVal": ""}], "2024-05-01")


@pytest.mark.parametrize("state", ["preopen", "suspend"])
def test_an_instrument_that_is_not_live_is_left_out_even_where_it_lacks_figures(state: str) -> None:
    bare = {**SWAP, "instFamily": "NEW-USDT", "instId": "NEW-USDT-SWAP", "ctVal": "", "lever": "", "state": state}
    assert read_instruments([bare, SWAP], "2024-05-01")["coin"].tolist() == ["BTC"]


def test_tiers_are_in_contracts() -> None:
    tier = {
        **{"instFamily": "BTC-USDT", "uly": "BTC-USDT", "tier": "1", "minSz": "0", "maxSz": "1000"},
        **{"mmr": "0.004", "imr": "0.01", "maxLever": "100"},
    }
    row = read_tiers([tier], "2024-05-01").iloc[0]
    assert row.drop("day").tolist() == ["BTC", 1, 0, 1000, 0.004, 0.01, 100]
    assert row["day"] == pd.Timestamp("2024-05-01")
    assert read_tiers([], "2024-05-01").dtypes["day"] == np.dtype("datetime64[us]")
    with pytest.raises(DamagedAnswerError, match="tiers"):
        read_tiers([{**tier, "tier": "first"}], "2024-05-01")
