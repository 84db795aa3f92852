from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.signals.calibration_ladder import CalibrationTable, Ladder, fit_calibration
from butterquant_assets.signals.calibration_report import FIGURES, brier_word, judge_calibration
from butterquant_assets.signals.paper import execute
from butterquant_assets.signals.refresh import Rules, stamped
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
            "verdict": "rejected",
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


def test_the_document_line_can_be_chosen_for_the_first_rung_and_for_no_other() -> None:
    """What it does: on 31,119 real trades of this rule .335 reached the target; it promises .40 and more to all."""
    rules = Rules(ladder=Ladder(bootstrap="document"))
    first = rules.first_tables.calibration
    confidence = np.linspace(0.0, 100.0, 11)
    stop = np.full(11, 200.0)
    np.testing.assert_allclose(
        first.p_target(confidence, stop, 2 * stop), np.clip(0.40 + 0.30 * confidence / 100, 0.35, 0.75)
    )
    assert np.isnan(first.p_target([50.0], [np.nan], [np.nan])).all()
    assert (first.method, first.calibrated) == ("document", False)
    trades = made_trades(400, 14)
    fitted = fit_calibration(trades.iloc[:299], as_of=end_of(trades), ladder=rules.ladder)
    assert (fitted.method, fitted.all_trades, fitted.calibrated) == ("document", 299, False)
    again = CalibrationTable.from_frame(fitted.to_frame())
    assert again.version == fitted.version
    assert again.p_target([80.0], [100.0], [200.0]) == pytest.approx(0.64)
    assert CALIBRATION_TABLE.validate(CALIBRATION_TABLE.arrange(fitted.to_frame())).reasons() == []
    assert fitted.to_frame()[["lower", "p_target", "level"]].to_numpy().tolist() == [
        [0.0, 0.40, "none"],
        [100.0, 0.70, "none"],
    ]
    ours = fit_calibration(trades.iloc[:299], as_of=end_of(trades))
    assert ours.version != fitted.version
    pd.testing.assert_frame_equal(
        fit_calibration(trades, as_of=end_of(trades), ladder=rules.ladder).rows,
        fit_calibration(trades, as_of=end_of(trades)).rows,
    )


def test_under_the_document_line_nearly_every_signal_passes_the_gate_of_expected_value() -> None:
    bars = random_bars(3, 400, 15, move=0.01)
    promised = Rules(ladder=Ladder(bootstrap="document")).first_tables.calibration
    by_document, ours = scored(bars, 15, calibration=promised), scored(bars, 15)
    assert by_document["gate_ev"].mean() > 0.95
    assert ours["gate_ev"].mean() < 0.05
    assert not by_document["calibrated"].any()


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


def test_two_lucky_trades_at_the_top_of_the_isotonic_curve_are_no_certainty() -> None:
    """A fit to whole outcomes said .99998 of every higher confidence."""
    trades = made_trades(5200, 20)
    hit = np.random.default_rng(20).random(len(trades)) < 1 / 3
    hit[np.argsort(trades["confidence"].to_numpy())[-2:]] = True
    trades["exit_reason"] = np.where(hit, "target", "stop")
    table = fit_calibration(trades, as_of=end_of(trades))
    top = float(trades["confidence"].max())
    assert table.method == "isotonic"
    assert table.p_target([top, top + 0.5, 100.0], [200.0] * 3, [400.0] * 3).max() < 0.5


def test_blocks_of_the_isotonic_curve_have_enough_trades_and_are_shrunk_as_buckets_are() -> None:
    trades = made_trades(6000, 21, slope=0.3)
    table = fit_calibration(trades, as_of=end_of(trades))
    rows = table.rows
    assert len(rows) > 5
    assert rows["trades"].min() >= 30
    assert rows["trades"].sum() == 6000
    assert rows["hits"].sum() == (trades["exit_reason"] == "target").sum()
    np.testing.assert_allclose(rows["p_target"], (rows["hits"] + 30 * table.prior) / (rows["trades"] + 30))
    assert (np.diff(rows["p_target"]) > 0).all()
    inside = trades["confidence"].between(rows["lower"].iloc[-1], rows["upper"].iloc[-1])
    assert inside.sum() == rows["trades"].iloc[-1]
    middle = (rows["lower"] + rows["upper"]).to_numpy() / 2
    np.testing.assert_array_equal(table.p_target(middle, middle + 1, middle + 2), rows["p_target"])


def test_trades_of_one_confidence_make_one_block() -> None:
    trades = made_trades(5000, 22).assign(confidence=40.0)
    table = fit_calibration(trades, as_of=end_of(trades))
    assert table.rows[["lower", "upper", "trades"]].to_numpy().tolist() == [[40.0, 40.0, 5000.0]]
    np.testing.assert_array_equal(table.p_target([1.0, 40.0, 99.0], [1.0] * 3, [2.0] * 3), table.rows["p_target"][0])


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
        CALIBRATION_REPORT.validate(
            stamped("calibration_report", report.figures.assign(word=report.words()), pd.Timestamp("2024-06-01"))
        ).reasons()
        == []
    )


def test_what_is_said_of_accepted_signals_alone_stands_beside() -> None:
    """Gates that keep signals with better odds: for those the probabilities of all are too low, as the report says."""
    trades = made_trades(4000, 16, slope=0.4)
    hit = (trades["exit_reason"] == "target").to_numpy()
    kept = np.random.default_rng(16).random(len(trades)) < np.where(hit, 0.3, 0.2)
    trades["verdict"] = np.where(kept, "accepted", "rejected")
    report = judge_calibration(trades, as_of=end_of(trades), seed=1)
    alone = judge_calibration(trades[kept], as_of=end_of(trades), seed=1)
    assert report.value("accepted_trades") == kept.sum()
    for name in ("observed", "predicted", "brier", "ece", "ece_by_chance"):
        assert report.value(f"accepted_{name}") == alone.value(name), name
    assert report.value("accepted_gap") == pytest.approx(hit[kept].mean() - trades.loc[kept, "p_target"].mean())
    assert 0 < report.value("accepted_gap_low") < report.value("accepted_gap") < report.value("accepted_gap_high")
    for name in ("trades", "mean_predicted", "observed", "low", "high", "inside"):
        np.testing.assert_array_equal(report.curve[f"accepted_{name}"], alone.curve[name])
    assert report.curve["trades"].sum() == 4000
    assert f"Of {kept.sum()} accepted signals" in report.sentence
    said = dict(zip(FIGURES, report.words(), strict=True))
    assert {name: word for name, word in said.items() if word} == {
        name: brier_word(report.value(name)) for name in ("brier", "brier_base_rate", "accepted_brier")
    }
    made = pd.Timestamp("2024-06-01")
    words = report.figures.assign(word=report.words())
    for contract, frame in ((CALIBRATION_CURVE, report.curve), (CALIBRATION_REPORT, words)):
        assert contract.validate(stamped(contract.table.split("/")[1], frame, made)).reasons() == []


def test_an_accepted_signal_whose_coin_a_rejected_one_held_is_still_judged() -> None:
    trades = made_trades(600, 17)
    later = trades.assign(entry_at=trades["entry_at"] + HOUR, verdict="accepted")
    report = judge_calibration(pd.concat([trades, later], ignore_index=True), as_of=end_of(trades), seed=1)
    assert (report.value("trades"), report.value("accepted_trades")) == (600, 600)


def test_a_promise_that_is_not_kept_shows() -> None:
    """The document's line on trades that a driftless price decides: 31,119 real ones came out like this."""
    trades = made_trades(3000, 9)
    trades["p_target"] = np.clip(0.40 + 0.30 * trades["confidence"] / 100, 0.35, 0.75)
    report = judge_calibration(trades, as_of=end_of(trades), seed=1)
    assert report.value("ece") > report.value("ece_by_chance")
    assert "not shown to be better" in report.sentence
    assert "more than chance explains" in report.sentence
    assert not report.curve.loc[report.curve["trades"] > 0, "inside"].any()


def test_the_same_miss_on_either_side_of_one_half_does_not_cancel() -> None:
    trades = made_trades(1600, 18)
    trades["entry_at"] = START + pd.to_timedelta(3 * np.arange(len(trades)), unit="h")  # half a year
    trades = trades.assign(exit_at=trades["entry_at"] + HOUR, known_at=trades["entry_at"] + HOUR)
    random = np.random.default_rng(18)
    p = np.where(random.random(len(trades)) < 0.5, 0.58, 0.42)
    trades["p_target"] = p
    trades["exit_reason"] = np.where(random.random(len(trades)) < p + 0.1, "target", "stop")
    report = judge_calibration(trades.assign(verdict="accepted"), as_of=end_of(trades), seed=1)
    filled = report.curve[report.curve["trades"] > 0]
    gaps = (filled["observed"] - filled["mean_predicted"]).abs()
    assert not filled["inside"].any()
    assert report.value("ece") == pytest.approx(np.average(gaps, weights=filled["trades"]))
    assert report.value("ece") > 0.07
    assert report.value("accepted_ece") == report.value("ece")
    assert max(report.value("ece_by_chance"), report.value("ece_by_chance_in_weeks")) < 0.05
    assert "more than chance explains" in report.sentence


def test_young_trades_are_not_judged_since_those_that_ended_are_mostly_stops() -> None:
    trades = made_trades(600, 10)
    as_of = trades["known_at"].max()
    report = judge_calibration(trades, as_of=as_of, seed=1)
    young = (trades["entry_at"] + 72 * HOUR > as_of).sum()
    assert (report.value("trades"), report.value("not_ended")) == (600 - young, young)
    assert report.value("accepted_trades") == 0
    assert report.sentence.endswith("No accepted signal is among them.")
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
    with pytest.raises(ConfigError, match="use one of barriers, document"):
        Ladder(bootstrap="hope")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no calibration method"):
        CalibrationTable("guess")
    with pytest.raises(DataError, match=r"0 \.\. 100"):
        CalibrationTable().p_target([101.0], [1.0], [2.0])
    with pytest.raises(DataError, match="trades lack the columns"):
        fit_calibration(one_signal(), as_of=START)
