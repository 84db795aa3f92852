"""The whole line where it is known what there is to find: something, and nothing."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.bench_signal_null import planted
from butterquant_assets.signals.calibration_report import judge_calibration
from butterquant_assets.signals.replay import replay
from butterquant_tests.signals.planted_line import PLANTED, planted_run
from butterquant_tests.signals.signal_cases import HOUR, START, random_bars, random_factors, random_funding, states_of

pytestmark = pytest.mark.slow

WEEKS = 24


def test_a_planted_edge_is_found_by_the_gate_and_by_the_calibration() -> None:
    trades, replayed = planted_run(1, edge=0.5, coins=10, weeks=WEEKS)
    found = replayed.rounds[-1].tables.thresholds
    assert found.f_directional >= PLANTED - 5.0
    assert found.as_of is not None
    # Trades that the threshold in force would reject do worse than those it would keep.
    late = trades[(trades["status"] == "closed") & (trades["hour"] >= found.as_of)]
    kept = late["f_directional"] >= found.f_directional
    assert late.loc[kept, "pnl_bps"].mean() > late.loc[~kept, "pnl_bps"].mean() + 100.0
    end = START + pd.Timedelta(weeks=WEEKS)
    # The second half: by then the table has learned from more than a thousand trades.
    second = trades[trades["hour"] >= START + pd.Timedelta(weeks=WEEKS // 2)]
    judged = judge_calibration(second, as_of=end, seed=1)
    assert judged.value("brier_gain_low") > 0
    assert judged.value("brier") < judged.value("brier_bootstrap")
    assert judged.value("ece") <= max(judged.value("ece_by_chance"), judged.value("ece_by_chance_in_weeks"))


def test_what_is_planted_in_the_simulated_market_is_found() -> None:
    found = planted(0)
    assert found.fund_threshold, found.words
    assert found.better_than_base_rate, found.words
    assert found.calibrated, found.words


def test_where_there_is_nothing_nothing_is_found() -> None:
    length = 7 * 7 * 24
    bars = random_bars(5, length, 0, move=0.02)
    factors = random_factors(bars, 0).merge(states_of(bars), on=["hour", "coin"])
    as_of = START + length * HOUR
    trades, replayed = replay(factors, bars, random_funding(5, length, 0), as_of=as_of, seed=0)
    assert not any(one.frames["gate_thresholds"]["changed"].any() for one in replayed.rounds)
    judged = judge_calibration(trades, as_of=as_of, seed=0)
    assert judged.value("trades") > 100
    assert not judged.value("brier_gain_low") > 0
