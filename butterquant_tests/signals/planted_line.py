"""A market in which the score tells the drift of the hours to come, unless F stands against it by more than 15."""

from __future__ import annotations

import numpy as np
import pandas as pd

from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.refresh import Rules
from butterquant_assets.signals.replay import Replayed, replay
from butterquant_assets.signals.thresholds import Search
from butterquant_tests.signals.signal_cases import HOUR, START, hours, random_funding, states_of

PLANTED = -15.0
MOVE, PERSISTENCE, AGREEMENT = 0.02, 0.97, 0.8


def planted_market(coins: int, length: int, seed: int, edge: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Factors and bars of random walks whose drift an hour is `edge` x the hour's volatility at the strongest score."""
    random = np.random.default_rng(seed)
    frames = []
    for coin in range(coins):
        score = 95.0 * np.tanh(_persistent(random, length))
        # Money agrees with the trend in most hours, so that confidence has something to tell before any gate.
        agrees = 95.0 * np.tanh(_persistent(random, length) + AGREEMENT)
        drift = edge * MOVE * score / 95.0 * np.where(agrees >= PLANTED, 1.0, -1.0)
        # What is known when an hour ends moves the price from the next hour on.
        steps = MOVE * random.standard_normal(length) + np.concatenate([[0.0], drift[:-1]])
        close = 100.0 * np.exp(np.cumsum(steps))
        before = np.concatenate([[100.0], close[:-1]])
        reach = np.exp(0.3 * MOVE * np.abs(random.standard_normal((2, length))))
        frame = pd.DataFrame({"hour": hours(length), "coin": f"SIM{coin}", "open": before, "close": close})
        frame["high"], frame["low"] = np.maximum(before, close) * reach[0], np.minimum(before, close) / reach[1]
        frame = frame.assign(**dict.fromkeys("TMCVOB", score), F=np.sign(score) * agrees)
        frame = frame.assign(I=60.0, market_regime=0.0, flags="")
        frames.append(frame)
    whole = pd.concat(frames, ignore_index=True).astype({"flags": "str", "coin": "str"})
    factors = whole.drop(columns=["open", "high", "low", "close"])
    return factors, whole[["hour", "coin", "open", "high", "low", "close"]]


def planted_run(seed: int, *, edge: float, coins: int = 6, weeks: int = 24) -> tuple[pd.DataFrame, Replayed]:
    """The line over such a market, beginning with a threshold that lets nearly every F pass."""
    length = weeks * 7 * 24
    factors, bars = planted_market(coins, length, seed, edge)
    rules = Rules(
        execution=Execution(timeout_hours=72),
        search=Search(choose_days=84, confirm_days=42),
        thresholds=Thresholds(f_directional=-30.0),
    )
    return replay(
        factors.merge(states_of(bars, atr=MOVE), on=["hour", "coin"]),
        bars,
        random_funding(coins, length, seed),
        as_of=START + length * HOUR,
        seed=seed,
        rules=rules,
    )


def _persistent(random: np.random.Generator, length: int) -> np.ndarray:
    """A series that forgets half of itself in a day."""
    shocks = np.sqrt(1.0 - PERSISTENCE**2) * random.standard_normal(length)
    values = np.empty(length)
    level = random.standard_normal()
    for place, shock in enumerate(shocks):
        level = PERSISTENCE * level + shock
        values[place] = level
    return values
