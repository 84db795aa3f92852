from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import DataError, WarehouseError
from butterquant_assets.foundation.signal_recorder import VERSIONS, SignalRecorder
from butterquant_assets.signals.gates import Thresholds
from butterquant_assets.signals.paper import execute
from butterquant_assets.signals.refresh import Rules, learn
from butterquant_assets.signals.rounds import kept_tables, restored_tables
from butterquant_tests.signals.signal_cases import HOUR, START, paper_trades, random_bars, random_funding, scored

END = START + 200 * HOUR


@pytest.fixture
def recorder(warehouse_url: str) -> Iterator[SignalRecorder]:
    with SignalRecorder(warehouse_url) as opened:
        opened.migrate()
        yield opened


@pytest.fixture(scope="module")
def signals() -> pd.DataFrame:
    return scored(random_bars(2, 200, 1, move=0.02), 1)


def trades_as_of(signals: pd.DataFrame, as_of: pd.Timestamp = END) -> pd.DataFrame:
    return execute(signals, random_bars(2, 200, 1, move=0.02), random_funding(2, 200, 1), as_of=as_of)


def test_what_was_recorded_comes_back_with_every_digit(recorder: SignalRecorder, signals: pd.DataFrame) -> None:
    trades = trades_as_of(signals)
    assert recorder.record_signals(signals) == len(signals)
    filled = trades[trades["status"].isin(["closed", "open"])]
    assert recorder.record_trades(trades) == len(filled)
    found = recorder.signals(START, END).set_index("signal_id")
    given = signals.set_index("signal_id").loc[found.index]
    for letter in "TMCVOBFI":
        np.testing.assert_array_equal(found[f"factor_{letter.lower()}"], given[letter])
    for name in ("score", "stop_bps", "ev_bps", "market_regime", "atr14"):
        np.testing.assert_array_equal(found[name], given[name])
    assert (found["known_at"] == given["hour"] + HOUR).all()
    assert (found["gate_fund"] == given["gate_fund"]).all()
    assert (found["reason"] == given["reason"]).all()
    results = recorder.results(START, END + HOUR).set_index("signal_id")
    expected = filled.set_index("signal_id").loc[results.index]
    for name in ("pnl_bps", "exit_at", "outcome", "settlements", "held_hours"):
        np.testing.assert_array_equal(results[name], expected[name])
    executions = recorder.executions(START, END).set_index("signal_id")
    np.testing.assert_array_equal(executions["entry_fill"], expected.loc[executions.index, "entry_fill"])


def test_writing_twice_is_writing_once(recorder: SignalRecorder, signals: pd.DataFrame) -> None:
    trades = trades_as_of(signals)
    for _ in range(2):
        recorder.record_signals(signals)
        recorder.record_trades(trades)
    assert len(recorder.signals(START, END)) == len(signals)
    assert recorder.new_results(START) == (trades["status"] == "closed").sum()


def test_an_open_trade_is_replaced_by_its_end_and_not_opened_again_by_a_late_writer(
    recorder: SignalRecorder, signals: pd.DataFrame
) -> None:
    early, late = trades_as_of(signals, START + 100 * HOUR), trades_as_of(signals)
    open_then = early[early["status"] == "open"]["signal_id"]
    assert len(open_then) > 3
    recorder.record_signals(signals)
    for trades in (early, late, early):
        recorder.record_trades(trades)
    ended = set(late[late["status"] == "closed"]["signal_id"])
    results = recorder.results(START, END + HOUR).set_index("signal_id")
    assert (results.loc[[name for name in open_then if name in ended], "status"] == "closed").all()


def test_a_correction_replaces_what_was_recorded(recorder: SignalRecorder, signals: pd.DataFrame) -> None:
    recorder.record_signals(signals)
    recorder.record_signals(signals.assign(confidence=50.0))
    assert (recorder.signals(START, END)["confidence"] == 50.0).all()
    trades = trades_as_of(signals)
    recorder.record_trades(trades)
    closed = trades[trades["status"] == "closed"].assign(pnl_bps=1.0)
    recorder.record_trades(closed.assign(known_at=closed["known_at"] - HOUR))
    found = recorder.results(START, END)
    assert (found[found["status"] == "closed"]["pnl_bps"] == 1.0).all()


def test_paper_and_live_stand_beside_each_other(recorder: SignalRecorder, signals: pd.DataFrame) -> None:
    trades = trades_as_of(signals).head(5)
    recorder.record_signals(signals)
    recorder.record_trades(trades)
    recorder.record_trades(trades, mode="live")
    assert sorted(recorder.results(START, END)["mode"].unique()) == ["live", "paper"]


def test_a_trade_needs_its_signal(recorder: SignalRecorder, signals: pd.DataFrame) -> None:
    with pytest.raises(WarehouseError, match=r"(?i)foreign key"):
        recorder.record_trades(trades_as_of(signals))


def test_nothing_is_written_when_something_is_wrong(recorder: SignalRecorder, signals: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="are repeated"):
        recorder.record_signals(pd.concat([signals, signals.head(1)]))
    with pytest.raises(DataError, match="lack the columns ev_bps"):
        recorder.record_signals(signals.drop(columns="ev_bps"))
    with pytest.raises(WarehouseError, match="upsert_signal_snapshots"):
        recorder.record_signals(signals.assign(verdict=["unsure", *signals["verdict"].iloc[1:]]))
    assert len(recorder.signals(START, END)) == 0
    assert recorder.record_signals(signals.iloc[:0]) == 0


def test_a_day_is_recorded_as_a_whole_and_what_was_traded_live_stays(
    recorder: SignalRecorder, signals: pd.DataFrame
) -> None:
    trades = trades_as_of(signals)
    day = START + 24 * HOUR
    own, done = (frame[frame["hour"].dt.floor("D") == day] for frame in (signals, trades))
    wrote = recorder.record_day(day, own, done)
    assert wrote == {"signals": len(own), "trades": len(done), "signals_removed": 0, "trades_removed": 0}
    live = own["signal_id"].iloc[3]
    recorder.record_trades(done[done["signal_id"] == live], mode="live")
    # A correction took the first six signals away, and the seventh no longer finds a price.
    fewer = done.iloc[6:].copy()
    fewer.loc[fewer.index[0], "status"] = "not_filled"
    again = recorder.record_day(day, own.iloc[6:], fewer)
    assert again == {"signals": len(own) - 6, "trades": len(own) - 7, "signals_removed": 5, "trades_removed": 7}
    found = recorder.signals(day, day + 23 * HOUR)
    assert set(found["signal_id"]) == {live, *own["signal_id"].iloc[6:]}
    results = recorder.results(START, END + HOUR)
    assert results[results["mode"] == "live"]["signal_id"].tolist() == [live]
    assert set(results[results["mode"] == "paper"]["signal_id"]) == set(own["signal_id"].iloc[7:])


def test_signals_of_another_day_are_refused(recorder: SignalRecorder, signals: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="do not belong to 2024-01-05"):
        recorder.record_day(START + 96 * HOUR, signals, trades_as_of(signals))


def test_what_a_live_trade_was_decided_on_is_never_overwritten(recorder: SignalRecorder, signals: pd.DataFrame) -> None:
    trades = trades_as_of(signals)
    filled = trades[trades["status"] == "closed"]["signal_id"]
    live, paper = filled.iloc[0], filled.iloc[1]
    recorder.record_signals(signals)
    recorder.record_trades(trades[trades["signal_id"].isin([live, paper])])
    recorder.record_trades(trades[trades["signal_id"] == live], mode="live")
    before = recorder.signals(START, END).set_index("signal_id")
    recorder.record_signals(signals.assign(confidence=50.0, calibration_version="another"))
    after = recorder.signals(START, END).set_index("signal_id")
    pd.testing.assert_series_equal(after.loc[live], before.loc[live])
    assert (after.drop(index=live)["confidence"] == 50.0).all()
    assert after.loc[paper, "calibration_version"] == "another"


def test_versions_that_judged_are_kept_as_they_were_and_give_the_same_tables(recorder: SignalRecorder) -> None:
    trades = paper_trades(4, 2500)
    rules = Rules()
    learned = learn(trades, rules.first_tables, as_of=START + 2500 * HOUR, seed=1, rules=rules).tables
    assert learned.calibration.method != "bootstrap"
    assert learned.costs.coins
    changed = replace(learned, thresholds=Thresholds(f_directional=-20.0, as_of=START + 24 * HOUR))
    for tables in (rules.first_tables, learned, changed):
        recorder.keep_versions(kept_tables(tables))
    # Whoever writes something else under the same name writes nothing.
    forged = kept_tables(changed)
    forged["calibration"] = forged["calibration"].assign(p_target=0.9)
    forged["cost"] = forged["cost"].assign(used_bps=1.0)
    forged["threshold"] = forged["threshold"].assign(ev_bps=-99.0)
    recorder.keep_versions(forged)
    for tables in (rules.first_tables, learned, changed):
        kept = recorder.kept_versions(dict(zip(VERSIONS, tables.versions, strict=True)))
        again = restored_tables(kept)
        assert again.versions == tables.versions
        assert again.thresholds == tables.thresholds
        assert again.costs.coins == tables.costs.coins
        pd.testing.assert_frame_equal(again.calibration.to_frame(), tables.calibration.to_frame(), check_exact=True)
    with pytest.raises(DataError, match="was changed since"):
        restored_tables(forged)
    with pytest.raises(DataError, match="no cost version nowhere is kept"):
        recorder.kept_versions({"cost": "nowhere"})
