from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.book_costs import book_costs
from butterquant_assets.signals.schemas import BOOK_COSTS

NOON = pd.Timestamp("2024-03-01 12:00")


def book(minutes: float, asks: list[tuple[float, float]], bids: list[tuple[float, float]], coin: str = "AAA") -> Any:
    """One snapshot, some minutes after noon, from levels given as (price, size)."""
    at = NOON + pd.Timedelta(minutes=minutes)
    rows = [
        {"taken_at": at, "coin": coin, "side": side, "level": level, "price": price, "size": size}
        for side, levels in (("ask", asks), ("bid", bids))
        for level, (price, size) in enumerate(levels, 1)
    ]
    head = {"taken_at": at, "coin": coin, "best_bid": bids[0][0], "best_ask": asks[0][0]}
    return pd.DataFrame([head]).astype({"taken_at": "datetime64[us]"}), pd.DataFrame(rows).astype(
        {"taken_at": "datetime64[us]"}
    )


def costs_of(*books: Any, notional: float = 1000.0) -> pd.DataFrame:
    heads, levels = zip(*books, strict=True)
    return book_costs(pd.concat(heads, ignore_index=True), pd.concat(levels, ignore_index=True), notional)


def test_an_order_walks_the_levels_it_needs() -> None:
    # 400 at the best price and 600 one bp of the middle beyond it, on either side.
    found = costs_of(book(-1, [(100.01, 4.0), (100.02, 1e6)], [(99.99, 4.0), (99.98, 1e6)]))
    assert BOOK_COSTS.validate(found).reasons() == []
    assert found["hour"].tolist() == [NOON]
    np.testing.assert_allclose(found["half_spread_bps"], 1.0)
    np.testing.assert_allclose(found["slippage_bps"], 0.6, rtol=1e-3)


def test_a_book_that_does_not_hold_the_order_costs_at_least_the_whole_walk_and_says_so() -> None:
    bids = [(99.99, 4.0), (99.49, 4.0), (98.99, 4.0)]
    asks = [(100.01, 4.0), (100.51, 4.0), (101.01, 4.0)]
    whole, thin = (costs_of(book(-1, asks, bids), notional=notional) for notional in (1180.0, 2000.0))
    assert (whole["holds_order"].tolist(), thin["holds_order"].tolist()) == ([True], [False])
    assert BOOK_COSTS.validate(thin).reasons() == []
    np.testing.assert_allclose(whole["slippage_bps"], 49.2, rtol=1e-2)
    # 400 at the best price, 400 at 50 bps, and the other 1,200 at the last level's 100.
    np.testing.assert_allclose(thin["slippage_bps"], (400 * 50 + 1200 * 100) / 2000, rtol=1e-2)
    one_sided = costs_of(book(-1, asks, [(99.99, 1e6)]), notional=2000.0)
    assert one_sided["holds_order"].tolist() == [False]


def test_an_order_that_finds_less_beyond_the_best_prices_never_pays_less() -> None:
    asks, bids = [(100.01, 4.0), (100.51, 4.0), (101.01, 1e6)], [(99.99, 1e6)]
    slips = [
        costs_of(book(-1, [(price, size * share) for price, size in asks[:2]] + asks[2:], bids))["slippage_bps"].item()
        for share in (1.0, 0.5, 0.1)
    ]
    assert slips == sorted(slips)
    assert costs_of(book(-1, [*asks[:2], (101.01, 1.0)], bids))["slippage_bps"].item() == pytest.approx(slips[0])


def test_a_book_without_levels_on_a_side_has_no_slippage() -> None:
    heads, levels = book(-1, [(100.01, 4.0)], [(99.99, 1e6)])
    found = costs_of((heads, levels[levels["side"] == "bid"]))
    assert found["slippage_bps"].isna().all()
    assert found["half_spread_bps"].notna().all()
    assert found["holds_order"].tolist() == [False]


def test_a_stub_quote_costs_no_more_than_the_price() -> None:
    found = costs_of(book(-1, [(100.01, 0.1), (1e5, 1e6)], [(99.99, 1e6)]))
    assert found["slippage_bps"].item() < 1e4


def test_the_last_book_before_an_open_counts_and_one_at_the_open_does() -> None:
    deep = [(100.0 - 1e-9, 1e6)]
    books = [book(minutes, [(100.0 + spread, 1e6)], deep) for minutes, spread in ((-50, 0.5), (0, 0.1), (1, 0.9))]
    found = costs_of(*books)
    assert found["hour"].tolist() == [NOON, NOON + pd.Timedelta(hours=1)]
    np.testing.assert_allclose(found["half_spread_bps"], [5.0, 45.0], rtol=1e-2)


def test_an_order_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive size"):
        costs_of(book(0, [(101.0, 1.0)], [(99.0, 1.0)]), notional=0.0)
