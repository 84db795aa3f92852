from __future__ import annotations

import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.signals.calibration_ladder import CalibrationTable, Ladder
from butterquant_assets.signals.paper import Execution
from butterquant_assets.signals.refresh import Rules, is_due, replay
from butterquant_assets.signals.report_schemas import REPORTS
from butterquant_assets.signals.schemas import PAPER_TRADES, SCORED_SIGNALS
from butterquant_tests.signals.signal_cases import HOUR, START, random_bars, random_factors, random_funding, states_of

LENGTH = 24 * 7 * 4
RULES = Rules(ladder=Ladder(ten=60, twenty=4000, isotonic=5000, minimum_bucket=10))


def market(seed: int, length: int = LENGTH) -> tuple[pd.DataFrame, ...]:
    bars = random_bars(5, length, seed, move=0.02)
    return random_factors(bars, seed), states_of(bars), bars, random_funding(5, length, seed)


def test_the_line_runs_through_history_and_every_table_keeps_its_contract() -> None:
    signals, trades, rounds = replay(*market(1), as_of=START + LENGTH * HOUR, seed=7, rules=RULES)
    assert SCORED_SIGNALS.validate(SCORED_SIGNALS.arrange(signals)).reasons() == []
    assert PAPER_TRADES.validate(trades).reasons() == []
    assert len(rounds) == 3
    contracts = {contract.table.split("/")[1]: contract for contract in REPORTS}
    for one in rounds:
        assert set(one.frames) == set(contracts)
        for name, frame in one.frames.items():
            texts = {column: "str" for column in ("side", "version", "holding", "coin") if column in frame}
            arranged = contracts[name].arrange(frame.astype(texts))
            assert contracts[name].validate(arranged).reasons() == [], name
    assert rounds[-1].tables.calibration.method == "ten"
    assert (signals["calibration_version"] == CalibrationTable().version).any()
    # What a round made judges the signals after it, and no other.
    for one in rounds:
        judged = signals[signals["calibration_version"] == one.tables.calibration.version]
        assert (judged["hour"] + HOUR > one.tables.calibration.as_of).all()


def test_a_longer_history_changes_nothing_that_was_there_before() -> None:
    factors, state, bars, funding = market(2)
    middle = START + 24 * 7 * 3 * HOUR
    early = [frame[frame[time] < middle] for frame, time in ((factors, "hour"), (state, "hour"), (bars, "hour"))]
    cut = replay(*early, funding[funding["settled_at"] <= middle], as_of=middle, seed=7, rules=RULES)
    whole = replay(factors, state, bars, funding, as_of=START + LENGTH * HOUR, seed=7, rules=RULES)
    before = whole[0][whole[0]["hour"] + HOUR <= middle].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, cut[0], check_exact=True)
    for one, other in zip(cut[2], whole[2], strict=False):
        for name, frame in one.frames.items():
            pd.testing.assert_frame_equal(frame, other.frames[name], check_exact=True)


def test_on_a_market_without_edge_no_threshold_changes() -> None:
    _, _, rounds = replay(*market(3), as_of=START + LENGTH * HOUR, seed=7, rules=RULES)
    assert not any(one.frames["gate_thresholds"]["changed"].any() for one in rounds)


def test_a_round_is_due_after_a_week_or_three_hundred_results() -> None:
    now = START + 24 * 7 * HOUR
    assert is_due(None, now, 0)
    assert is_due(START, now, 0)
    assert not is_due(START + HOUR, now, 299)
    assert is_due(START + HOUR, now, 300)


def test_one_time_out_holds_for_execution_and_learning() -> None:
    with pytest.raises(ConfigError, match="different time-outs"):
        Rules(execution=Execution(timeout_hours=24))
