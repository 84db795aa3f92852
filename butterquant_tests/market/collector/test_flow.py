"""Trades of an hour become one row; numbers repeat, order varies, and the sums stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from butterquant_assets.market.collector.flow import flow, no_trades, off_by, read_trades, same
from butterquant_assets.market.collector.tables import DamagedAnswerError


def trade(number: int, side: str = "buy", size: str = "2", price: str = "100") -> dict[str, Any]:
    return {"tradeId": str(number), "ts": str(1_000 + number), "px": price, "sz": size, "side": side, "instId": "X"}


ROWS = [trade(3, "sell", "5", "110"), trade(1), trade(2, "sell", "1"), trade(4, "buy", "50", "90")]


def test_a_row_counts_sides_and_large_trades() -> None:
    row = flow(read_trades(ROWS), contract_value=0.1, large_from_usd=55.0)
    assert row == {
        "buy_volume": 5.2,
        "sell_volume": 0.6,
        "trades": 4,
        "large_trades": 2,
        "large_buy_volume": 5.0,
        "large_sell_volume": 0.5,
        "large_from_usd": 55.0,
    }
    assert flow(no_trades(), 0.1, 55.0)["trades"] == 0


def test_a_trade_that_comes_twice_counts_once_and_the_later_word_holds() -> None:
    found = read_trades([*ROWS, trade(2, "sell", "4")])
    assert found.identity.tolist() == [1, 2, 3, 4]
    assert found.size.tolist() == [2, 4, 5, 50]
    joined = found.joined(read_trades(ROWS))
    assert joined.size.tolist() == [2, 1, 5, 50]
    assert same(joined, read_trades(ROWS[::-1]))
    assert not same(joined, found)


def test_the_volume_is_compared_with_the_bar() -> None:
    trades = read_trades(ROWS)
    assert off_by(trades, 0.1, 5.8) == pytest.approx(0)
    assert off_by(trades, 0.1, 6.0) == pytest.approx(0.2 / 6)
    assert off_by(no_trades(), 0.1, 0.0) == 0
    assert off_by(no_trades(), 0.1, 3.0) == 1


def test_only_the_hours_own_trades_are_within_it() -> None:
    assert read_trades(ROWS).within(1_002, 1_004).identity.tolist() == [2, 3]
    assert np.array_equal(read_trades([]).identity, no_trades().identity)


@pytest.mark.parametrize("row", [{"tradeId": "1"}, trade(1, "both"), trade(1, size="many"), ["1"]])
def test_what_is_no_trade_is_damaged(row: Any) -> None:
    with pytest.raises(DamagedAnswerError, match="a row cannot be read"):
        read_trades([row])
