"""Made signals, bars and settlements for the tests of the signal line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from butterquant_assets.signals.calibration_ladder import CalibrationTable
from butterquant_assets.signals.costs import CostTable
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.paper import execute
from butterquant_assets.signals.scored import FACTORS, score_signals

START = pd.Timestamp("2024-01-01")
HOUR = pd.Timedelta(hours=1)


def hours(count: int, start: pd.Timestamp = START) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="h", unit="us")


def bars_of(rows: list[tuple[float, float, float, float]], coin: str = "SIMA") -> pd.DataFrame:
    """Bars given as (open, high, low, close), one an hour from START; NaN for a missing one."""
    frame = pd.DataFrame(rows, columns=["open", "high", "low", "close"], dtype=float)
    return frame.assign(hour=hours(len(rows)), coin=coin)


def no_funding() -> pd.DataFrame:
    return funding_of([])


def funding_of(rows: list[tuple[Any, float, float]], coin: str = "SIMA") -> pd.DataFrame:
    """Settlements given as (time, rate, mark price)."""
    frame = pd.DataFrame(rows, columns=["settled_at", "rate", "mark_price"])
    frame = frame.astype({"settled_at": "datetime64[us]", "rate": float, "mark_price": float})
    return frame.assign(coin=pd.Series([coin] * len(rows), dtype="str"))


def random_bars(coins: int, count: int, seed: int, *, missing: float = 0.0, move: float = 0.01) -> pd.DataFrame:
    """Random walks with wicks; a share of bars lacks its prices, another its row."""
    random = np.random.default_rng(seed)
    frames = []
    for coin in range(coins):
        close = 100 * np.exp(np.cumsum(move * random.standard_normal(count)))
        opened = np.concatenate([[100.0], close[:-1]]) * np.exp(0.1 * move * random.standard_normal(count))
        high = np.maximum(opened, close) * np.exp(0.3 * move * np.abs(random.standard_normal(count)))
        low = np.minimum(opened, close) * np.exp(-0.3 * move * np.abs(random.standard_normal(count)))
        frame = pd.DataFrame({"hour": hours(count), "coin": f"SIM{coin}", "open": opened, "high": high, "low": low})
        frame["close"] = close
        gone = random.random(count)
        frame.loc[gone < missing, ["open", "high", "low", "close"]] = np.nan
        frames.append(frame[gone < 1 - missing])
    return pd.concat(frames, ignore_index=True)


def random_funding(coins: int, count: int, seed: int) -> pd.DataFrame:
    """Settlements every 2, 4 or 8 hours, some without a mark price."""
    random = np.random.default_rng(seed)
    frames = []
    for coin in range(coins):
        times = pd.date_range(START, periods=count // (2, 4, 8)[coin % 3], freq=f"{(2, 4, 8)[coin % 3]}h", unit="us")
        mark = np.where(random.random(len(times)) < 0.2, np.nan, 100.0)
        rate = 1e-4 * random.standard_normal(len(times))
        frames.append(pd.DataFrame({"coin": f"SIM{coin}", "settled_at": times, "rate": rate, "mark_price": mark}))
    return pd.concat(frames, ignore_index=True)


def random_factors(bars: pd.DataFrame, seed: int, *, missing: float = 0.05) -> pd.DataFrame:
    """Factors that know nothing of the bars, some missing."""
    random = np.random.default_rng(seed)
    frame = bars[["hour", "coin"]].copy()
    for name in FACTORS:
        values = random.uniform(-95, 95, len(frame))
        frame[name] = np.abs(values) if name == "I" else values
        frame.loc[random.random(len(frame)) < missing, name] = np.nan
    return frame.assign(flags=pd.Series(np.where(random.random(len(frame)) < 0.1, "C_proxy", ""), dtype="str"))


def states_of(bars: pd.DataFrame, atr: float = 0.01, funding: float = 1e-4) -> pd.DataFrame:
    """A state for every bar: ATR as a share of the close, 400 closed bars and more."""
    frame = bars[["hour", "coin", "close"]].copy()
    number = bars.groupby("coin").cumcount().to_numpy()
    return frame.assign(
        atr14=frame["close"] * atr, closed_bars=400 + number, defect=False, funding_8h=np.full(len(frame), funding)
    )


def scored(bars: pd.DataFrame, seed: int = 1, **given: Any) -> pd.DataFrame:
    """Signals of random factors on these bars, judged by the tables given or by the first ones."""
    tables: dict[str, Any] = {"calibration": CalibrationTable(), "costs": CostTable(), "thresholds": Thresholds()}
    return score_signals(random_factors(bars, seed), states_of(bars), **(tables | given))


def one_signal(
    hour: int = 0, side: str = "long", stop: float = 200.0, coin: str = "SIMA", **given: Any
) -> pd.DataFrame:
    """A signal of the bar `hour` after START, with a stop in bps and a target twice as far."""
    bars = bars_of([(100.0, 101.0, 99.0, 100.0)] * (hour + 1), coin).iloc[-1:]
    factors = random_factors(bars, 0, missing=0.0).assign(**dict.fromkeys("TMCVOB", 80.0 if side == "long" else -80.0))
    factors = factors.assign(F=50.0 if side == "long" else -50.0, I=60.0, market_regime=0.0, flags="")
    tables: dict[str, Any] = {"calibration": CalibrationTable(), "costs": CostTable(), "thresholds": Thresholds()}
    signal = score_signals(factors, states_of(bars, atr=stop / 2.5e4), **tables)
    return signal.assign(**given)


def accepted(signals: pd.DataFrame) -> pd.DataFrame:
    """The same signals, let pass by every gate."""
    gates = dict.fromkeys(("gate_data", "gate_fund", "gate_market", "gate_ev"), True)
    return signals.assign(**gates, verdict="accepted", reason="")


def paper_trades(
    coins: int = 4, count: int = 2000, seed: int = 3, *, as_of: pd.Timestamp | None = None
) -> pd.DataFrame:
    """Trades of random signals on random bars."""
    bars = random_bars(coins, count, seed)
    signals = scored(bars, seed + 1)
    return execute(signals, bars, random_funding(coins, count, seed), as_of=as_of or START + count * HOUR)
