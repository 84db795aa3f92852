"""What came of decisions: by hand, by brute force, under cuts, and where no track has an edge."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly.block_bootstrap import BlockInterval, difference_over_months, month_numbers
from butterquant_assets.butterfly.decision_schemas import (
    DECISION_CALIBRATION,
    DECISION_HISTORY,
    DECISION_PERFORMANCE,
)
from butterquant_assets.butterfly.decisions import decide
from butterquant_assets.butterfly.performance import DecisionPerformance, judge_decisions, with_outcomes
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.decision_cases import model, outcomes_of, scan_of, session_days

LATE = "2018-12-28"
Case = tuple[pd.DataFrame, pd.DataFrame]


def case(seed: int, sessions: int = 60, tickers: int = 20, *, edge: float = 0.0, every: int = 8) -> Case:
    """Decisions on random probabilities, and outcomes with a shock that all trades of a session share."""
    days = session_days("2016-03-01", sessions, every)
    scan = scan_of(days, tickers, seed)
    decisions = decide(
        scan, model(len(scan), seed, threshold=0.0), challenger=model(len(scan), seed + 500, "challenger-1", 0.0)
    )
    random = np.random.default_rng(seed + 1000)
    shock = np.repeat(random.normal(0, 0.2, sessions), tickers)
    signal = decisions.loc[decisions["track"] == "ai", "expected_roi"].to_numpy()
    roi = np.maximum(edge * signal + shock + random.normal(0, 0.5, len(scan)), -1.0)
    return decisions, outcomes_of(scan, roi)


def lose(outcomes: pd.DataFrame, rows: pd.Series | np.ndarray, reason: str) -> pd.DataFrame:
    lost = outcomes.copy()
    lost.loc[rows, ["roi_mark", "roi_net", "label_mark"]] = np.nan
    lost.loc[rows, "missing_reason"] = reason
    return lost


def figure(found: DecisionPerformance, track: str, metric: str, route: str = "all") -> pd.Series:
    table = found.table.set_index(["track", "route", "metric"])
    return table.loc[(track, route, metric)]


def by_hand() -> Case:
    """Two sessions of two months with three candidates; ai takes A and B, baseline B and C."""
    names = {"session": [], "ticker": [], "track": [], "selected": []}
    for session in ("2016-03-01", "2016-04-01"):
        for ticker in "ABC":
            for track, takes in (("ai", "AB"), ("baseline", "BC"), ("blend", "")):
                for name, value in zip(names, (session, ticker, track, ticker in takes), strict=True):
                    names[name].append(value)
    decisions = pd.DataFrame(names).assign(
        route="champion", expected_roi=0.1, expected_roi_document=0.2, status="selected"
    )
    decisions["session"] = pd.to_datetime(decisions["session"]).astype("datetime64[us]")
    outcomes = decisions.loc[decisions["track"] == "ai", ["session", "ticker"]].reset_index(drop=True)
    outcomes = outcomes.assign(
        evaluation_session=outcomes["session"] + pd.Timedelta(days=28),
        roi_mark=[0.35, 0.15, -0.15, 0.05, 0.25, 0.45],
        roi_net=[0.30, 0.10, -0.20, 0.0, 0.20, 0.40],
        label_mark=[3.0, 3.0, 0.0, 2.0, 3.0, 3.0],
        missing_reason="",
    )
    return decisions, outcomes


def test_figures_of_a_few_trades_by_hand() -> None:
    found = judge_decisions(*by_hand(), as_of=LATE, seed=1)
    assert figure(found, "ai", "taken")["value"] == 4
    assert figure(found, "ai", "hit_rate")["value"] == pytest.approx(0.75)  # 0 is no hit
    assert figure(found, "ai", "mean_roi_net")["value"] == pytest.approx((0.3 + 0.1 + 0.0 + 0.2) / 4)
    assert figure(found, "baseline", "mean_roi_net")["value"] == pytest.approx((0.1 - 0.2 + 0.2 + 0.4) / 4)
    assert figure(found, "all_candidates", "mean_roi_mark")["value"] == pytest.approx(1.10 / 6)
    assert figure(found, "ai", "uplift_over_baseline")["value"] == pytest.approx(0.15 - 0.125)
    assert figure(found, "ai", "realised_minus_expected")["value"] == pytest.approx(0.15 - 0.1)
    assert figure(found, "blend", "taken")["value"] == 0
    assert np.isnan(figure(found, "blend", "mean_roi_net")["value"])
    assert found.verdict == (
        "AI +15.0 % per trade (4 trades) vs baseline +12.5 % (4), uplift +2.5 points over 2 months: "
        "fewer than 12 months cannot show an uplift, so none is claimed."
    )


def test_what_is_open_or_missing_is_counted_under_its_reason() -> None:
    decisions, outcomes = by_hand()
    outcomes = lose(outcomes, outcomes.index == 0, "no_bar_on_evaluation")
    outcomes = lose(outcomes, outcomes.index == 1, "after_data_end").drop(index=4)
    found = judge_decisions(decisions, outcomes, as_of=LATE, seed=1)
    counts = {name: figure(found, "ai", name)["value"] for name in ("taken", "known", "open")}
    counts |= {
        name: figure(found, "ai", f"missing_{name}")["value"] for name in ("no_bar_on_evaluation", "no_outcome_row")
    }
    assert counts == {"taken": 4, "known": 1, "open": 1, "no_bar_on_evaluation": 1, "no_outcome_row": 1}
    # Known 0.0 and two that may have lost everything.
    assert figure(found, "ai", "mean_roi_net_missing_lost")["value"] == pytest.approx(-2 / 3)
    assert found.verdict.endswith("(AI decisions not judged: 1 no bar on evaluation, 1 no outcome row, 1 open).")


@pytest.mark.parametrize("day", ["2016-04-29", "2017-01-13", LATE])
def test_every_decision_is_counted_once(day: str) -> None:
    decisions, outcomes = case(1)
    outcomes = lose(outcomes, np.arange(len(outcomes)) % 7 == 0, "no_exit_iv")
    table = judge_decisions(decisions, outcomes, as_of=day, seed=1).table
    entered = decisions[decisions["session"] <= day]
    for track in ("ai", "baseline", "blend"):
        for route in ("all", "champion", "challenger"):
            rows = table[(table["track"] == track) & (table["route"] == route)].set_index("metric")["value"]
            mask = (entered["track"] == track) & entered["selected"]
            mask &= (entered["route"] == route) | (route == "all")
            assert rows["taken"] == mask.sum()
            assert rows["taken"] == rows["known"] + rows["open"] + rows[rows.index.str.startswith("missing_")].sum()


def test_nothing_that_is_known_later_enters() -> None:
    decisions, outcomes = case(2)
    day = pd.Timestamp("2016-12-30")
    whole = judge_decisions(decisions, outcomes, as_of=day, seed=1)
    later = outcomes["evaluation_session"] > day
    changed = outcomes.copy()
    changed.loc[later, ["roi_net", "roi_mark"]] = 9.0
    cut = outcomes[~later | (outcomes["session"] <= day)]
    unlabelled = lose(cut, cut["evaluation_session"] > day, "after_data_end")
    for variant in (changed, unlabelled):
        found = judge_decisions(decisions[decisions["session"] <= day], variant, as_of=day, seed=1)
        for name in ("table", "calibration", "history"):
            pd.testing.assert_frame_equal(getattr(found, name), getattr(whole, name), check_exact=True)
        assert found.facts == whole.facts
    # The history of an earlier day is the beginning of a later one's.
    full = judge_decisions(decisions, outcomes, as_of=LATE, seed=1).history
    pd.testing.assert_frame_equal(full[full["day"] <= day].reset_index(drop=True), whole.history, check_exact=True)


def test_the_history_matches_brute_force() -> None:
    decisions, outcomes = case(3, sessions=25)
    found = judge_decisions(decisions, outcomes, as_of=LATE, seed=1).history
    joined = with_outcomes(decisions[decisions["selected"]], outcomes, as_of=LATE)
    for row in found.iloc[::11].itertuples():
        rows = joined[(joined["track"] == row.track) & ((joined["route"] == row.route) | (row.route == "all"))]
        age = (row.day - rows["evaluation_session"]).dt.days
        window = rows[(age >= 0) & (age < 30)]
        assert row.decisions == len(window)
        assert row.accuracy == pytest.approx((window["roi_net"] > 0).mean(), nan_ok=True)
        assert row.mean_roi_net == pytest.approx(window["roi_net"].mean(), nan_ok=True)
        assert row.decisions_so_far == (age >= 0).sum()
        assert row.mean_roi_net_so_far == pytest.approx(rows.loc[age >= 0, "roi_net"].mean(), nan_ok=True)


def test_an_outcome_leaves_the_window_after_thirty_days() -> None:
    decisions, outcomes = by_hand()
    days = pd.to_datetime(["2016-04-01"] * 3 + ["2016-05-02", "2016-05-02", "2016-05-01"]).astype("datetime64[us]")
    found = judge_decisions(decisions, outcomes.assign(evaluation_session=days), as_of=LATE, seed=1).history
    ai = found[(found["track"] == "ai") & (found["route"] == "all")]
    # On 1 May the two of 1 April are thirty days old, and C, of that day, was not taken.
    assert ai["decisions"].tolist() == [2, 0, 2]
    assert ai["decisions_so_far"].tolist() == [2, 2, 4]


def test_the_calibration_matches_brute_force() -> None:
    decisions, outcomes = case(4, edge=1.0)
    found = judge_decisions(decisions, outcomes, as_of=LATE, seed=1).calibration
    joined = with_outcomes(decisions[decisions["track"] == "ai"], outcomes, as_of=LATE)
    for (population, route), rows in found.groupby(["population", "route"]):
        part = joined[(joined["selected"] | (population != "taken")) & ((joined["route"] == route) | (route == "all"))]
        part = part.sort_values("expected_roi")
        quintile = np.arange(len(part)) * 5 // len(part)
        for row in rows.itertuples():
            mine = part[quintile == row.quintile - 1]
            assert row.decisions == len(mine)
            assert row.mean_expected_roi == pytest.approx(mine["expected_roi"].mean())
            assert row.mean_roi_net == pytest.approx(mine["roi_net"].mean())
    everyone = found[(found["population"] == "all_candidates") & (found["route"] == "all")]
    assert everyone["mean_roi_net"].is_monotonic_increasing


def test_tables_keep_their_contracts() -> None:
    found = judge_decisions(*case(5), as_of=LATE, seed=1)
    assert DECISION_PERFORMANCE.validate(found.table).reasons() == []
    assert DECISION_CALIBRATION.validate(found.calibration).reasons() == []
    assert DECISION_HISTORY.validate(found.history).reasons() == []
    assert set(found.table["route"]) == {"all", "champion", "challenger"}
    decisions, outcomes = case(5)
    nothing = judge_decisions(decisions.iloc[:0], outcomes, as_of=LATE, seed=1)
    assert DECISION_PERFORMANCE.validate(nothing.table).reasons() == []
    assert DECISION_CALIBRATION.validate(nothing.calibration).reasons() == []
    assert DECISION_HISTORY.validate(nothing.history).reasons() == []
    assert nothing.verdict == "The AI track has no decision with a known outcome, so no uplift can be measured."


def plain_uplift(decisions: pd.DataFrame, outcomes: pd.DataFrame, as_of: str, draws: int) -> BlockInterval:
    """The AI track's uplift over the baseline, without the other figures."""
    joined = with_outcomes(decisions[decisions["selected"]], outcomes, as_of=as_of)
    joined = joined[joined["outcome"] == "known"]
    sides = [joined[joined["track"] == track] for track in ("ai", "baseline")]
    columns = [column for side in sides for column in (side["roi_net"], month_numbers(side["session"]))]
    return difference_over_months(*columns, seed=1, draws=draws)


def test_the_uplift_is_the_difference_of_the_tracks() -> None:
    decisions, outcomes = case(8, edge=0.3)
    plain = plain_uplift(decisions, outcomes, LATE, 1000)
    found = figure(judge_decisions(decisions, outcomes, as_of=LATE, seed=1), "ai", "uplift_over_baseline")
    assert tuple(found[["value", "low", "high"]]) == (plain.value, plain.low, plain.high)
    assert (found["decisions"], found["months"]) == (plain.rows, plain.months)


def test_on_noise_the_uplift_covers_nothing() -> None:
    covered = 0
    for seed in range(100):
        decisions, outcomes = case(seed, sessions=50, tickers=14, every=14)
        found = plain_uplift(decisions, outcomes, "2019-06-28", 300)
        assert found.months >= 24
        covered += found.low <= 0.0 <= found.high
    assert covered >= 93


def test_a_planted_edge_shows_as_uplift_and_only_with_its_reservations() -> None:
    decisions, outcomes = case(7, edge=2.0)
    found = judge_decisions(decisions, outcomes, as_of=LATE, seed=1)
    assert ": the AI track beats the baseline." in found.verdict
    proxy = judge_decisions(decisions, outcomes, as_of=LATE, seed=1, vols_are_proxy=True)
    assert "under volatilities that are a proxy, which can manufacture edge" in proxy.verdict
    poor = outcomes.assign(roi_net=outcomes["roi_net"] - 1.0)
    assert "is not shown to earn anything" in judge_decisions(decisions, poor, as_of=LATE, seed=1).verdict
    worse = case(7, edge=-2.0)
    assert ": the AI track is worse than the baseline." in judge_decisions(*worse, as_of=LATE, seed=1).verdict
    noise = judge_decisions(*case(7), as_of=LATE, seed=1)
    assert ": no uplift is shown." in noise.verdict
    assert noise.facts["verdict"] == noise.verdict


def test_a_track_without_trades_is_told() -> None:
    decisions, outcomes = by_hand()
    idle = decisions.assign(selected=decisions["selected"] & (decisions["track"] != "baseline"))
    verdict = judge_decisions(idle, outcomes, as_of=LATE, seed=1).verdict
    assert verdict == "The baseline track has no decision with a known outcome, so no uplift can be measured."


def test_outcomes_that_contradict_themselves_are_refused() -> None:
    decisions, outcomes = by_hand()
    with pytest.raises(DataError, match="1 outcomes are repeated"):
        with_outcomes(decisions, pd.concat([outcomes, outcomes.iloc[:1]]), as_of=LATE)
    with pytest.raises(DataError, match="outcome of A on 2016-03-01 gives neither roi_net nor a missing_reason"):
        with_outcomes(decisions, outcomes.assign(roi_net=np.nan), as_of=LATE)
