"""A small crypto house whose market is a handful of frames in memory, so that a test may correct one bar of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation.calendar import key_of
from butterquant_assets.foundation.freshness import State, Window
from butterquant_assets.foundation.lake import group_digests
from butterquant_assets.foundation.settings import HomeSettings
from butterquant_assets.market import crypto_schemas
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.orchestration.axes import DayAxis
from butterquant_assets.orchestration.declaration import LakeAsset, Work, lake_asset
from butterquant_assets.orchestration.house import House
from butterquant_assets.orchestration.rebuild import REBUILT, Rebuilt, rebuild
from butterquant_assets.signals import assets
from butterquant_assets.signals.calibration_ladder import Ladder
from butterquant_assets.signals.config import SignalConfig
from butterquant_assets.signals.panel import HourlyPanel
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.refresh import Cadence
from butterquant_tests.signals.factor_cases import random_panel

COINS = ("BTC", "ETH", "AAA")
START, DAYS = "2024-01-01", 23
DATASETS = {
    "crypto_bars": crypto_schemas.CRYPTO_BARS,
    "mark_prices": crypto_schemas.MARK_PRICES,
    "index_prices": crypto_schemas.INDEX_PRICES,
    "taker_volume": crypto_schemas.TAKER_VOLUME,
    "open_interest": crypto_schemas.OPEN_INTEREST,
    "funding_rates": crypto_schemas.FUNDING_RATES,
    "order_books": crypto_schemas.ORDER_BOOKS,
    "order_book_levels": crypto_schemas.ORDER_BOOK_LEVELS,
    "crypto_universe": crypto_schemas.CRYPTO_UNIVERSE,
}
CONFIG = SignalConfig(
    # So cheap that some signals are accepted although there is nothing to find.
    execution=Execution(taker_fee_bps=0.0, slippage_bps=0.1, half_spread_bps=0.1),
    ladder=Ladder(ten=20, twenty=4000, isotonic=5000, minimum_bucket=5),
    cadence=Cadence(results=25),
)


class LineSettings(HomeSettings):
    """The sections the signal line reads."""

    crypto: CryptoConfig = CryptoConfig(source="okx")
    signals: SignalConfig = CONFIG


@dataclass
class Frames:
    """A market source over frames; replacing one of them is a correction."""

    frames: dict[str, pd.DataFrame]
    _seen: dict[str, tuple[pd.DataFrame, Any, dict[str, str]]] = field(default_factory=dict)

    def span(self) -> tuple[str, str]:
        days = self.keys_held("crypto_bars")
        return days[0], days[-1]

    def keys_held(self, dataset: str) -> tuple[str, ...]:
        return tuple(self._digests(dataset)[1])

    def fingerprints(self, dataset: str, days: Sequence[str]) -> Mapping[str, str]:
        held = self._digests(dataset)[1]
        return {day: held.get(day, "") for day in days}

    def fetch(self, dataset: str, days: Sequence[str]) -> Any:
        return SimpleNamespace(rows=self.frames[dataset][np.isin(self._digests(dataset)[0], list(days))])

    def describe(self) -> Mapping[str, Any]:
        return {"source": "frames"}

    def _digests(self, dataset: str) -> tuple[Any, dict[str, str]]:
        """Day of each row, and the content hash of each day."""
        frame = self.frames[dataset]
        held = self._seen.get(dataset)
        if held is None or held[0] is not frame:
            days = key_of(frame[DATASETS[dataset].time], "day")
            self._seen[dataset] = held = (frame, days, group_digests(frame, pd.Series(days)))
        return held[1], held[2]


def market_asset(dataset: str) -> LakeAsset:
    """An asset that holds what the source delivers."""

    def compute(work: Work) -> pd.DataFrame:
        """Rows as delivered."""
        rows: pd.DataFrame = work.house.source.fetch(dataset, work.keys).rows
        return rows

    compute.__name__ = dataset
    return lake_asset(
        DATASETS[dataset], reads=[Window(f"source:{dataset}")], code=[crypto_schemas], axis="days", batch=400
    )(compute)


MARKET = tuple(market_asset(dataset) for dataset in DATASETS)
DECLARATIONS = (*MARKET, *assets.ASSETS)


def tables_of(panel: HourlyPanel, *, book_every: int = 5) -> dict[str, pd.DataFrame]:
    """Market tables of a panel; funding is settled every eight hours, books are taken now and then."""
    hours, count = panel.hours.astype("datetime64[us]"), len(panel.coins)
    keys = {"hour": np.repeat(hours, count), "coin": np.tile(np.array(panel.coins, dtype=object), len(hours))}

    def flat(values: Any) -> Any:
        return np.asarray(values).ravel()

    before = np.vstack((panel.close[:1], panel.close[:-1]))
    frames = {
        "crypto_bars": {
            **keys,
            "open": flat(before),
            "high": flat(np.maximum(panel.high, before)),
            "low": flat(np.minimum(panel.low, before)),
            "close": flat(panel.close),
            "volume": flat(panel.volume),
            "quote_volume_usd": flat(panel.volume * panel.close),
            "outage": flat(panel.defective),
            "suspect": np.zeros(panel.close.size, dtype=bool),
            "suspect_later": np.zeros(panel.close.size, dtype=bool),
        },
        "mark_prices": keys | dict.fromkeys(("open", "high", "low", "close"), flat(panel.mark)),
        "index_prices": keys | dict.fromkeys(("open", "high", "low", "close"), flat(panel.index)),
        "taker_volume": {
            **keys,
            "buy_volume": flat(panel.taker_buy_volume),
            "sell_volume": flat(panel.volume - panel.taker_buy_volume),
        },
        "open_interest": {
            **keys,
            "open_interest": flat(panel.open_interest),
            "open_interest_usd": flat(panel.open_interest * panel.close),
        },
    }
    days = np.unique(hours.astype("datetime64[D]")).astype("datetime64[us]")
    frames["crypto_universe"] = {
        "day": np.repeat(days, count),
        "coin": np.tile(np.array(panel.coins, dtype=object), len(days)),
        "rank": np.tile(np.arange(1, count + 1), len(days)),
        "market_cap_usd": np.full(len(days) * count, 1e9),
        "chosen_by": np.full(len(days) * count, "configured", dtype=object),
        "as_of_known": np.ones(len(days) * count, dtype=bool),
    }
    settled = np.arange(8, len(hours), 8)
    frames["funding_rates"] = {
        "settled_at": np.repeat(hours[settled], count),
        "coin": np.tile(np.array(panel.coins, dtype=object), len(settled)),
        "funding_rate": flat(panel.funding_8h[settled]),
        "interval_hours": np.full(len(settled) * count, 8.0),
        "mark_price": flat(panel.mark[settled - 1]),
    }
    taken = np.arange(0, len(hours), book_every)
    middle = flat(panel.close[taken])
    book = {
        "taken_at": np.repeat(hours[taken] + np.timedelta64(3590, "s"), count),
        "coin": np.tile(np.array(panel.coins, dtype=object), len(taken)),
    }
    frames["order_books"] = {
        **book,
        "best_bid": middle * (1 - 1e-4),
        "best_ask": middle * (1 + 1e-4),
        "spread_bps": np.full(len(middle), 2.0),
        **dict.fromkeys(("bid_depth_10bp_usd", "ask_depth_10bp_usd"), np.full(len(middle), 5e4)),
        "imbalance": np.zeros(len(middle)),
        "levels": np.full(len(middle), 2, dtype=np.int64),
    }
    levels = []
    for side, sign in (("ask", 1.0), ("bid", -1.0)):
        for level in (1, 2):
            price = middle * (1 + sign * level * 1e-4)
            sizes = 600.0 / price if level == 1 else 5e4 / price
            levels.append(pd.DataFrame({**book, "side": side, "level": level, "price": price, "size": sizes}))
    made = {name: pd.DataFrame(columns) for name, columns in frames.items()} | {"order_book_levels": pd.concat(levels)}
    return {
        name: DATASETS[name].arrange(frame.astype({k: str(v) for k, v in DATASETS[name].schema.dtypes.items()}))
        for name, frame in made.items()
    }


def market(days: int = DAYS, seed: int = 5, coins: tuple[str, ...] = COINS) -> dict[str, pd.DataFrame]:
    """Tables of a random market."""
    return tables_of(random_panel(24 * days, coins, seed))


def until(tables: Mapping[str, pd.DataFrame], end: str | pd.Timestamp) -> dict[str, pd.DataFrame]:
    """The tables as they were before a time."""
    return {name: frame[frame[DATASETS[name].time] < pd.Timestamp(end)] for name, frame in tables.items()}


def house_of(
    home: Path, tables: dict[str, pd.DataFrame], settings: LineSettings | None = None, *, start: str = START
) -> House:
    """The line over some tables; days are those of the bars."""
    source = Frames(tables)
    binding = {"start": start, "end": source.span()[1], "grows_to": None}
    given = settings or LineSettings(home=home)
    clock = pd.Timestamp("2030-01-01", tz="UTC").to_pydatetime
    return House(given, DayAxis(binding), DECLARATIONS, lambda: source, clock=clock, name="crypto")


def bring_up_to_date(house: House, days: Sequence[str] | None = None) -> dict[str, Rebuilt]:
    """Rebuild what is stale, inputs first, as a run does: once, and once more for what only then turned out stale."""
    done: dict[str, Rebuilt] = {}
    for _ in range(2):
        for declaration in house.declarations:
            house.freshness()
            keys = (None,) if declaration.axis is None else tuple(days or house.keys("days"))
            rebuilt = rebuild(house, declaration, keys)
            if any(rebuilt.count(name, REBUILT) for name in declaration.names) or declaration.names[0] not in done:
                done[declaration.names[0]] = rebuilt
    return done


def everything(house: House) -> dict[str, dict[str | None, str]]:
    """Content hashes of all tables of the line, by table and partition."""
    return {
        name: {key: footer.content for key in keys if (footer := house.lake.footer(name, key)) is not None}
        for declaration in house.declarations
        for name in declaration.names
        if name.startswith("signals/")
        for keys in [[None] if declaration.axis is None else house.lake.partitions(name)]
    }


def rebuilt_days(done: Mapping[str, Rebuilt], name: str) -> list[str]:
    """Partitions of a table that were made anew."""
    return sorted(str(key) for key, one in done[name].outcomes[name].items() if one.action == REBUILT)


def stale(house: House) -> list[tuple[str, str | None]]:
    """What is stale now."""
    fresh = house.freshness()
    return [
        (name, key)
        for name, node in fresh.nodes.items()
        for key in node.partitions()
        if fresh.judge(name, key).state is not State.CURRENT
    ]
