"""What trading costs: the cost table gate 4 reads, and reports of costs and funding.

What belongs here: estimates from earlier executions, and the constant where there are too few. What does not: how a
fill is made (`paper`). Costs are both sides' fees, half-spreads and slippage; funding is kept apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.gates import LONG
from butterquant_assets.signals.versions import content_version, picked, require_known, typed

Floats = npt.NDArray[np.float64]

FALLBACK_BPS = 14.0
"""Two taker fees of 5, and 1 each for half-spread and slippage of both sides."""
DOCUMENT_BPS = 6.0
"""The source document's constant: less than two taker fees."""
Constant = Literal["fees", "document"]
CONSTANTS: dict[str, float] = {"fees": FALLBACK_BPS, "document": DOCUMENT_BPS}
"""Either of them, by its name in the settings."""
MINIMUM_EXECUTIONS = 10
QUANTILE = 0.95
HOLDING_HOURS = 24.0
BUCKETS = ("0-8h", "8-24h", "24-48h", "48h+")
BUCKET_EDGES_HOURS = (8.0, 24.0, 48.0)
ALL = "all"

_PARTS = ("spread_bps", "slippage_bps", "fee_bps", "gap_bps")
_COST_COLUMNS = ("coin", "status", "paid_cost_bps", "cost_bps", "spread_known", "slippage_known", *_PARTS)
_FUNDING_COLUMNS = ("status", "held_hours", "funding_known", "paid_funding_bps", "funding_bps", "settlements")

COST_TABLE_TYPES = {
    "coin": "str",
    "executions": "int64",
    "median_bps": "float64",
    "p95_bps": "float64",
    "used_bps": "float64",
    "source": "str",
    "holding_hours": "float64",
    "fallback_bps": "float64",
    "as_of": "datetime64[us]",
    "version": "str",
}


@dataclass(frozen=True, eq=False)
class CostTable:
    """Expected cost by coin.

    Parameters
    ----------
    coins
        bps by coin, of coins with enough executions
    holding_hours
        for which funding is expected
    fallback_bps
        for other coins
    as_of
        when it was made; None for one that comes from no data
    """

    coins: dict[str, float] = field(default_factory=dict)
    holding_hours: float = HOLDING_HOURS
    fallback_bps: float = FALLBACK_BPS
    as_of: pd.Timestamp | None = None

    @property
    def version(self) -> str:
        """Content version."""
        facts = {"coins": sorted(self.coins.items()), "holding": self.holding_hours, "fallback": self.fallback_bps}
        return content_version(facts | {"as_of": self.as_of})

    def of(self, coin: pd.Series) -> Floats:
        """Expected cost of each row's coin in bps, shape (n,)."""
        return np.asarray(coin.map(self.coins).astype("float64").fillna(self.fallback_bps), dtype=np.float64)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, fallback_bps: float = FALLBACK_BPS) -> CostTable:
        """The table that `cost_table` returned as a frame; one without rows gives the constant handed in."""
        if frame.empty:
            return cls(fallback_bps=fallback_bps)
        head = frame.iloc[0]
        measured = frame[frame["source"] == "measured"]
        coins = dict(zip(measured["coin"].tolist(), measured["used_bps"].tolist(), strict=True))
        return cls(coins, float(head["holding_hours"]), float(head["fallback_bps"]), head["as_of"])


def cost_table(
    trades: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
    minimum: int = MINIMUM_EXECUTIONS,
    quantile: float = QUANTILE,
    fallback_bps: float = FALLBACK_BPS,
) -> pd.DataFrame:
    """Cost by coin from closed trades.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES` as they were known at `as_of`
    as_of
        naive UTC
    minimum
        executions a coin needs; with fewer the constant is used
    quantile
        of realised costs that is used
    fallback_bps
        the constant

    Returns
    -------
    DataFrame
        columns of `COST_TABLE_TYPES`, one row a coin: the median and the quantile of realised costs, what is used and
        whether it was ``measured`` or is the ``constant``; holding_hours is the mean of all closed trades

    Raises
    ------
    DataError
        if something was not known at `as_of`.
    ConfigError
        if a number makes no sense.
    """
    if minimum < 1 or not 0 < quantile <= 1 or not fallback_bps > 0:
        raise ConfigError(f"minimum {minimum}, quantile {quantile} and fallback_bps {fallback_bps} must be positive")
    trades = picked(trades, ("coin", "status", "known_at", "paid_cost_bps", "held_hours"), "trades")
    closed = trades[trades["status"] == "closed"]
    require_known(closed["known_at"], as_of, "closed trades")
    holding = float(closed["held_hours"].mean()) if len(closed) >= minimum else HOLDING_HOURS
    paid = closed.groupby("coin", sort=True)["paid_cost_bps"]
    table = pd.DataFrame({"executions": paid.size(), "median_bps": paid.median(), "p95_bps": paid.quantile(quantile)})
    table = table.rename_axis("coin").reset_index()
    enough = table["executions"] >= minimum
    table["used_bps"] = table["p95_bps"].where(enough, fallback_bps)
    table["source"] = np.where(enough, "measured", "constant")
    table = table.assign(holding_hours=holding, fallback_bps=fallback_bps, as_of=as_of)
    table = table.assign(version=CostTable.from_frame(table).version)[list(COST_TABLE_TYPES)]
    return typed(table, COST_TABLE_TYPES)


def expected_funding_bps(side: pd.Series, funding_8h: pd.Series, holding_hours: float) -> Floats:
    """Funding a trade is expected to pay, if the last known rate stays: shape (n,), bps, positive is paid.

    Parameters
    ----------
    side
        long or short
    funding_8h
        ratio a long pays per 8 h; NaN where it is not known, and so is the result
    holding_hours
        expected holding
    """
    sign = np.where((side == LONG).to_numpy(), 1.0, -1.0)
    expected: Floats = 1e4 * sign * funding_8h.to_numpy(dtype=np.float64) * holding_hours / 8.0
    return expected


def cost_report(trades: pd.DataFrame) -> pd.DataFrame:
    """Realised beside expected cost of closed trades, by coin and for all of them.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`

    Returns
    -------
    DataFrame
        one row a coin and one for ``all``: trades, mean_expected_bps, mean_paid_bps, error_bps (paid less expected),
        median_bps, p95_bps, mean_spread_bps, mean_slippage_bps, mean_fee_bps, mean_gap_bps (what stops slipped through
        gaps, part of the result and not of the cost), spread_known and slippage_known (shares); NaN without trades
    """
    closed = picked(trades, _COST_COLUMNS, "trades")
    closed = closed[closed["status"] == "closed"]
    values = {name: closed[name].to_numpy(dtype=np.float64) for name in _COST_COLUMNS if name not in ("coin", "status")}
    codes, names = pd.factorize(closed["coin"], sort=True)
    parts = {ALL: values}
    for place, coin in enumerate(names):
        own = codes == place
        parts[str(coin)] = {name: column[own] for name, column in values.items()}
    report = pd.DataFrame([{"coin": name} | _costs_of(columns) for name, columns in parts.items()])
    return typed(report, {"coin": "str", "trades": "int64"})


def funding_cost_report(trades: pd.DataFrame) -> pd.DataFrame:
    """Funding paid by closed trades, by how long they were held.

    Parameters
    ----------
    trades
        columns of `schemas.PAPER_TRADES`

    Returns
    -------
    DataFrame
        one row for each of `BUCKETS` (0 <= h < 8, ...) and one for ``all``: holding, trades, mean_bps, median_bps,
        p95_bps, mean_expected_bps, mean_settlements, funding_known (share of trades whose settlements are all known);
        NaN without trades. Trades whose settlements are not all known count in ``trades`` and ``funding_known`` only.
    """
    closed = picked(trades, _FUNDING_COLUMNS, "trades")
    closed = closed[closed["status"] == "closed"]
    bucket = np.searchsorted(BUCKET_EDGES_HOURS, closed["held_hours"].to_numpy(dtype=np.float64), side="right")
    parts = {name: closed[bucket == place] for place, name in enumerate(BUCKETS)} | {ALL: closed}
    report = pd.DataFrame([{"holding": name} | _funding_of(rows) for name, rows in parts.items()])
    return typed(report, {"holding": "str", "trades": "int64"})


def _costs_of(columns: dict[str, Floats]) -> dict[str, float | int]:
    paid, expected = columns["paid_cost_bps"], columns["cost_bps"]
    there = paid[~np.isnan(paid)]
    return {
        "trades": len(paid),
        "mean_expected_bps": _mean(expected),
        "mean_paid_bps": _mean(paid),
        "error_bps": _mean(paid - expected),
        "median_bps": float(np.median(there)) if there.size else float("nan"),
        "p95_bps": float(np.percentile(there, 100 * QUANTILE)) if there.size else float("nan"),
        **{f"mean_{name}": _mean(columns[name]) for name in _PARTS},
        **{name: _mean(columns[name]) for name in ("spread_known", "slippage_known")},
    }


def _mean(values: Floats) -> float:
    """Mean of what is not missing; NaN of nothing."""
    there = ~np.isnan(values)
    return float(np.where(there, values, 0.0).sum() / there.sum()) if there.any() else float("nan")


def _funding_of(rows: pd.DataFrame) -> dict[str, float | int]:
    known = rows[rows["funding_known"]]
    paid = known["paid_funding_bps"]
    return {
        "trades": len(rows),
        "mean_bps": float(paid.mean()),
        "median_bps": float(paid.median()),
        "p95_bps": float(paid.quantile(QUANTILE)),
        "mean_expected_bps": float(known["funding_bps"].mean()),
        "mean_settlements": float(known["settlements"].mean()),
        "funding_known": float(rows["funding_known"].mean()),
    }
