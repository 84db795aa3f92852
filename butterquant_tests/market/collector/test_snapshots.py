"""Books, instruments and tiers as the exchange words them become rows; what is none is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.market.collector.snapshots import (
    ends_of,
    listed_ms,
    read_book,
    read_instruments,
    read_tiers,
    states_of,
)
from butterquant_assets.market.collector.tables import DamagedAnswerError
from butterquant_assets.market.crypto_schemas import ORDER_BOOKS

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


def test_depth_is_missing_where_the_levels_end_before_ten_basis_points() -> None:
    asks = [[f"{100.05 + 0.001 * place:.3f}", "2", "0", "1"] for place in range(30)]
    book = {**BOOK, "asks": asks}
    # As many as were asked for, all of them within 10 bp: more lie behind them, unseen.
    summary, levels = read_book([book], "BTC", 0.1, asked=30)
    assert np.isnan(summary["ask_depth_10bp_usd"].iloc[0])
    assert summary["bid_depth_10bp_usd"].iloc[0] == pytest.approx((99.95 * 4 + 99.92 * 6) * 0.1)
    # Fewer than were asked for: that is the whole side. The twenty best are kept, and only they count as resting.
    summary, levels = read_book([book], "BTC", 0.1, asked=400)
    worth = sum(float(price) * float(size) for price, size, *_ in asks) * 0.1
    assert summary["ask_depth_10bp_usd"].iloc[0] == pytest.approx(worth)
    assert levels[levels["side"] == "ask"]["level"].tolist() == list(range(1, 21))
    assert summary["imbalance"].iloc[0] == pytest.approx((20 - 40) / 60)
    assert summary["levels"].iloc[0] == 3
    ORDER_BOOKS.schema.validate(summary)


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


def test_what_is_listed_but_rests_and_what_will_end_is_told() -> None:
    resting = {"instId": "OLD-USDT-SWAP", "state": "suspend", "expTime": "", "ctVal": ""}
    ending = {**SWAP, "expTime": "1714550400000"}
    other = {"instId": "BTC-USD-SWAP", "state": "suspend", "expTime": "1"}
    rows = [resting, ending, other, {**SWAP, "instId": "ETH-USDT-SWAP"}]
    assert states_of(rows) == {"OLD": "suspend"}
    assert ends_of(rows) == {"OLD": None, "BTC": 1714550400000, "ETH": None}
    with pytest.raises(DamagedAnswerError, match="expTime"):
        ends_of([{**SWAP, "expTime": "soon"}])
    with pytest.raises(DamagedAnswerError, match="instruments"):
        states_of(["text"])


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
