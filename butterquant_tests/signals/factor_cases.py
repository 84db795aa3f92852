"""Panels to compute factors from."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from butterquant_assets.signals.panel import HourlyPanel

Floats = npt.NDArray[np.float64]

COINS = ("BTC", "ETH", "AAA", "BBB", "CCC")
START = np.datetime64("2024-01-01T00", "us")
SERIES = tuple(field.name for field in fields(HourlyPanel) if field.name not in ("hours", "coins"))


def random_panel(hours: int, coins: tuple[str, ...] = COINS, seed: int = 0) -> HourlyPanel:
    """Correlated random walks with everything a factor reads; funding settles every eight hours and often repeats."""
    random = np.random.default_rng(seed)
    shape = (hours, len(coins))
    steps = 0.006 * random.standard_t(4, (hours, 1)) + 0.008 * random.standard_t(4, shape)
    close = 100.0 * np.exp(np.cumsum(steps, axis=0))
    before = np.vstack((np.full((1, len(coins)), 100.0), close[:-1]))
    reach = np.exp(0.004 * np.abs(random.normal(size=(2, *shape))))
    volume = random.lognormal(10.0, 0.7, shape)
    settled = np.round(random.normal(0.5, 1.0, (hours // 8 + 1, len(coins)))) * 1e-4
    index = close * np.exp(0.0005 * random.normal(size=shape))
    return HourlyPanel(
        hours=START + np.arange(hours) * np.timedelta64(1, "h"),
        coins=coins,
        high=np.maximum(close, before) * reach[0],
        low=np.minimum(close, before) / reach[1],
        close=close,
        volume=volume,
        taker_buy_volume=volume * random.uniform(0.3, 0.7, shape),
        open_interest=1e6 * np.exp(np.cumsum(0.004 * random.normal(size=shape), axis=0)),
        mark=close * np.exp(0.0002 * random.normal(size=shape)),
        index=index,
        funding_8h=np.repeat(settled, 8, axis=0)[:hours],
        defective=np.zeros(shape, dtype=bool),
    )


def constant_panel(hours: int, coins: tuple[str, ...] = ("BTC", "ETH")) -> HourlyPanel:
    """Nothing ever moves."""
    shape = (hours, len(coins))
    levels = {"high": 0.1, "low": 0.1, "close": 0.1, "volume": 3.0, "taker_buy_volume": 1.5, "open_interest": 7.0}
    levels |= {"mark": 0.1, "index": 0.1, "funding_8h": 1e-4}
    hour = START + np.arange(hours) * np.timedelta64(1, "h")
    arrays = {name: np.full(shape, level) for name, level in levels.items()}
    return HourlyPanel(hours=hour, coins=coins, defective=np.zeros(shape, dtype=bool), **arrays)


def changed(panel: HourlyPanel, name: str, rows: int | slice, coin: str | slice, value: float | bool) -> HourlyPanel:
    """The same panel with some values of one series replaced."""
    values = getattr(panel, name).copy()
    values[rows, panel.column(coin) if isinstance(coin, str) else coin] = value
    return replace(panel, **{name: values})
