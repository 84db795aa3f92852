"""Drift tables: the three shifted of 23 columns, strata, universes, missing values, and nothing from the future."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.drift import DriftRules
from butterquant_assets.monitoring.drift_table import DRIFT_TYPES, current_sessions, drift_by_month
from butterquant_assets.monitoring.schemas import FEATURE_DRIFT
from butterquant_tests.monitoring.drift_cases import rows

COLUMNS = list(FEATURES)
RULES = DriftRules()
MONTH = "2017-03"
SHIFTED = ["delta", "period_strength", "vol_concentration"]


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return rows(1, 60, COLUMNS)


def month(seed: int = 2) -> pd.DataFrame:
    return rows(seed, 1, COLUMNS, days=20, first=MONTH)


def alarms(table: pd.DataFrame) -> list[str]:
    return sorted(table.loc[table["alarm"], "column"])


def judged(reference: pd.DataFrame, rows_now: pd.DataFrame) -> pd.DataFrame:
    table = drift_by_month(reference, rows_now, COLUMNS, [MONTH], RULES)
    assert FEATURE_DRIFT.validate(FEATURE_DRIFT.arrange(table)).reasons() == []
    return table


@pytest.mark.parametrize("seed", range(2, 7))
def test_a_shift_of_a_third_of_a_sigma_in_three_of_23_columns_is_flagged_in_exactly_those(
    reference: pd.DataFrame, seed: int
) -> None:
    now = month(seed)
    assert alarms(judged(reference, now)) == []
    now[SHIFTED] += 0.3
    table = judged(reference, now)
    assert alarms(table) == SHIFTED
    told = table.set_index("column").loc[SHIFTED]
    assert (told["shift_sigma"] - 0.3).abs().max() < 0.12
    assert (told["detectable_sigma"] < 0.3).all()
    assert told["reason"].str.contains(r"shifted by \+0\.\d\d sigma").all()


def test_a_change_of_spread_is_flagged_although_the_mean_is_kept(reference: pd.DataFrame) -> None:
    now = month()
    now["delta"] *= 1.5
    table = judged(reference, now).set_index("column")
    assert table.index[table["alarm"]].tolist() == ["delta"]
    assert table.loc["delta", "spread_ratio"] == pytest.approx(1.5, abs=0.1)
    assert "spread" in table.loc["delta", "reason"]


def test_another_mix_of_strata_is_no_drift(reference: pd.DataFrame) -> None:
    reference, now = reference.copy(), month()
    for frame in (reference, now):
        frame[COLUMNS] += 3.0 * (frame["stratum"] == "high").to_numpy()[:, None]
    stormy = now[now["stratum"] == "high"]
    assert len(stormy) < len(now)
    assert alarms(judged(reference, stormy)) == []


def test_another_universe_is_no_drift() -> None:
    # Where sessions differ so much, it matters little that fewer tickers make a noisier mean.
    reference, now = rows(1, 60, COLUMNS, luck=0.3), rows(2, 1, COLUMNS, days=20, luck=0.3, first=MONTH)
    for frame in (reference, now):
        frame[COLUMNS] += 2.0 * (frame["ticker"] >= "T20").to_numpy()[:, None]
    unknown = now[now["ticker"] >= "T25"].assign(ticker=lambda frame: "N" + frame["ticker"])
    unknown[COLUMNS] += 5.0
    mixed = pd.concat([now[(now["ticker"] < "T15") | (now["ticker"] >= "T25")], unknown], ignore_index=True)
    assert alarms(judged(reference, now)) == []
    assert alarms(judged(reference, mixed)) == []


def test_a_month_of_tickers_that_the_reference_hardly_knows_has_no_verdict(reference: pd.DataFrame) -> None:
    now = month()
    now[COLUMNS] += 5.0
    for known, verdict in ((0, False), (9, False), (10, True)):
        ticker = now["ticker"].where(now["ticker"] < f"T{known:02d}", "N" + now["ticker"])
        table = judged(reference, now.assign(ticker=ticker))
        assert (table["judged"] == verdict).all()
        assert (table["alarm"] == verdict).all()
        share = f"not judged: its sessions carry {known / 40:.0%} of the weight"
        assert table["reason"].str.startswith(share).all() != verdict


def test_a_column_that_cannot_be_compared_has_no_verdict_and_leaves_the_others_theirs(reference: pd.DataFrame) -> None:
    before = reference.assign(delta=np.nan, iv_percentile=0.0)
    table = judged(before, month()).set_index("column")
    assert table.index[~table["judged"]].tolist() == ["delta", "iv_percentile"]
    assert not table["alarm"].any()
    assert "no value on one of the two sides" in table.loc["delta", "reason"]
    assert "never varies in the reference" in table.loc["iv_percentile", "reason"]


def test_values_that_go_missing_are_an_alarm_of_their_own(reference: pd.DataFrame) -> None:
    now = month()
    now.loc[now.index[::3], "iv_percentile"] = np.nan
    now["skew_estimate"] = np.nan
    table = judged(reference, now).set_index("column")
    assert table.index[table["alarm"]].tolist() == ["iv_percentile", "skew_estimate"]
    assert "33% missing, at most 10% expected" in table.loc["iv_percentile", "reason"]
    assert np.isnan(table.loc["skew_estimate", "statistic"])


def test_rows_of_the_month_itself_and_later_ones_change_nothing(reference: pd.DataFrame) -> None:
    now, later = month(), rows(9, 3, COLUMNS, first="2017-03")
    before = judged(reference, now)
    after = judged(pd.concat([reference, later], ignore_index=True), now)
    pd.testing.assert_frame_equal(before.drop(columns="learnt"), after.drop(columns="learnt"))
    assert not before["learnt"].any()
    assert after["learnt"].all()


def test_what_the_model_has_learnt_beyond_the_reference_can_be_told(reference: pd.DataFrame) -> None:
    table = drift_by_month(reference, month(), COLUMNS, [MONTH], RULES, learnt_until=pd.Timestamp("2017-04-01"))
    assert table["learnt"].all()


def test_months_are_judged_apart_and_in_any_order_of_rows(reference: pd.DataFrame) -> None:
    now = rows(3, 2, COLUMNS, days=15, first="2017-03")
    both = drift_by_month(reference, now, COLUMNS, ["2017-03", "2017-04", "2017-05"], RULES)
    assert list(both["month"].dt.strftime("%Y-%m").unique()) == ["2017-03", "2017-04"]
    shuffled = drift_by_month(
        reference.sample(frac=1.0, random_state=1), now.sample(frac=1.0, random_state=2), COLUMNS, ["2017-04"], RULES
    )
    pd.testing.assert_frame_equal(
        shuffled, both[both["month"] == "2017-04-01"].reset_index(drop=True), check_exact=False, rtol=1e-9
    )


def test_a_month_under_way_is_judged_with_the_sessions_before_it_and_a_whole_one_alone(reference: pd.DataFrame) -> None:
    now = rows(3, 2, COLUMNS, days=20, first="2017-03")
    now.loc[now["session"] >= "2017-03-16", SHIFTED] += 0.5
    days = np.unique(now["session"])
    three_in = now[now["session"] <= days[22]]
    seen = current_sessions(three_in, "2017-04", RULES.sessions)
    assert sorted(seen["session"].unique()) == list(days[23 - RULES.sessions : 23])
    table = drift_by_month(reference, three_in, COLUMNS, ["2017-03", "2017-04"], RULES)
    under_way = table[table["month"] == "2017-04-01"]
    assert set(under_way["sessions"]) == {RULES.sessions}
    assert alarms(under_way) == SHIFTED
    assert alarms(table[table["month"] == "2017-03-01"]) != SHIFTED
    whole = drift_by_month(reference, now, COLUMNS, ["2017-04"], RULES)
    alone = drift_by_month(reference, now[now["session"] >= "2017-04-01"], COLUMNS, ["2017-04"], RULES)
    pd.testing.assert_frame_equal(whole, alone)
    assert current_sessions(now, "2017-05", RULES.sessions).empty
    # Sessions of the month before at most: a verdict must not depend on how many months happen to be at hand.
    few = three_in[(three_in["session"] < "2017-03-03") | (three_in["session"] >= "2017-04-01")]
    long_ago = few.assign(session=few["session"] - pd.DateOffset(months=1))
    both = pd.concat([long_ago[long_ago["session"] < "2017-03-01"], few])
    pd.testing.assert_frame_equal(
        current_sessions(both, "2017-04", RULES.sessions).reset_index(drop=True),
        current_sessions(few, "2017-04", RULES.sessions).reset_index(drop=True),
    )


def test_the_reference_ends_before_the_month_in_which_the_sessions_that_are_judged_begin(
    reference: pd.DataFrame,
) -> None:
    now = rows(3, 2, COLUMNS, days=20, first="2017-03")
    under_way = now[now["session"] <= np.unique(now["session"])[22]]
    more = pd.concat([reference, rows(9, 1, COLUMNS, first="2017-03")], ignore_index=True)
    found, same = (drift_by_month(frame, under_way, COLUMNS, ["2017-04"], RULES) for frame in (reference, more))
    pd.testing.assert_frame_equal(found.drop(columns="learnt"), same.drop(columns="learnt"))
    assert not found["learnt"].any()
    until = pd.Timestamp(np.unique(under_way["session"])[23 - RULES.sessions])
    for last, learnt in ((until, True), (until - pd.Timedelta(days=1), False)):
        table = drift_by_month(reference, under_way, COLUMNS, ["2017-04"], RULES, learnt_until=last)
        assert set(table["learnt"]) == {learnt}


def test_too_short_a_reference_gives_figures_but_no_verdict() -> None:
    for months, word in ((5, "holds 5 months"), (0, "holds 0 months")):
        table = judged(rows(1, 12, COLUMNS).head(months * 160).reset_index(drop=True), month())
        assert not table["judged"].any()
        assert not table["alarm"].any()
        assert table["reason"].str.contains(word).all()


def test_no_rows_give_an_empty_table_of_the_same_columns(reference: pd.DataFrame) -> None:
    table = drift_by_month(reference, month().head(0), COLUMNS, [MONTH], RULES)
    assert table.dtypes.astype(str).to_dict() == DRIFT_TYPES
    assert table.empty


def test_sessions_without_a_clear_stratum_are_refused(reference: pd.DataFrame) -> None:
    now = month()
    with pytest.raises(DataError, match="stratum 'wild'"):
        judged(reference, now.assign(stratum="wild"))
    now.loc[0, "stratum"] = "high" if now.loc[0, "stratum"] == "low" else "low"
    with pytest.raises(DataError, match="several VIX strata"):
        judged(reference, now)
