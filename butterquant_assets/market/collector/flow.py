"""Trades of one hour of one coin, and the row of `trade_flow` they make.

What belongs here: pure reading, counting and the question whether all trades are there. What does not: paging through
them (`collect_trades.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from butterquant_assets.market.collector.tables import DamagedAnswerError, Floats, Ints

VOLUME_SLACK = 1e-6
"""Relative difference between the trades' volume and the bar's that is rounding."""

VOLUME_DOUBT = 0.02
"""Beyond this the trades are not those of the bar, even if two looks agree."""


@dataclass(frozen=True)
class Trades:
    """Trades in order of number; arrays of shape (n,), sizes in contracts."""

    identity: Ints
    time: Ints
    price: Floats
    size: Floats
    buy: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.identity)

    def joined(self, other: Trades) -> Trades:
        """Both together, each trade once; where they differ the other's counts."""
        return _unique(
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in ("identity", "time", "price", "size", "buy")
            )
        )

    def within(self, first: int, end: int) -> Trades:
        """Those with first <= time < end."""
        kept = (self.time >= first) & (self.time < end)
        return Trades(self.identity[kept], self.time[kept], self.price[kept], self.size[kept], self.buy[kept])


def no_trades() -> Trades:
    """None."""
    whole, real = np.empty(0, np.int64), np.empty(0)
    return Trades(whole, whole, real, real, np.empty(0, bool))


def read_trades(rows: list[Any]) -> Trades:
    """Trades of one answer.

    Raises
    ------
    DamagedAnswerError
        for rows that are no trades.
    """
    if not rows:
        return no_trades()
    try:
        return _unique(
            np.array([int(row["tradeId"]) for row in rows], np.int64),
            np.array([int(row["ts"]) for row in rows], np.int64),
            np.array([float(row["px"]) for row in rows]),
            np.array([float(row["sz"]) for row in rows]),
            np.array([{"buy": True, "sell": False}[row["side"]] for row in rows]),
        )
    except (TypeError, ValueError, KeyError) as error:
        raise DamagedAnswerError(
            f"trades: a row cannot be read ({type(error).__name__}: {error}), expected a trade"
        ) from error


def same(one: Trades, other: Trades) -> bool:
    """Whether both are the same trades."""
    return np.array_equal(one.identity, other.identity) and np.array_equal(one.size, other.size)


def flow(trades: Trades, contract_value: float, large_from_usd: float) -> dict[str, float | int]:
    """Row of `trade_flow`, without hour and coin.

    Parameters
    ----------
    trades
        all of one hour
    contract_value
        coins in a contract
    large_from_usd
        value from which a trade counts as large
    """
    coins = trades.size * contract_value
    large = coins * trades.price >= large_from_usd
    buy = trades.buy
    return {
        "buy_volume": _total(coins[buy]),
        "sell_volume": _total(coins[~buy]),
        "trades": len(trades),
        "large_trades": int(large.sum()),
        "large_buy_volume": _total(coins[large & buy]),
        "large_sell_volume": _total(coins[large & ~buy]),
        "large_from_usd": float(large_from_usd),
    }


def off_by(trades: Trades, contract_value: float, volume: float) -> float:
    """Relative difference between the trades' volume and that of their bar (coins); 0 for two empty ones."""
    traded = float(trades.size.sum()) * contract_value
    largest = max(traded, volume)
    return abs(traded - volume) / largest if largest > 0 else 0.0


def _total(values: Floats) -> float:
    return round(float(values.sum()), 10)


def _unique(identity: Any, time: Any, price: Any, size: Any, buy: Any) -> Trades:
    # The last of equal numbers is the one that was told last.
    _, place = np.unique(identity[::-1], return_index=True)
    last = len(identity) - 1 - place
    return Trades(identity[last], time[last], price[last], size[last], buy[last])
