"""On a market without an edge no gate and no calibration claims one: seeds 0 .. 39, at most 5 false claims each.

The yardstick was named beforehand: of forty seeds at 5 % two are expected, and more than five happen in one case of
seventy.
"""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Result
from butterquant_assets.signals.calibration_report import judge_calibration
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.refresh import Rules, replay
from butterquant_assets.signals.thresholds import choose_thresholds
from butterquant_tests.signals.signal_cases import HOUR, START, random_bars, random_factors, random_funding, states_of
from butterquant_tests.signals.threshold_cases import AS_OF, SEARCH, gate_trades

SEEDS, LIMIT = 40, 5
COINS, WEEKS = 6, 8


def benchmarks() -> list[Result]:
    """Seeds on which a threshold changed, a calibration beat the base rate, or a gate passed signals that earned."""
    claims = {"thresholds": 0, "calibration": 0}
    for seed in range(SEEDS):
        claims["thresholds"] += _thresholds(seed)
        claims["calibration"] += _calibration(seed)
    return [
        Result(
            f"signal_null.{name}", count, LIMIT, (LIMIT + 1) / (count + 1), "false claims of 40", 1.0, count <= LIMIT
        )
        for name, count in claims.items()
    ]


def _thresholds(seed: int) -> bool:
    """Results shuffled over trades, so that no gate knows anything of them."""
    trades = gate_trades(seed)
    order = np.random.default_rng(seed).permutation(len(trades))
    trades["pnl_bps"] = trades["pnl_bps"].to_numpy()[order]
    choice = choose_thresholds(trades, Thresholds(f_directional=-30.0), as_of=AS_OF, seed=seed, search=SEARCH)
    return bool(choice.decisions["changed"].any())


def _calibration(seed: int) -> bool:
    """The whole line on random walks and factors that know nothing of them."""
    length = WEEKS * 7 * 24
    bars = random_bars(COINS, length, seed, move=0.02)
    factors, state, funding = random_factors(bars, seed), states_of(bars), random_funding(COINS, length, seed)
    as_of = START + length * HOUR
    _, trades, _ = replay(factors, state, bars, funding, as_of=as_of, seed=seed, rules=Rules())
    return judge_calibration(trades, as_of=as_of, seed=seed).value("brier_gain_low") > 0
