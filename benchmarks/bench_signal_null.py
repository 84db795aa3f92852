"""What the whole signal line claims where there is nothing to find, and what it finds where something was planted.

Null: on seeds 0 .. 39 of a market without an edge no gate and no calibration claims one, at most 5 false claims each.
The yardstick was named beforehand: of forty seeds at 5 % two are expected, and more than five happen in one case of
seventy. The line runs whole, over half a year so that its searches have the weeks they need, on factors that know
nothing of random walks: a seed counts once, however many of its twenty searches claim something. Thresholds are also
searched on results shuffled over trades, many more of them.

Planted: in the simulated market at its largest edge strong trends pay unless F stands against them by more than 15
(`market/crypto_simulator`). The line begins with a threshold of -30, which lets nearly everything pass, and must end
within one step of -15, with probabilities better than the base rate's by an interval over weeks, and a calibration
error that chance explains. In all, some three minutes on two idle cores.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.harness import Result
from benchmarks.signal_line import run_line
from butterquant_assets.market.crypto_config import CryptoConfig
from butterquant_assets.signals.calibration_report import judge_calibration
from butterquant_assets.signals.config import SignalConfig
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.replay import replay
from butterquant_assets.signals.thresholds import choose_thresholds
from butterquant_tests.signals.signal_cases import HOUR, START, random_bars, random_factors, random_funding, states_of
from butterquant_tests.signals.threshold_cases import AS_OF, SEARCH, gate_trades

SEEDS, LIMIT = 40, 5
COINS, WEEKS = 6, 24
EDGE, PLANTED_COINS, PLANTED_DAYS, PLANTED_SEEDS = 1.0, 20, 365, 3
PLANTED_AT, STEP = -15.0, 5.0


Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Claims:
    """What was claimed of one seed without an edge."""

    thresholds: bool
    thresholds_of_the_line: bool
    calibration: bool


@dataclass(frozen=True)
class Found:
    """Which of the three was found of one seed with an edge, and the figures in words."""

    fund_threshold: bool
    better_than_base_rate: bool
    calibrated: bool
    words: str


def benchmarks() -> list[Result]:
    """False claims of forty seeds, and what was found of a few with an edge."""
    claimed = _each(null, range(SEEDS))
    results = []
    for name in ("thresholds", "thresholds_of_the_line", "calibration"):
        count = sum(getattr(one, name) for one in claimed)
        ratio, unit = (LIMIT + 1) / (count + 1), f"false claims of {SEEDS}"
        results.append(Result(f"signal_null.{name}", count, LIMIT, ratio, unit, 1.0, count <= LIMIT))
    found = _each(planted, range(PLANTED_SEEDS))
    for one in found:
        print(one.words, file=sys.stderr)
    for name in ("fund_threshold", "better_than_base_rate", "calibrated"):
        count = sum(getattr(one, name) for one in found)
        ratio, unit = count / PLANTED_SEEDS, f"found of {PLANTED_SEEDS}"
        results.append(Result(f"signal_planted.{name}", count, PLANTED_SEEDS, ratio, unit, 1.0, count == PLANTED_SEEDS))
    return results


def _each(work: Callable[[int], Answer], seeds: Sequence[int]) -> list[Answer]:
    """Answers of all seeds, by as many processes as there are cores."""
    # A fork would copy the threads' locks of libraries that are already loaded.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(seeds)), mp_context=context) as pool:
        return list(pool.map(work, seeds))


def null(seed: int) -> Claims:
    """What is claimed of a seed without an edge."""
    return Claims(_thresholds(seed), *_whole_line(seed))


def _thresholds(seed: int) -> bool:
    """Results shuffled over trades, so that no gate knows anything of them."""
    trades = gate_trades(seed)
    order = np.random.default_rng(seed).permutation(len(trades))
    trades["pnl_bps"] = trades["pnl_bps"].to_numpy()[order]
    choice = choose_thresholds(trades, Thresholds(f_directional=-30.0), as_of=AS_OF, seed=seed, search=SEARCH)
    return bool(choice.decisions["changed"].any())


def _whole_line(seed: int) -> tuple[bool, bool]:
    """Whether any round changed a threshold, and whether probabilities beat the base rate; on random walks."""
    length = WEEKS * 7 * 24
    bars = random_bars(COINS, length, seed, move=0.02)
    factors = random_factors(bars, seed).merge(states_of(bars), on=["hour", "coin"])
    as_of = START + length * HOUR
    trades, replayed = replay(factors, bars, random_funding(COINS, length, seed), as_of=as_of, seed=seed)
    changed = any(one.frames["gate_thresholds"]["changed"].any() for one in replayed.rounds)
    return changed, judge_calibration(trades, as_of=as_of, seed=seed).value("brier_gain_low") > 0


def planted(seed: int, days: int = PLANTED_DAYS, coins: int = PLANTED_COINS) -> Found:
    """What the line finds of the planted edge."""
    config = CryptoConfig(source="sample", edge=EDGE, seed=seed, coins=coins, days=days)
    line = run_line(config, SignalConfig(thresholds=Thresholds(f_directional=-30.0)))
    ends = line.replayed.rounds[-1].tables.thresholds.f_directional
    judged = judge_calibration(line.trades, as_of=line.as_of, seed=seed)
    low, high = judged.value("brier_gain_low"), judged.value("brier_gain_high")
    accepted = line.trades[line.trades["verdict"] == "accepted"]["pnl_bps"]
    rejected = line.trades[line.trades["verdict"] != "accepted"]["pnl_bps"]
    words = (
        f"planted, seed {seed}: fund threshold {ends:g}; accepted {accepted.mean():+.1f} bps a signal "
        f"({len(accepted):,}), rejected {rejected.mean():+.1f}; {judged.sentence} Brier gain "
        f"{judged.value('brier_gain'):+.4f} ({low:+.4f} .. {high:+.4f})"
    )
    chance = max(judged.value("ece_by_chance"), judged.value("ece_by_chance_in_weeks"))
    return Found(abs(ends - PLANTED_AT) <= STEP, low > 0, judged.value("ece") <= chance, words)
