"""The whole signal line over a crypto source, in memory: what the assets compute, without a lake.

What belongs here: putting the pure steps one after the other. What does not: a step of its own, or a figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from butterquant_assets.foundation.calendar import key_range
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.market.crypto_sources.base import CryptoSource, open_crypto_source
from butterquant_assets.signals.alignment import MarketTables
from butterquant_assets.signals.at_close import factors_at_close
from butterquant_assets.signals.book_costs import book_costs
from butterquant_assets.signals.config import SignalConfig
from butterquant_assets.signals.membership import COLUMNS
from butterquant_assets.signals.replay import Replayed, replay
from butterquant_assets.signals.versions import HOUR


@dataclass(frozen=True, eq=False)
class Line:
    """What came of one run.

    Parameters
    ----------
    factors, trades
        columns of their contracts; the trades as of the end
    replayed
        the rounds
    as_of
        when the last bar closed
    """

    factors: pd.DataFrame
    trades: pd.DataFrame
    replayed: Replayed
    as_of: pd.Timestamp


def run_line(config: CryptoConfig, signals: SignalConfig | None = None, *, books: bool = False) -> Line:
    """Factors, rounds and trades of all days a source holds, or those the configuration asks for.

    Parameters
    ----------
    config
        of the source; it needs no home
    signals
        of the line; by default `SignalConfig()`
    books
        take spreads and slippage from order books, which are many rows
    """
    given = signals or SignalConfig()
    source = open_crypto_source(config, Path())
    first, last = source.span()
    days = key_range(max(first, config.start or first), min(last, config.end or last), "day")
    bars = _rows(source, "crypto_bars", days)
    tables = MarketTables(
        bars,
        mark=_rows(source, "mark_prices", days),
        index=_rows(source, "index_prices", days),
        taker=_rows(source, "taker_volume", days),
        interest=_rows(source, "open_interest", days),
        funding=_rows(source, "funding_rates", days),
    )
    leaders = given.leaders(simulated=source.simulated)
    as_of = bars["hour"].max() + HOUR
    made = factors_at_close(tables, pd.Timestamp(days[0]), as_of - HOUR, leaders, 24 * len(days))
    factors = made.merge(bars[["hour", "coin"]], on=["hour", "coin"])
    traded = bars[~bars[["outage", "suspect"]].any(axis=1)]
    costs = None
    if books:
        taken, levels = _rows(source, "order_books", days), _rows(source, "order_book_levels", days)
        costs = book_costs(taken, levels, given.execution.notional_usd)
    trades, replayed = replay(
        factors.astype({"closed_bars": "int64"}),
        traded[["hour", "coin", "open", "high", "low", "close", "suspect_later"]],
        tables.funding.rename(columns={"funding_rate": "rate"}),
        as_of=as_of,
        seed=given.seed,
        books=costs,
        universe=_rows(source, "crypto_universe", days)[[*COLUMNS]],
        rules=given.rules(),
    )
    return Line(factors, trades, replayed, as_of)


def _rows(source: CryptoSource, dataset: str, days: Sequence[str]) -> pd.DataFrame:
    return source.fetch(dataset, days).rows
