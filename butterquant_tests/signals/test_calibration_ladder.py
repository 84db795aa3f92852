from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.signals.calibration_ladder import CalibrationTable, Ladder, fit_calibration
from butterquant_assets.signals.calibration_report import brier_word, judge_calibration
from butterquant_assets.signals.paper import execute
from butterquant_assets.signals.refresh import stamped
from butterquant_assets.signals.report_schemas import CALIBRATION_CURVE, CALIBRATION_REPORT, CALIBRATION_TABLE
from butterquant_tests.signals.signal_cases import (
    HOUR,
    START,
    one_signal,
    random_bars,
    random_funding,
    scored,
)

DAY = 24 * HOUR


def made_trades(n: int, seed: int, *, slope: float = 0.0, open_share: float = 0.0) -> pd.DataFrame:
    """Trades one after another that reach their target with .2 + slope x confidence / 100, else the stop."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(1, 99, n)
    hit = random.random(n) < 0.2 + slope * confidence / 100
    entry = START + pd.to_timedelta(np.arange(n) // 20 * 4, unit="h")
    trades = pd.DataFrame(
        {
            "coin": [f"SIM{k % 20}" for k in range(n)],
            "confidence": confidence,
            "entry_at": entry,
            "exit_at": entry + 2 * HOUR,
            "known_at": entry + 2 * HOUR,
            "status": "closed",
            "exit_reason": np.where(hit, "target", "stop"),
            "gross_bps": np.where(hit, 400.0, -200.0),
            "stop_bps": 200.0,
            "target_bps": 400.0,
            "gate_data": True,
            "calibrated": True,
            "p_target": 0.2 + slope * confidence / 100,
        }
    )
    last = trades.index >= n - int(open_share * n)
    trades.loc[last, ["status", "exit_reason"]] = "open"
    return trades


def end_of(trades: pd.DataFrame) -> pd.Timestamp:
    return trades["entry_at"].max() + 5 * DAY


@pytest.mark.parametrize(
    ("n", "method", "rows"), [(299, "bootstrap", 0), (300, "ten", 10), (1000, "twenty", 20), (5000, "isotonic", None)]
)
def test_the_rungs_are_climbed_by_the_number_of_trades(n: int, method: str, rows: int | None) -> None:
    trades = made_trades(n, 1, slope=0.3)
    table = fit_calibration(trades, as_of=end_of(trades))
    assert (table.method, table.all_trades, table.calibrated) == (method, n, method != "bootstrap")
    assert rows is None or len(table.rows) == rows
    assert CALIBRATION_TABLE.validate(CALIBRATION_TABLE.arrange(table.to_frame())).reasons() == []


def test_the_bootstrap_is_a_price_without_drift_not_the_document_line() -> None:
    p = CalibrationTable().p_target([10.0, 90.0], [100.0, 100.0], [200.0, 300.0])
    np.testing.assert_allclose(p, [1 / 3, 1 / 4])


def test_a_bucket_is_the_mean_of_a_beta_posterior_and_thin_ones_say_what_all_say() -> None:
    trades = made_trades(400, 2)
    trades["confidence"] = np.where(trades.index < 360, 15.0, 95.0)
    hit = (trades["exit_reason"] == "target").to_numpy()
    table = fit_calibration(trades, as_of=end_of(trades), ladder=Ladder(minimum_bucket=50))
    rows = table.rows.set_index("lower")
    # The barriers' odds are a third; all trades shrink to them, a bucket to all trades.
    assert table.prior == pytest.approx((hit.sum() + 30 / 3) / (400 + 30))
    assert rows.loc[10.0, "p_target"] == pytest.approx((hit[:360].sum() + 30 * table.prior) / (360 + 30))
    assert rows.loc[90.0, ["trades", "level"]].tolist() == [40, "none"]
    assert rows.loc[90.0, "p_target"] == table.prior
    assert rows.loc[10.0, "level"] == "high"
    np.testing.assert_array_equal(
        table.p_target([10.0, 19.9, 20.0, 100.0], [1.0] * 4, [2.0] * 4),
        rows["p_target"].loc[[10.0, 10.0, 20.0, 90.0]],
    )


def test_buckets_of_few_trades_do_not_pull_the_whole_table_to_the_odds_of_the_barriers() -> None:
    """Twenty buckets of fifty trades: shrunk to a third each, a market where half reach the target would say .44."""
    trades = made_trades(1000, 13)
    half = np.random.default_rng(13).random(len(trades)) < 0.5
    trades["exit_reason"] = np.where(half, "target", "stop")
    table = fit_calibration(trades, as_of=end_of(trades))
    said = table.p_target(trades["confidence"], trades["stop_bps"], trades["target_bps"])
    assert table.method == "twenty"
    assert said.mean() == pytest.approx(half.mean(), abs=0.01)


@pytest.mark.parametrize("n", [3000, 6000])
def test_a_planted_slope_is_found(n: int) -> None:
    trades = made_trades(n, 3, slope=0.4)
    table = fit_calibration(trades, as_of=end_of(trades))
    confidence = np.array([15.0, 50.0, 85.0])
    found = table.p_target(confidence, np.full(3, 200.0), np.full(3, 400.0))
    np.testing.assert_allclose(found, 0.2 + 0.4 * confidence / 100, atol=0.08)
    steps = np.diff(table.p_target(np.arange(101.0), np.full(101, 1.0), np.full(101, 2.0)))
    assert table.method == "twenty" or (steps >= 0).all()


def test_an_open_trade_counts_at_its_mark() -> None:
    trades = made_trades(400, 4, open_share=0.05)
    as_of = trades["known_at"].max()
    trades["confidence"] = 15.0
    for mark, value in ((-200.0, 0.0), (100.0, 0.5), (400.0, 1.0)):
        trades.loc[trades["status"] == "open", "gross_bps"] = mark
        table = fit_calibration(trades, as_of=as_of)
        closed_hits = (trades["exit_reason"] == "target").sum()
        assert table.open_trades == 20
        assert table.rows["hits"].sum() == pytest.approx(closed_hits + 20 * value)


def test_timeouts_are_counted_among_trades_that_had_time_to_time_out() -> None:
    trades = made_trades(500, 5)
    trades.loc[trades.index[:50], "exit_reason"] = "timeout"
    trades.loc[trades.index[:50], "gross_bps"] = 60.0
    table = fit_calibration(trades, as_of=end_of(trades))
    assert table.p_timeout == pytest.approx(50 / 530)
    assert table.timeout_bps == pytest.approx(50 * 60 / 80)
    sums = table.outcomes([5.0, 50.0], [200.0, np.nan], [400.0, np.nan])
    assert sums.iloc[0][["p_target", "p_stop", "p_timeout"]].sum() == pytest.approx(1.0)
    assert sums.iloc[1][["p_target", "p_stop", "p_timeout"]].isna().all()


def test_overlapping_trades_count_once_and_those_without_data_not_at_all() -> None:
    trades = made_trades(400, 6)
    twice = pd.concat([trades, trades.assign(entry_at=trades["entry_at"] + HOUR)])
    bad = trades.assign(gate_data=False, coin="SIMX")
    table = fit_calibration(pd.concat([twice, bad]), as_of=end_of(trades))
    assert table.all_trades == 400
    pd.testing.assert_frame_equal(table.rows, fit_calibration(trades, as_of=end_of(trades)).rows)


@pytest.mark.parametrize("n", [100, 400, 6000])
def test_a_table_survives_being_stored_and_notices_a_change(n: int) -> None:
    trades = made_trades(n, 7, slope=0.3)
    table = fit_calibration(trades, as_of=end_of(trades))
    frame = table.to_frame()
    again = CalibrationTable.from_frame(frame)
    assert again.version == table.version
    c = np.linspace(0, 100, 7)
    np.testing.assert_array_equal(again.p_target(c, c + 1, c + 2), table.p_target(c, c + 1, c + 2))
    with pytest.raises(DataError, match="was changed"):
        CalibrationTable.from_frame(frame.assign(p_timeout=0.5))


def test_no_table_uses_the_future() -> None:
    """Executing and fitting as of a time gives the same bytes whether the later rows are there or not."""
    bars, funding = random_bars(6, 900, 11, move=0.02), random_funding(6, 900, 11)
    signals = scored(bars, 11)
    as_of = START + 700 * HOUR
    whole = fit_calibration(execute(signals, bars, funding, as_of=as_of), as_of=as_of)
    past = signals[signals["hour"] < as_of], bars[bars["hour"] < as_of], funding[funding["settled_at"] <= as_of]
    cut = fit_calibration(execute(*past, as_of=as_of), as_of=as_of)
    assert whole.method == "ten"
    assert whole.version == cut.version
    final = execute(signals, bars, funding, as_of=START + 900 * HOUR)
    with pytest.raises(DataError, match="were not known at"):
        fit_calibration(final, as_of=as_of)
    with pytest.raises(DataError, match="were not known at"):
        judge_calibration(final, as_of=as_of, seed=1, calibrated_only=False)


def test_closed_trades_alone_would_be_survivors() -> None:
    """On a market without drift the open ones at their mark bring the probability back to a third."""
    bars = random_bars(40, 60, 12, move=0.005)
    signals = scored(bars, 12)
    trades = execute(signals, bars, random_funding(40, 60, 12), as_of=START + 60 * HOUR)
    assert (trades["status"] == "open").mean() > 0.2
    first = trades.groupby("coin").head(30)
    closed = first[first["status"] == "closed"]
    survivors = (closed["exit_reason"] == "target").mean()
    table = fit_calibration(first, as_of=START + 60 * HOUR, ladder=Ladder(ten=50, prior_trades=0.0, minimum_bucket=1))
    found = table.rows["hits"].sum() / table.rows["trades"].sum()
    assert survivors < 0.28
    assert abs(found - 1 / 3) < 1 / 3 - survivors


def test_the_report_scores_what_was_predicted() -> None:
    trades = made_trades(3000, 8, slope=0.5)
    report = judge_calibration(trades, as_of=end_of(trades), seed=1)
    p, hit = trades["p_target"].to_numpy(), (trades["exit_reason"] == "target").to_numpy(dtype=float)
    assert report.value("trades") == 3000
    assert report.value("brier") == pytest.approx(((p - hit) ** 2).mean())
    assert report.value("brier_base_rate") == pytest.approx(hit.mean() * (1 - hit.mean()))
    assert report.value("brier") < report.value("brier_base_rate")
    assert report.value("log_loss") == pytest.approx(-np.log(np.where(hit == 1, p, 1 - p)).mean())
    parts = [report.value(name) for name in ("reliability", "resolution", "uncertainty", "within_bin")]
    assert parts[0] - parts[1] + parts[2] + parts[3] == pytest.approx(report.value("brier"))
    assert report.value("ece") <= report.value("ece_by_chance")
    filled = report.curve[report.curve["trades"] >= 30]
    assert filled["inside"].all()
    assert ((filled["low"] < filled["observed"]) & (filled["observed"] < filled["high"])).all()
    assert "better than the base rate" in report.sentence
    assert (
        CALIBRATION_CURVE.validate(stamped("calibration_curve", report.curve, pd.Timestamp("2024-06-01"))).reasons()
        == []
    )
    assert (
        CALIBRATION_REPORT.validate(stamped("calibration_report", report.figures, pd.Timestamp("2024-06-01"))).reasons()
        == []
    )


def test_a_promise_that_is_not_kept_shows() -> None:
    """The document's line on trades that a driftless price decides: 31,119 real ones came out like this."""
    trades = made_trades(3000, 9)
    trades["p_target"] = np.clip(0.40 + 0.30 * trades["confidence"] / 100, 0.35, 0.75)
    report = judge_calibration(trades, as_of=end_of(trades), seed=1)
    assert report.value("ece") > report.value("ece_by_chance")
    assert "not shown to be better" in report.sentence
    assert "more than chance explains" in report.sentence
    assert not report.curve.loc[report.curve["trades"] > 0, "inside"].any()


def test_young_trades_are_not_judged_since_those_that_ended_are_mostly_stops() -> None:
    trades = made_trades(600, 10)
    as_of = trades["known_at"].max()
    report = judge_calibration(trades, as_of=as_of, seed=1)
    young = (trades["entry_at"] + 72 * HOUR > as_of).sum()
    assert (report.value("trades"), report.value("not_ended")) == (600 - young, young)
    nothing = judge_calibration(trades.assign(calibrated=False), as_of=as_of, seed=1)
    assert nothing.word == ""
    assert (
        CALIBRATION_CURVE.validate(stamped("calibration_curve", nothing.curve, pd.Timestamp("2024-06-01"))).reasons()
        == []
    )


def test_words_are_those_of_the_document() -> None:
    assert [brier_word(value) for value in (0.099, 0.1, 0.149, 0.199, 0.2)] == [
        "excellent",
        "good",
        "good",
        "fair",
        "poor",
    ]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="rungs"):
        Ladder(ten=1000, twenty=300)
    with pytest.raises(ConfigError, match="no calibration method"):
        CalibrationTable("guess")
    with pytest.raises(DataError, match=r"0 \.\. 100"):
        CalibrationTable().p_target([101.0], [1.0], [2.0])
    with pytest.raises(DataError, match="trades lack the columns"):
        fit_calibration(one_signal(), as_of=START)
