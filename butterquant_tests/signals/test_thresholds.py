from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.signals.gates import GATES, Thresholds, judge
from butterquant_assets.signals.refresh import stamped
from butterquant_assets.signals.report_schemas import GATE_THRESHOLDS, THRESHOLD_COMPARISON, THRESHOLD_SCAN
from butterquant_assets.signals.thresholds import Search, choose_thresholds, thresholds_of
from butterquant_assets.signals.weekly import gain_bounds
from butterquant_tests.signals.threshold_cases import AS_OF, SEARCH, gate_trades

LOOSE = Thresholds(f_directional=-30.0)


def decision(trades: pd.DataFrame, gate: str, current: Thresholds = LOOSE, seed: int = 1) -> pd.Series:
    choice = choose_thresholds(trades, current, as_of=AS_OF, seed=seed, search=SEARCH)
    return choice.decisions.set_index("gate").loc[gate]


@pytest.mark.parametrize("planted", [-15.0, 0.0])
def test_the_fund_gate_finds_the_planted_threshold_within_a_step(planted: float) -> None:
    found = decision(gate_trades(1, planted=planted), "fund")
    assert found["changed"]
    assert abs(found["applied"] - planted) <= 5.0
    assert "replaces -30" in found["reason"]


def test_an_edge_of_the_first_period_alone_is_not_confirmed() -> None:
    trades = gate_trades(2)
    early = trades["entry_at"] < AS_OF - pd.Timedelta(days=SEARCH.confirm_days)
    trades.loc[early & (trades["f_directional"] < -15), "pnl_bps"] -= 150.0
    found = decision(trades, "fund")
    assert not found["changed"]
    assert found["applied"] == -30.0
    assert "not confirmed" in found["reason"]


def test_an_edge_of_the_second_period_alone_is_not_looked_for() -> None:
    trades = gate_trades(3)
    late = trades["entry_at"] >= AS_OF - pd.Timedelta(days=SEARCH.confirm_days)
    trades.loc[late & (trades["f_directional"] < -15), "pnl_bps"] -= 150.0
    assert not decision(trades, "fund")["changed"]


def test_the_threshold_in_force_stays_where_it_is_the_best() -> None:
    found = decision(gate_trades(4, planted=-15.0), "fund", Thresholds())
    assert (found["proposed"], found["applied"], found["changed"]) == (-15.0, -15.0, False)


def test_no_threshold_survives_shuffled_outcomes() -> None:
    """Five of the forty seeds that the benchmark runs; each searches four gates."""
    changed = 0
    for seed in range(5):
        trades = gate_trades(seed, planted=-15.0)
        order = np.random.default_rng(seed).permutation(len(trades))
        trades[["pnl_bps"]] = trades[["pnl_bps"]].to_numpy()[order]
        choice = choose_thresholds(trades, LOOSE, as_of=AS_OF, seed=seed, search=SEARCH)
        changed += int(choice.decisions["changed"].sum())
        assert choice.thresholds == LOOSE or choice.decisions["changed"].any()
    assert changed == 0


def test_the_market_and_the_ev_gate_are_searched_too() -> None:
    trades = gate_trades(5)
    adverse = np.where(trades["side"] == "long", -trades["market_regime"], trades["market_regime"]) > 30
    trades.loc[adverse & (trades["I"] < 40), "pnl_bps"] -= 250.0
    assert decision(trades, "market")["applied"] == 40.0
    trades = gate_trades(6)
    trades["pnl_bps"] += 3 * trades["ev_bps"]
    found = decision(trades, "ev", Thresholds(ev_bps=0.0))
    assert found["changed"]
    assert found["applied"] > 0


def test_nothing_of_the_choice_uses_the_future() -> None:
    trades = gate_trades(7, planted=0.0)
    as_of = AS_OF - pd.Timedelta(days=20)
    known = trades[trades["known_at"] <= as_of]
    one = choose_thresholds(known, LOOSE, as_of=as_of, seed=1, search=SEARCH)
    with pytest.raises(DataError, match="were not known at"):
        choose_thresholds(trades, LOOSE, as_of=as_of, seed=1, search=SEARCH)
    shuffled = choose_thresholds(known.sample(frac=1, random_state=1), LOOSE, as_of=as_of, seed=1, search=SEARCH)
    assert one.thresholds == shuffled.thresholds
    pd.testing.assert_frame_equal(one.decisions, shuffled.decisions)


def test_the_periods_do_not_share_a_trade_and_leave_the_time_out_between_them() -> None:
    trades = gate_trades(8)
    split = AS_OF - pd.Timedelta(days=SEARCH.confirm_days)
    between = (trades["entry_at"] < split) & (trades["entry_at"] > split - pd.Timedelta(hours=72))
    assert between.any()
    poisoned = trades.assign(pnl_bps=trades["pnl_bps"].mask(between, 1e6))
    one, other = (choose_thresholds(rows, LOOSE, as_of=AS_OF, seed=1, search=SEARCH) for rows in (trades, poisoned))
    pd.testing.assert_frame_equal(one.scan, other.scan)


def test_too_little_data_changes_nothing_and_says_so() -> None:
    trades = gate_trades(9, planted=0.0, n=50)
    found = decision(trades, "fund")
    assert (found["applied"], found["changed"]) == (-30.0, False)
    assert "keeps enough" in found["reason"]
    nothing = choose_thresholds(trades.iloc[:0], LOOSE, as_of=AS_OF, seed=1)
    assert nothing.thresholds == LOOSE


def test_old_and_new_are_compared_on_the_second_period() -> None:
    trades = gate_trades(10, planted=0.0)
    choice = choose_thresholds(trades, LOOSE, as_of=AS_OF, seed=1, search=SEARCH)
    sides = choice.comparison.set_index("side")
    late = trades[trades["entry_at"] >= AS_OF - pd.Timedelta(days=SEARCH.confirm_days)]
    assert (sides["trades"] + sides["rejected"] == len(late)).all()
    assert sides.loc["applied", "mean_pnl_bps"] > sides.loc["in_force", "mean_pnl_bps"]
    assert sides.loc["applied", "version"] == choice.thresholds.version()
    assert sides.loc["in_force", "version"] == LOOSE.version()


def test_the_comparison_keeps_what_the_gates_accept() -> None:
    """Signals with half of the score's weight missing are not among them, whatever the other gates say."""
    trades = gate_trades(13)
    random = np.random.default_rng(13)
    trades["weight_present"] = np.where(random.random(len(trades)) < 0.3, 0.4, 1.0)
    trades = trades.assign(**judge(trades, LOOSE))
    choice = choose_thresholds(trades, LOOSE, as_of=AS_OF, seed=1, search=SEARCH)
    late = trades[trades["entry_at"] >= AS_OF - pd.Timedelta(days=SEARCH.confirm_days)]
    accepted = late[late["verdict"] == "accepted"]
    in_force = choice.comparison.set_index("side").loc["in_force"]
    assert (in_force["trades"], in_force["rejected"]) == (len(accepted), len(late) - len(accepted))
    assert in_force["mean_pnl_bps"] == pytest.approx(accepted["pnl_bps"].mean())
    scan = choice.scan[(choice.scan["period"] == "confirmed_on") & choice.scan["in_force"]].set_index("gate")
    assert scan.loc["data", "trades"] == late["gate_data"].sum()


def test_tables_keep_their_contracts_and_thresholds_come_back_from_them() -> None:
    choice = choose_thresholds(gate_trades(11, planted=0.0), LOOSE, as_of=AS_OF, seed=1, search=SEARCH)
    frame = choice.to_frame(AS_OF)
    assert choice.thresholds.as_of == AS_OF
    assert GATE_THRESHOLDS.validate(GATE_THRESHOLDS.arrange(frame)).reasons() == []
    assert THRESHOLD_SCAN.validate(stamped("threshold_scan", choice.scan, AS_OF)).reasons() == []
    comparison = stamped("threshold_comparison", choice.comparison, AS_OF)
    assert THRESHOLD_COMPARISON.validate(comparison).reasons() == []
    assert thresholds_of(frame).version() == choice.thresholds.version()
    with pytest.raises(DataError, match="were changed"):
        thresholds_of(frame.assign(applied=1.0))
    with pytest.raises(DataError, match="each once"):
        thresholds_of(frame.iloc[:3])


def test_the_bound_of_a_search_is_lower_than_that_of_one_alone() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(5, 15, (6, 20)).astype(float)
    sums = counts * random.normal(5, 20, (6, 20))
    old = (sums.sum(axis=0) / 6, counts.sum(axis=0) / 6)
    gain, together = gain_bounds((sums, counts), old, level=0.95, seed=1)
    alone = gain_bounds((sums[:1], counts[:1]), old, level=0.95, seed=1)[1]
    assert together[0] < alone[0] < gain[0]
    same = gain_bounds((old[0][None], old[1][None]), old, level=0.95, seed=1)
    assert same[0][0] == same[1][0] == 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="minimum_weeks"):
        Search(minimum_weeks=1)
    with pytest.raises(ConfigError, match="no gate"):
        Thresholds().changed("moon", 1.0)
    assert set(GATES) == set(choose_thresholds(gate_trades(0), LOOSE, as_of=AS_OF, seed=1).decisions["gate"])


def test_a_market_is_adverse_in_the_search_where_it_is_adverse_for_the_gate() -> None:
    trades = gate_trades(5)
    adverse = np.where(trades["side"] == "long", -trades["market_regime"], trades["market_regime"]) > 60
    trades.loc[adverse & (trades["I"] < 40), "pnl_bps"] -= 400.0
    for regime in (30.0, 60.0):
        current = Thresholds(f_directional=-30.0, regime=regime)
        scan = choose_thresholds(trades, current, as_of=AS_OF, seed=1, search=SEARCH).scan
        first = scan[(scan["gate"] == "market") & (scan["period"] == "chosen_on")].set_index("threshold")
        early = trades["entry_at"] + pd.Timedelta(hours=72) <= AS_OF - pd.Timedelta(days=SEARCH.confirm_days)
        rows = trades[trades["gate_data"] & early]
        against = np.where(rows["side"] == "long", -rows["market_regime"], rows["market_regime"])
        assert first.loc[40.0, "trades"] == int(((against <= regime) | (rows["I"] >= 40)).sum())


def test_what_was_earned_is_set_beside_what_was_expected_of_the_same_trades() -> None:
    """Trades of which nothing was expected count in what the gate keeps, and in neither side of that comparison."""
    trades = gate_trades(12)
    whole = choose_thresholds(trades, LOOSE, as_of=AS_OF, seed=1, search=SEARCH).scan
    assert whole["ev_trades"].tolist() == whole["trades"].tolist()
    np.testing.assert_allclose(whole["ev_mean_pnl_bps"], whole["mean_pnl_bps"])
    unknown = np.arange(len(trades)) % 7 == 0
    trades.loc[unknown, "ev_bps"] = np.nan
    trades.loc[unknown, "pnl_bps"] += 1000.0
    scan = choose_thresholds(trades, LOOSE, as_of=AS_OF, seed=1, search=SEARCH).scan
    late = trades[trades["gate_data"] & (trades["entry_at"] >= AS_OF - pd.Timedelta(days=SEARCH.confirm_days))]
    row = scan[(scan["gate"] == "fund") & (scan["period"] == "confirmed_on") & scan["in_force"]].iloc[0]
    kept = late[late["f_directional"] >= -30]
    known = kept[kept["ev_bps"].notna()]
    assert (row["trades"], row["ev_trades"]) == (len(kept), len(known))
    assert len(known) < len(kept)
    assert row["mean_pnl_bps"] == pytest.approx(kept["pnl_bps"].mean())
    assert row["mean_ev_bps"] == pytest.approx(known["ev_bps"].mean())
    assert row["ev_mean_pnl_bps"] == pytest.approx(known["pnl_bps"].mean())
    assert scan.loc[scan["trades"] > 0, "mean_ev_bps"].notna().all()
    nothing = choose_thresholds(trades.assign(ev_bps=np.nan), LOOSE, as_of=AS_OF, seed=1, search=SEARCH).scan
    assert THRESHOLD_SCAN.validate(stamped("threshold_scan", nothing, AS_OF)).reasons() == []
    assert (nothing["ev_trades"] == 0).all()
    assert nothing[["mean_ev_bps", "ev_mean_pnl_bps"]].isna().all(axis=None)
