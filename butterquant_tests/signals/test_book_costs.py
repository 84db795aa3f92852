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


def test_a_book_that_does_not_hold_the_order_has_no_slippage() -> None:
    found = costs_of(book(-1, [(100.01, 4.0)], [(99.99, 1e6)]))
    assert found["slippage_bps"].isna().all()
    assert found["half_spread_bps"].notna().all()


def test_the_last_book_before_an_open_counts_and_one_at_the_open_does() -> None:
    deep = [(100.0 - 1e-9, 1e6)]
    books = [book(minutes, [(100.0 + spread, 1e6)], deep) for minutes, spread in ((-50, 0.5), (0, 0.1), (1, 0.9))]
    found = costs_of(*books)
    assert found["hour"].tolist() == [NOON, NOON + pd.Timedelta(hours=1)]
    np.testing.assert_allclose(found["half_spread_bps"], [5.0, 45.0], rtol=1e-2)


def test_an_order_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive size"):
        costs_of(book(0, [(101.0, 1.0)], [(99.0, 1.0)]), notional=0.0)
