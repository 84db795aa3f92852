from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
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
from butterquant_assets.signals.performance import sharpe_ratio, signal_performance
from butterquant_assets.signals.refresh import stamped
from butterquant_assets.signals.report_schemas import (
    COST_REPORT,
    COST_TABLE,
    FUNDING_COST_REPORT,
    GATE_REPORT,
    SIGNAL_PERFORMANCE,
)
from butterquant_tests.signals.signal_cases import HOUR, START, accepted, paper_trades

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
    daily = np.random.default_rng(1).normal(1.0, 10.0, 60)
    ratio, low, high = sharpe_ratio(daily, seed=1)
    assert ratio == pytest.approx(daily.mean() / daily.std(ddof=1) * np.sqrt(365))
    assert low < ratio < high
    assert np.isnan(sharpe_ratio(np.zeros(30), seed=1)).all()
    assert sharpe_ratio(daily, seed=1) == (ratio, low, high)
