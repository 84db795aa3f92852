from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.foundation.signal_recorder import VERSIONS, SignalRecorder
from butterquant_assets.signals.costs import (
    BUCKETS,
    CostTable,
    cost_report,
    cost_table,
    expected_funding_bps,
    funding_cost_report,
)
from butterquant_assets.signals.gate_report import REPORT_TYPES, bad_share_among_rejected, gate_report
from butterquant_assets.signals.gates import GATES
from butterquant_assets.signals.paper import Execution, execute
from butterquant_assets.signals.performance import sharpe_ratio, signal_performance
from butterquant_assets.signals.refresh import Tables, learn, stamped
from butterquant_assets.signals.report_schemas import (
    COST_REPORT,
    COST_TABLE,
    FUNDING_COST_REPORT,
    GATE_REPORT,
    SIGNAL_PERFORMANCE,
)
from butterquant_assets.signals.rounds import kept_tables, restored_tables
from butterquant_tests.signals.signal_cases import (
    HOUR,
    START,
    accepted,
    paper_trades,
    random_bars,
    random_funding,
    scored,
)

END = START + 2000 * HOUR


@pytest.fixture(scope="module")
def trades() -> pd.DataFrame:
    """Trades of four coins over twelve weeks; every third signal was accepted."""
    return third_accepted(paper_trades())


def third_accepted(made: pd.DataFrame) -> pd.DataFrame:
    third = made.index % 3 == 0
    made.loc[third] = accepted(made[third].drop(columns="track").assign(track="accepted"))[made.columns]
    return made


# ------------------------------------------------------------------------------------------------------------- costs


def test_a_coin_with_ten_executions_uses_its_95th_percentile_and_one_with_nine_the_constant() -> None:
    rows = {"coin": ["A"] * 10 + ["B"] * 9, "status": "closed", "known_at": END, "held_hours": 12.0}
    made = pd.DataFrame(rows | {"paid_cost_bps": [*range(10, 20), *[50.0] * 9]})
    table = cost_table(made, as_of=END)
    assert table["used_bps"].tolist() == [pytest.approx(18.55), 14.0]
    assert table["source"].tolist() == ["measured", "constant"]
    assert table["median_bps"].tolist() == [14.5, 50.0]
    found = CostTable.from_frame(table)
    np.testing.assert_allclose(found.of(pd.Series(["B", "A", "C"])), [14.0, 18.55, 14.0])
    assert (found.holding_hours, found.version) == (12.0, table["version"].iloc[0])
    assert COST_TABLE.validate(table).reasons() == []


def test_no_cost_table_uses_the_future(trades: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="were not known at"):
        cost_table(trades, as_of=START + 500 * HOUR)
    known = trades[trades["known_at"] <= START + 500 * HOUR]
    assert cost_table(known, as_of=START + 500 * HOUR)["executions"].sum() == (known["status"] == "closed").sum()


def test_without_trades_every_coin_costs_the_constant() -> None:
    empty = paper_trades(1, 5).iloc[:0]
    assert CostTable.from_frame(cost_table(empty, as_of=END)).of(pd.Series(["A"])) == [14.0]
    assert COST_REPORT.validate(stamped("cost_report", cost_report(empty), START)).reasons() == []
    assert (
        FUNDING_COST_REPORT.validate(stamped("funding_cost_report", funding_cost_report(empty), START)).reasons() == []
    )


def test_trading_for_nothing_is_learned_and_kept_as_such(tmp_path: Path) -> None:
    bars, as_of = random_bars(2, 400, 1), START + 400 * HOUR
    free = Execution(taker_fee_bps=0.0, slippage_bps=0.0, half_spread_bps=0.0)
    made = execute(scored(bars, 2), bars, random_funding(2, 400, 1), as_of=as_of, execution=free)
    learned = learn(made, Tables(), as_of=as_of, seed=1)
    table = learned.frames["cost_table"]
    assert table["source"].tolist() == ["measured", "measured"]
    assert table["used_bps"].tolist() == [0.0, 0.0]
    assert COST_TABLE.validate(table).reasons() == []
    with SignalRecorder(f"sqlite:///{tmp_path / 'warehouse.sqlite'}") as recorder:
        recorder.migrate()
        recorder.keep_versions(kept_tables(learned.tables))
        kept = recorder.kept_versions(dict(zip(VERSIONS, learned.tables.versions, strict=True)))
    assert restored_tables(kept).costs.coins == {"SIM0": 0.0, "SIM1": 0.0}


def test_a_long_expects_to_pay_what_a_short_expects_to_get() -> None:
    found = expected_funding_bps(pd.Series(["long", "short", "long"]), pd.Series([1e-4, 1e-4, np.nan]), 16.0)
    np.testing.assert_allclose(found, [2.0, -2.0, np.nan])


def test_the_cost_report_sets_realised_beside_expected(trades: pd.DataFrame) -> None:
    report = stamped("cost_report", cost_report(trades), START)
    assert COST_REPORT.validate(report).reasons() == []
    every = report.set_index("coin").loc["all"]
    closed = trades[trades["status"] == "closed"]
    assert every["error_bps"] == pytest.approx((closed["paid_cost_bps"] - closed["cost_bps"]).mean())
    assert report["trades"].sum() == 2 * len(closed)
    parts = every[["mean_spread_bps", "mean_slippage_bps", "mean_fee_bps"]].sum()
    assert parts == pytest.approx(every["mean_paid_bps"], abs=0.05)  # they compound


def test_funding_is_reported_by_time_held(trades: pd.DataFrame) -> None:
    report = funding_cost_report(trades).set_index("holding")
    closed = trades[trades["status"] == "closed"]
    edges = [0, 8, 24, 48, 1e9]
    for name, low, high in zip(BUCKETS, edges, edges[1:], strict=False):
        part = closed[(closed["held_hours"] >= low) & (closed["held_hours"] < high)]
        known = part[part["funding_known"]]
        assert report.loc[name, "trades"] == len(part)
        assert report.loc[name, "mean_bps"] == pytest.approx(known["paid_funding_bps"].mean())
    assert report.loc["all", "trades"] == len(closed)
    arranged = stamped("funding_cost_report", report.reset_index(), START)
    assert FUNDING_COST_REPORT.validate(arranged).reasons() == []


def test_nonsense_costs_are_refused(trades: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="minimum 0"):
        cost_table(trades, as_of=END, minimum=0)


# ------------------------------------------------------------------------------------------------------------- gates


def test_the_gate_report_says_what_the_rejected_would_have_done(trades: pd.DataFrame) -> None:
    report = gate_report(trades, seed=1)
    assert list(report.columns) == list(REPORT_TYPES)
    assert GATE_REPORT.validate(stamped("gate_report", report, START)).reasons() == []
    rows = report.set_index("gate")
    for gate in GATES:
        rejected = trades[~trades[f"gate_{gate}"]]
        pnl = rejected["pnl_bps"].dropna()
        assert rows.loc[gate, "signals"] == len(rejected)
        assert rows.loc[gate, "executed"] == len(pnl)
        assert rows.loc[gate, "bad_share"] == pytest.approx((pnl <= 0).mean())
        assert rows.loc[gate, "low_bps"] <= pnl.mean() <= rows.loc[gate, "high_bps"]
    assert rows.loc["any", "signals"] + rows.loc["accepted", "signals"] == len(trades)
    assert rows.loc["any", "bad_share"] == pytest.approx(bad_share_among_rejected(trades))
    alone = (~trades[[f"gate_{gate}" for gate in GATES]]).sum(axis=1) == 1
    assert rows.loc[list(GATES), "rejected_alone"].sum() == alone.sum()


# ------------------------------------------------------------------------------------------------------- performance


def test_months_that_were_over_are_taken_from_the_report_before(trades: pd.DataFrame) -> None:
    middle = START + 1200 * HOUR
    former = signal_performance(third_accepted(paper_trades(as_of=middle)), as_of=middle, seed=1)
    assert former["complete"].tolist() == [True, True, False, False]
    anew = signal_performance(trades, as_of=END, seed=1)
    taken = signal_performance(trades, as_of=END, seed=1, former=former)
    pd.testing.assert_frame_equal(taken, anew, check_exact=True)
    marked = signal_performance(trades, as_of=END, seed=1, former=former.assign(total_pnl_usd=-7.0))
    assert marked["total_pnl_usd"].eq(-7.0).tolist() == [True, True, False, False, False, False]


def test_performance_is_that_of_the_month_of_entry(trades: pd.DataFrame) -> None:
    table = signal_performance(trades, as_of=END, seed=1)
    assert SIGNAL_PERFORMANCE.validate(stamped("signal_performance", table, END)).reasons() == []
    assert table["complete"].tolist() == [True, True, True, True, False, False]
    january = table[(table["month"] == START) & (table["track"] == "all")].iloc[0]
    own = trades[trades["entry_at"] < pd.Timestamp("2024-02-01")]
    assert (january["trades"], january["not_ended"]) == (len(own), 0)
    assert january["win_rate"] == pytest.approx((own["exit_reason"] == "target").mean())
    assert january["win_rate_error_points"] == pytest.approx(100 * (january["win_rate"] - own["p_target"].mean()))
    assert january["total_pnl_bps"] == pytest.approx(own["pnl_bps"].sum())
    assert january["cost_met"] == "yes"
    assert january["brier_met"] == "no"
    taken = table[(table["month"] == START) & (table["track"] == "accepted")].iloc[0]
    assert taken["signals"] == (own["track"] == "accepted").sum()


def test_of_the_running_month_only_trades_old_enough_are_judged(trades: pd.DataFrame) -> None:
    last = signal_performance(trades, as_of=END, seed=1).iloc[-1]
    own = trades[trades["entry_at"] >= pd.Timestamp("2024-03-01")]
    old = (own["entry_at"] + 72 * HOUR <= END).sum()
    filled = own["status"].isin(["closed", "open"]).sum()
    assert (last["trades"], last["not_ended"]) == (old, filled - old)


def test_performance_refuses_what_was_not_known(trades: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="were not known at"):
        signal_performance(trades, as_of=START + 100 * HOUR, seed=1)


def test_the_sharpe_ratio_is_annualised_over_days_and_its_interval_covers_it() -> None:
    daily = by_day(np.random.default_rng(1).normal(1.0, 10.0, 60))
    ratio, low, high = sharpe_ratio(daily, seed=1)
    assert ratio == pytest.approx(daily.mean() / daily.std(ddof=1) * np.sqrt(365))
    assert low < ratio < high
    assert np.isnan(sharpe_ratio(by_day(np.zeros(30)), seed=1)).all()
    assert sharpe_ratio(daily, seed=1) == (ratio, low, high)
    one_week = sharpe_ratio(by_day(np.arange(6.0)), seed=1)
    assert one_week[0] > 0
    assert np.isnan(one_week[1:]).all()
    one_trade = np.zeros(28)
    one_trade[3] = 400.0
    assert np.isnan(sharpe_ratio(by_day(one_trade), seed=1)[1:]).all()
    two_trades = one_trade + np.roll(one_trade, 14)
    _, low, high = sharpe_ratio(by_day(two_trades), seed=1)
    assert low <= 0 < high


def test_days_that_share_their_luck_do_not_narrow_the_interval_of_the_sharpe_ratio() -> None:
    """Whole weeks of one luck: the interval is that of the weeks, not of seven times as many days."""
    random = np.random.default_rng(4)
    shared = random.normal(0.0, 10.0, 26).repeat(7)
    single = random.normal(0.0, 10.0, 26 * 7)
    widths = []
    for values in (shared, single):
        _, low, high = sharpe_ratio(by_day(values), seed=1)
        widths.append(high - low)
    assert widths[0] > 1.8 * widths[1]


def test_the_performance_of_a_month_that_has_just_begun_keeps_its_contract() -> None:
    """Of its first week there are no bounds yet."""
    as_of = START + 6 * 24 * HOUR
    found = signal_performance(paper_trades(as_of=as_of), as_of=as_of, seed=1)
    assert found["sharpe"].notna().any()
    assert SIGNAL_PERFORMANCE.validate(stamped("signal_performance", found, as_of)).reasons() == []


def days_of(trades: pd.DataFrame, first: str, last: str) -> pd.Series:
    """Results by day of entry, from one day to another, both included."""
    pnl = trades["pnl_bps"].groupby(trades["entry_at"].dt.floor("D")).sum()
    return pnl.reindex(pd.date_range(first, last), fill_value=0.0)


def test_a_month_in_which_the_history_begins_has_no_days_before_it(trades: pd.DataFrame) -> None:
    """From the 20th on; the 25th without a signal is a day without result, the 1st to the 19th are none."""
    day = trades["entry_at"].dt.floor("D")
    late = trades[(trades["hour"] >= "2024-01-20") & (day != "2024-01-25")]
    found = signal_performance(late, as_of=END, seed=1)
    january, february = (found[found["track"] == "all"].iloc[place] for place in (0, 1))
    assert january["complete"]
    daily = days_of(late, "2024-01-20", "2024-01-31")
    assert daily["2024-01-25"] == 0
    assert january["sharpe"] == pytest.approx(sharpe_ratio(daily, seed=1)[0])
    daily = days_of(late, "2024-02-01", "2024-02-29")
    assert february["sharpe"] == pytest.approx(sharpe_ratio(daily, seed=1)[0])
    # A first signal at 23:00 is entered on the next day.
    evening = trades[trades["hour"] >= "2024-01-19 23:00"]
    daily = days_of(evening, "2024-01-20", "2024-01-31")
    january = signal_performance(evening, as_of=END, seed=1).iloc[-1 - 2 * 2]
    assert january["sharpe"] == pytest.approx(sharpe_ratio(daily, seed=1)[0])


@pytest.mark.parametrize(("hours", "last"), [(6 * 24, 6), (6 * 24 + 1, 7), (6 * 24 + 12, 7)])
def test_a_day_that_only_begins_is_no_day_without_result(hours: int, last: int) -> None:
    as_of = START + hours * HOUR
    trades = paper_trades(as_of=as_of)
    found = signal_performance(trades, as_of=as_of, seed=1)
    daily = days_of(trades, "2024-01-01", f"2024-01-{last:02d}")
    assert found.iloc[-1]["sharpe"] == pytest.approx(sharpe_ratio(daily, seed=1)[0])


def test_four_days_are_too_few_for_a_sharpe_ratio() -> None:
    as_of = START + 4 * 24 * HOUR
    assert np.isnan(signal_performance(paper_trades(as_of=as_of), as_of=as_of, seed=1)["sharpe"]).all()


def by_day(values: np.ndarray) -> pd.Series:
    """Results of the days from a Thursday on: the weeks that are drawn begin with it."""
    return pd.Series(values, index=pd.date_range("2024-01-04", periods=len(values), unit="us"))
