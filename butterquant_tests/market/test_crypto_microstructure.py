"""Trades make up their bar; books surround the price."""

from __future__ import annotations

import numpy as np
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.market.crypto_microstructure import HOUR_MS, Bar, book_at, trades_of_hour

BAR = Bar(open=100.1, high=101.3, low=99.2, close=100.4, volume=1234.5, taker_buy=456.7)


@pytest.mark.parametrize("seed", range(20))
def test_trades_sum_to_the_bar_and_touch_its_prices(seed: int) -> None:
    trades = trades_of_hour(seed, 2, 470_000, BAR, 1)
    assert trades.price[0] == BAR.open
    assert trades.price[-1] == BAR.close
    assert trades.price.max() == BAR.high
    assert trades.price.min() == BAR.low
    assert round(trades.size.sum(), 6) == BAR.volume
    assert round(trades.size[trades.buy].sum(), 6) == BAR.taker_buy
    assert (trades.size >= 0.1).all()
    assert (np.diff(trades.time) >= 0).all()
    assert (np.diff(trades.identity) > 0).all()
    assert trades.time[0] >= 470_000 * HOUR_MS
    assert trades.time[-1] < 470_001 * HOUR_MS


@pytest.mark.parametrize(("volume", "bought"), [(20.0, 0.0), (20.0, 20.0), (4.0, 0.1), (4.0, 3.9)])
def test_one_sided_and_thin_hours_still_sum(volume: float, bought: float) -> None:
    trades = trades_of_hour(1, 0, 470_000, Bar(5, 6, 4, 5, volume, bought), 0)
    assert round(trades.size.sum(), 6) == volume
    assert round(trades.size[trades.buy].sum(), 6) == bought


def test_the_same_hour_has_the_same_trades() -> None:
    first, second = (trades_of_hour(1, 0, 470_000, BAR, 1) for _ in range(2))
    assert first.price.tobytes() == second.price.tobytes()
    assert first.time.tobytes() == second.time.tobytes()


@pytest.mark.parametrize("volume", [0.0, float("nan")])
def test_an_hour_without_volume_has_no_trades(volume: float) -> None:
    assert len(trades_of_hour(1, 0, 470_000, Bar(5, 5, 5, 5, volume, volume), 0).time) == 0


def test_an_hour_too_thin_to_have_four_trades_is_refused() -> None:
    with pytest.raises(DataError, match="trades 30 lots; expected none or at least 40"):
        trades_of_hour(1, 0, 470_000, Bar(5, 5, 5, 5, 3.0, 1.0), 0)


@pytest.mark.parametrize("price", [0.00012, 1.5, 64_000.5])
def test_a_book_is_ordered_on_ticks_and_around_the_price(price: float) -> None:
    decimals = 6
    book = book_at(1, 3, 99, price, 5_000.0, decimals, 20)
    assert book.bid_price[0] < price < book.ask_price[0]
    assert (np.diff(book.bid_price) < 0).all()
    assert (np.diff(book.ask_price) > 0).all()
    assert len(book.ask_price) == 20
    assert (book.bid_price > 0).all()
    assert (book.bid_size >= 0.1).all()
    middle = (book.bid_price[0] + book.ask_price[0]) / 2
    assert middle == pytest.approx(price, abs=10.0**-decimals)


def test_a_deeper_book_begins_with_the_usual_one() -> None:
    usual, deep = (book_at(1, 3, 99, 64_000.5, 5_000.0, 1, levels) for levels in (20, 400))
    for name in ("bid_price", "bid_size", "ask_price", "ask_size"):
        assert len(getattr(deep, name)) == 400
        assert np.array_equal(getattr(deep, name)[:20], getattr(usual, name))
    assert (np.diff(deep.bid_price) < 0).all()
    assert (np.diff(deep.ask_price) > 0).all()
