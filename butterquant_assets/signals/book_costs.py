"""What crossing the book would have cost at the open of each hour: half-spread, and slippage of walking the levels.

What belongs here: the last snapshot before an open, and what it says for one size of order. What does not: how an
execution uses it (`paper`), and what was paid in the end (`costs`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.schemas import BOOK_COSTS
from butterquant_assets.signals.versions import require_columns

Floats = npt.NDArray[np.float64]


def book_costs(books: pd.DataFrame, levels: pd.DataFrame, notional_usd: float) -> pd.DataFrame:
    """Half-spread and slippage at the open of each hour, by coin.

    Parameters
    ----------
    books
        snapshots: taken_at (naive UTC), coin, best_bid, best_ask
    levels
        of the same snapshots: taken_at, coin, side (bid, ask), level (1 is the best), price, size (coins)
    notional_usd
        size of the order

    Returns
    -------
    DataFrame
        columns of `schemas.BOOK_COSTS`, one row per coin and hour for which a snapshot was taken within the hour before
        its open (at the open itself included; the last one counts). half_spread_bps is half the distance of the best
        prices, slippage_bps how much worse than the best price the order fills on average, the mean of both sides; both
        in bps of the middle price. Where the levels kept do not hold that much (not holds_order), the rest is priced at
        the last of them, which is too cheap if anything; without levels on a side slippage_bps is missing.

    Raises
    ------
    DataError
        if columns are missing.
    ConfigError
        if the notional is not positive.
    """
    if not notional_usd > 0:
        raise ConfigError(f"notional_usd is {notional_usd}, expected a positive size of order")
    require_columns(books, ("taken_at", "coin", "best_bid", "best_ask"), "books")
    require_columns(levels, ("taken_at", "coin", "side", "level", "price", "size"), "book levels")
    rows = books.sort_values(["taken_at", "coin"], kind="stable")
    rows = rows.assign(hour=rows["taken_at"].dt.ceil("h")).drop_duplicates(["hour", "coin"], keep="last")
    middle = (rows["best_bid"] + rows["best_ask"]) / 2.0
    rows = rows.assign(half_spread_bps=1e4 * (rows["best_ask"] - rows["best_bid"]) / 2.0 / middle, middle=middle)
    wanted = levels.merge(rows[["taken_at", "coin", "hour", "middle"]], on=["taken_at", "coin"])
    slips = [_slippage(wanted[wanted["side"] == side], notional_usd) for side in ("bid", "ask")]
    bid, ask = slips
    both = bid.merge(ask, on=["hour", "coin"], suffixes=("", "_ask"))
    both["slippage_bps"] = (both["slippage_bps"] + both["slippage_bps_ask"]) / 2.0
    both["holds_order"] = both["whole"] & both["whole_ask"]
    found = rows.merge(both[["hour", "coin", "slippage_bps", "holds_order"]], on=["hour", "coin"], how="left")
    found["holds_order"] = found["holds_order"].eq(True)  # without levels on a side: it does not
    return BOOK_COSTS.arrange(found.astype({"hour": "datetime64[us]", "slippage_bps": "float64"}))


def _slippage(side: pd.DataFrame, notional: float) -> pd.DataFrame:
    """Mean distance of the fill from the best price, and whether one side holds it: one row per hour and coin."""
    rows = side.sort_values(["hour", "coin", "level"], kind="stable").reset_index(drop=True)
    keys = [rows["hour"], rows["coin"]]
    value = rows["price"] * rows["size"]
    before = value.groupby(keys).cumsum() - value
    taken = np.minimum(value, np.maximum(notional - before, 0.0))
    best = rows["price"].groupby(keys).transform("first")
    # The mean of both sides is charged to a seller too, who cannot lose more than the price.
    distance = np.minimum(1e4 * (rows["price"] - best).abs() / rows["middle"], 1e4)
    walked = pd.DataFrame({"taken": taken, "cost": taken * distance, "last": distance}).groupby(keys)
    sums = walked[["taken", "cost"]].sum()
    rest = np.maximum(notional - sums["taken"], 0.0)
    slippage = (sums["cost"] + rest * walked["last"].last()) / notional
    return pd.DataFrame({"slippage_bps": slippage, "whole": rest <= notional * 1e-9}).reset_index()
