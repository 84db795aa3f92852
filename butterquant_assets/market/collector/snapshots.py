"""What an exchange says about one moment: order books, instruments, leverage tiers.

What belongs here: pure reading into rows of the store. What does not: asking (`collect_snapshots.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.market.collector.days import start_of
from butterquant_assets.market.collector.tables import DamagedAnswerError, Floats, as_times
from butterquant_assets.market.crypto_schemas import BOOK_LEVELS, INSTRUMENTS, LEVERAGE_TIERS, ORDER_BOOK_LEVELS
from butterquant_assets.market.crypto_schemas import ORDER_BOOKS as BOOKS
from butterquant_assets.market.schemas import empty_rows

DEPTH = 1e-3
"""10 bp."""

DEEP_LEVELS = 400
"""Levels a side to ask for: the most of this endpoint, which cost no more than few. A liquid coin's best 20 may lie
within 1 bp."""

SUFFIX = "-USDT-SWAP"


def read_book(
    rows: list[Any], coin: str, contract_value: float, asked: int = DEEP_LEVELS
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Row of `order_books` and rows of `order_book_levels`, of which the best `BOOK_LEVELS` a side are kept.

    The depth of a side is missing where its last level lies within 10 bp and more were cut off behind it.

    Parameters
    ----------
    rows
        data of the answer: one book
    contract_value
        coins in a contract
    asked
        levels a side asked for: a side with fewer is the whole side

    Raises
    ------
    DamagedAnswerError
        for an empty, crossed or unreadable book.
    """
    try:
        book = rows[0]
        taken = np.array([int(book["ts"])], np.int64)
        sides = {
            name: np.array([[float(level[0]), float(level[1])] for level in book[key]])
            for name, key in (("bid", "bids"), ("ask", "asks"))
        }
        bids, asks = sides["bid"], sides["ask"]
        bid, ask = float(bids[0, 0]), float(asks[0, 0])
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DamagedAnswerError(
            f"{coin}: a book cannot be read ({type(error).__name__}: {error}), expected bids and asks"
        ) from error
    if not 0 < bid < ask:
        raise DamagedAnswerError(f"{coin}: best bid {bid:g} and best ask {ask:g}, expected 0 < bid < ask")
    middle = (bid + ask) / 2
    depth = {
        "bid": _value_of(bids, bids[:, 0] >= middle * (1 - DEPTH), asked) * contract_value,
        "ask": _value_of(asks, asks[:, 0] <= middle * (1 + DEPTH), asked) * contract_value,
    }
    sides = {name: side[:BOOK_LEVELS] for name, side in sides.items()}
    resting = {name: float(levels[:, 1].sum()) for name, levels in sides.items()}
    total = resting["bid"] + resting["ask"]
    summary = {
        "taken_at": as_times(taken),
        "coin": [coin],
        "best_bid": [bid],
        "best_ask": [ask],
        "spread_bps": [(ask - bid) / middle * 1e4],
        "bid_depth_10bp_usd": [depth["bid"]],
        "ask_depth_10bp_usd": [depth["ask"]],
        "imbalance": [(resting["bid"] - resting["ask"]) / total if total > 0 else 0.0],
        "levels": [min(map(len, sides.values()))],
    }
    levels = [
        {
            "taken_at": as_times(taken)[0],
            "coin": coin,
            "side": name,
            "level": place,
            "price": price,
            "size": size * contract_value,
        }
        for name, side in sides.items()
        for place, (price, size) in enumerate(side.tolist(), start=1)
    ]
    return typed(BOOKS, pd.DataFrame(summary)), typed(ORDER_BOOK_LEVELS, pd.DataFrame(levels))


def _value_of(side: Floats, near: npt.NDArray[np.bool_], asked: int) -> float:
    """Price times size of the near levels of a side; NaN where nearer ones may have been cut off."""
    if near[-1] and len(side) >= asked:
        return float("nan")
    return float((side[near, 0] * side[near, 1]).sum())


def read_instruments(rows: list[Any], day: str) -> pd.DataFrame:
    """Rows of `instruments`: the linear swaps settled in USDT that are live.

    One that is announced or suspended may lack figures; it cannot be collected either.

    Raises
    ------
    DamagedAnswerError
        for rows that are no instruments.
    """
    try:
        found = [
            {
                "day": np.datetime64(day, "us"),
                "coin": str(row["instFamily"]).removesuffix("-USDT"),
                "inst_id": str(row["instId"]),
                "contract_value": float(row["ctVal"]) * float(row.get("ctMult") or 1),
                "tick_size": float(row["tickSz"]),
                "lot_size": float(row["lotSz"]),
                "max_leverage": float(row["lever"]),
                "listed_at": np.datetime64(int(row["listTime"]), "ms") if row["listTime"] else np.datetime64("NaT"),
                "state": str(row["state"]),
            }
            for row in rows
            if row.get("state") == "live"
            and row.get("settleCcy") == "USDT"
            and row.get("ctType") == "linear"
            and row["instId"].endswith(SUFFIX)
        ]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DamagedAnswerError(
            f"instruments: a row cannot be read ({type(error).__name__}: {error}), expected an instrument"
        ) from error
    return typed(INSTRUMENTS, pd.DataFrame(found, columns=INSTRUMENTS.columns))


def states_of(rows: list[Any]) -> dict[str, str]:
    """Coins of the listed USDT swaps that do not trade now, and the exchange's word for why.

    Raises
    ------
    DamagedAnswerError
        for rows that are no instruments.
    """
    return {coin: str(row["state"]) for coin, row in _listed(rows) if row.get("state") not in ("live", None)}


def ends_of(rows: list[Any]) -> dict[str, int | None]:
    """When each listed USDT swap ceases to trade, ms; None where that is not announced.

    Raises
    ------
    DamagedAnswerError
        for rows that are no instruments.
    """
    try:
        return {coin: int(row["expTime"]) if row.get("expTime") else None for coin, row in _listed(rows)}
    except (TypeError, ValueError) as error:
        raise DamagedAnswerError(f"instruments: an expTime cannot be read ({error}), expected ms as text") from error


def _listed(rows: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    try:
        named = [(str(row["instId"]), row) for row in rows]
    except (TypeError, KeyError) as error:
        raise DamagedAnswerError(
            f"instruments: a row cannot be read ({type(error).__name__}: {error}), expected an instrument"
        ) from error
    return [(name.removesuffix(SUFFIX), row) for name, row in named if name.endswith(SUFFIX)]


def read_tiers(rows: list[Any], day: str) -> pd.DataFrame:
    """Rows of `leverage_tiers`.

    Raises
    ------
    DamagedAnswerError
        for rows that are no tiers.
    """
    try:
        found = [
            {
                "day": np.datetime64(day, "us"),
                "coin": str(row["instFamily"] or row["uly"]).removesuffix("-USDT"),
                "tier": int(row["tier"]),
                "min_contracts": float(row["minSz"]),
                "max_contracts": float(row["maxSz"]),
                "maintenance_margin_rate": float(row["mmr"]),
                "initial_margin_rate": float(row["imr"]),
                "max_leverage": float(row["maxLever"]),
            }
            for row in rows
        ]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DamagedAnswerError(
            f"tiers: a row cannot be read ({type(error).__name__}: {error}), expected a tier"
        ) from error
    return typed(LEVERAGE_TIERS, pd.DataFrame(found, columns=LEVERAGE_TIERS.columns))


def typed(contract: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in the types of a contract."""
    if rows.empty:
        return empty_rows(contract)[rows.columns]
    types = empty_rows(contract).dtypes
    return rows.astype({name: types[name] for name in rows.columns})


def listed_ms(instruments: pd.DataFrame) -> dict[str, int]:
    """When each coin was listed, ms; 0 where the exchange does not say."""
    stamps = instruments["listed_at"].fillna(pd.Timestamp(start_of("1970-01-01"), unit="ms"))
    return dict(zip(instruments["coin"], (stamps.to_numpy("datetime64[ms]").astype(np.int64)).tolist(), strict=True))
