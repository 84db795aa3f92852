"""A collector's store filled straight from the simulated market, for what is measured after a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.exchange_process import lasting_coins, market_of
from butterquant_assets.market.collector.days import HOUR_MS, start_of
from butterquant_assets.market.crypto_coverage import Coverage
from butterquant_assets.market.crypto_sources.store import CryptoStore, contract_of
from butterquant_assets.market.crypto_traits import Floats

OHLC = ("open", "high", "low", "close")


def fill_store(store: CryptoStore, coins: int, days: int, wanted: Sequence[str]) -> None:
    """Store whole days of the market that `exchange_process(coins, days, ...)` serves.

    Parameters
    ----------
    store
        where to
    coins, days
        of the exchange
    wanted
        UTC days
    """
    market = market_of(coins)
    names = lasting_coins(market, days)[:coins]
    places = [market.traits.names.index(name) for name in names]
    value = market.traits.contract_value[places]
    for day in wanted:
        first = start_of(day) // HOUR_MS
        hours = market.hours(first, first + 24)

        def of(name: str) -> Floats:
            return getattr(hours, name)[:, places]  # noqa: B023

        bars = {name: of(name) for name in OHLC}
        volume, bought = of("volume") * value, of("taker_buy") * value
        tables: dict[str, Mapping[str, Floats]] = {
            "crypto_bars": bars | {"volume": volume, "quote_volume_usd": volume * of("close")},
            "mark_prices": {name: of(f"mark_{name}") for name in OHLC},
            "index_prices": {name: of(f"index_{name}") for name in OHLC},
            "open_interest": {
                "open_interest": of("open_interest") * value,
                "open_interest_usd": np.full(volume.shape, np.nan),
            },
            "taker_volume": {"buy_volume": bought, "sell_volume": np.maximum(volume - bought, 0.0)},
            "funding_rates": {
                "funding_rate": of("funding"),
                "interval_hours": of("interval"),
                "mark_price": of("mark_open"),
            },
        }
        stamps = np.repeat(np.arange(first, first + 24) * HOUR_MS, len(names)).astype("datetime64[ms]")
        for dataset, columns in tables.items():
            stamp_name = contract_of(dataset).time or ""
            frame = pd.DataFrame(
                {stamp_name: stamps.astype("datetime64[us]"), "coin": pd.Series(list(names) * 24, dtype="str")}
                | {name: figures.ravel() for name, figures in columns.items()}
            )
            kept = frame.dropna(subset=next(iter(columns))).reset_index(drop=True)
            store.write(dataset, day, kept, Coverage(len(kept), len(kept), complete=True))
