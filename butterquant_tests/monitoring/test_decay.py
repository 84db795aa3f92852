"""Decay: kept promises stay quiet, broken ones are found, and each verdict rests on what was known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly.config import ScanConfig
from butterquant_assets.foundation.errors import ConfigError, DataError
from butterquant_assets.monitoring.decay import DecayRules, calibration_by_month, decisions_by_month
from butterquant_assets.monitoring.drift import DriftRules
from butterquant_assets.monitoring.schemas import CALIBRATION_DECAY, DECISION_DECAY
from butterquant_tests.monitoring.drift_cases import STRATA, days_of

NEVER = pd.Timestamp("2000-01-01")


def predictions(
    seed: int, months: int, *, days: int = 4, first: str = "2012-01", believed: float = 1.0
) -> pd.DataFrame:
    """Predictions and outcomes drawn from the truth; `believed` above 1 makes the predictions too sure."""
    random = np.random.default_rng(seed)
    when = days_of(months, first, days)
    luck = np.repeat(random.normal(0.0, 0.3, (months, 4)), days, axis=0)
    logits = np.repeat(luck, 25, axis=0) + random.normal(0.0, 0.8, (len(when) * 25, 4))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    said = truth**believed / (truth**believed).sum(axis=1, keepdims=True)
    label = (truth.cumsum(axis=1) < random.random((len(truth), 1))).sum(axis=1).clip(0, 3)
    frame = pd.DataFrame(said, columns=["p0", "p1", "p2", "p3"]).assign(label=label)
    frame.insert(0, "session", np.repeat(when, 25).astype("datetime64[us]"))
    frame.insert(1, "stratum", np.repeat([STRATA[k] for k in random.integers(0, 3, len(when))], 25))
    return frame


def judged(promised: pd.DataFrame, live: pd.DataFrame, learnt_until: pd.Timestamp = NEVER) -> pd.DataFrame:
    months = sorted(live["session"].dt.strftime("%Y-%m").unique())
    table = calibration_by_month(promised, live, months, DriftRules(), seed=1, learnt_until=learnt_until)
    assert CALIBRATION_DECAY.validate(table).reasons() == []
    return table


def test_predictions_as_good_as_promised_rarely_raise_an_alarm() -> None:
    tables = [judged(predictions(seed, 40), predictions(500 + seed, 1, days=20, first="2016-01")) for seed in range(25)]
    table = pd.concat(tables)
    assert table["judged"].all()
    assert table["alarm"].sum() <= 4
    assert (table["promised_log_loss"] + table["excess"] - table["log_loss"]).abs().max() < 1e-9


def test_overconfident_predictions_are_found_with_their_figures() -> None:
    live = predictions(7, 1, days=20, first="2016-01", believed=4.0)
    (row,) = judged(predictions(1, 40), live).to_dict("records")
    assert row["alarm"]
    assert row["overconfidence"] > row["overconfidence_limit"] > 0.0
    assert row["ece"] > row["ece_limit"]
    assert row["low"] < row["excess"] < row["high"]
    assert "confidence less hits moved by +" in row["reason"]


def test_rows_promised_in_the_month_or_later_are_not_looked_at() -> None:
    live = predictions(7, 1, days=20, first="2015-01")
    past = predictions(1, 36)
    more = pd.concat([past, predictions(2, 12, first="2015-01", believed=5.0)], ignore_index=True)
    pd.testing.assert_frame_equal(judged(past, live), judged(more, live))
    assert judged(past, live, pd.Timestamp("2015-01-02"))["learnt"].all()


def test_without_enough_promises_there_are_figures_but_no_verdict() -> None:
    live = predictions(7, 1, days=20, first="2016-01")
    for promised, word in ((predictions(1, 5), "5 months promised"), (predictions(1, 5).head(0), "no walk-forward")):
        (row,) = judged(promised, live).to_dict("records")
        assert not row["judged"]
        assert word in row["reason"]
        assert row["log_loss"] > 0.0


def test_no_live_row_gives_an_empty_table() -> None:
    assert judged(predictions(1, 20), predictions(1, 1).head(0)).empty


def test_only_the_months_asked_for_have_rows_and_a_month_says_the_same_alone() -> None:
    promised, live = predictions(1, 36), predictions(7, 3, days=20, first="2015-01")
    whole = judged(promised, live)
    alone = calibration_by_month(promised, live, ["2015-02", "2015-09"], DriftRules(), seed=1, learnt_until=NEVER)
    pd.testing.assert_frame_equal(alone, whole[whole["month"] == "2015-02"].reset_index(drop=True))


def test_probabilities_that_are_none_are_refused() -> None:
    live = predictions(7, 1)
    with pytest.raises(DataError, match="no probability distribution"):
        judged(predictions(1, 20), live.assign(p0=2.0))


def decided(seed: int, months: int, short: float, *, known: float = 1.0) -> pd.DataFrame:
    """Five decisions a session, of ten candidates, that realise `short` more than expected, with luck of months."""
    random = np.random.default_rng(seed)
    when = np.repeat(days_of(months, "2015-01", 5), 10)
    expected = random.normal(0.1, 0.05, len(when))
    luck = np.repeat(random.normal(0.0, 0.05, months), 50)
    frame = pd.DataFrame({"session": when.astype("datetime64[us]"), "track": "ai", "expected_roi": expected})
    frame["selected"] = np.arange(len(frame)) % 2 == 0
    frame["roi_net"] = expected + short + luck + random.normal(0.0, 0.3, len(frame))
    frame["outcome"] = np.where(random.random(len(frame)) < known, "known", "open")
    frame.loc[frame["outcome"] == "open", "roi_net"] = np.nan
    return frame.astype({"track": "str", "outcome": "str"})


def of_months(frame: pd.DataFrame, months: list[str], rules: DecayRules | None = None) -> pd.DataFrame:
    table = decisions_by_month(frame, months, rules or DecayRules(), NEVER)
    assert DECISION_DECAY.validate(table).reasons() == []
    return table[table["track"] == "ai"].set_index("month")


def test_decisions_that_realise_less_than_expected_are_found_once_there_are_enough_months() -> None:
    table = of_months(decided(1, 12, -0.3), ["2015-03", "2015-12"])
    early, late = (row for _, row in table.iterrows())
    assert not early["judged"]
    assert "150 known decisions" in early["reason"] or "known decisions of 3 months" in early["reason"]
    assert late["alarm"]
    assert late["high"] < 0.0
    assert late["trailing"] == pytest.approx(-0.3, abs=0.06)
    assert late["reason"].startswith("realised ROI is -")


def test_decisions_that_keep_their_promise_rarely_raise_an_alarm() -> None:
    assert sum(of_months(decided(seed, 12, 0.0), ["2015-12"])["alarm"].any() for seed in range(40)) <= 4


def test_a_track_that_takes_nothing_has_no_verdict_and_all_candidates_have_theirs() -> None:
    frame = decided(1, 12, -0.3).assign(selected=False)
    table = decisions_by_month(frame, ["2015-12"], DecayRules(), NEVER).set_index("track")
    assert not table.loc["ai", "judged"]
    assert table.loc["ai", "decisions"] == 0
    assert np.isnan(table.loc["ai", "realised"])
    assert table.loc["all_candidates", "alarm"]


def test_only_the_trailing_months_and_known_outcomes_count() -> None:
    frame = pd.concat([decided(1, 8, -5.0), decided(2, 14, 0.0).query("session >= '2015-09-01'")], ignore_index=True)
    table = of_months(frame, ["2016-02"], DecayRules(trailing_months=6, minimum_months=6))
    assert table["trailing_months"].iloc[0] == 6
    assert abs(table["trailing"].iloc[0]) < 0.1
    half = of_months(decided(3, 12, 0.0, known=0.5), ["2015-12"])
    assert 0 < half["known"].iloc[0] < half["decisions"].iloc[0]


@pytest.mark.parametrize("look", [pd.Timestamp("2016-06-01") + pd.Timedelta(days=9 * n) for n in range(14)])
def test_by_default_enough_months_are_scanned_that_a_track_that_loses_is_found_on_any_day(look: pd.Timestamp) -> None:
    days = pd.bdate_range("2015-01-01", look)
    months = [str(month) for month in pd.period_range(end=look.to_period("M"), periods=ScanConfig().months)]
    taken = pd.DataFrame({"session": days.astype("datetime64[us]"), "track": "ai", "selected": True})
    taken = taken[taken["session"].dt.strftime("%Y-%m").isin(months)].assign(expected_roi=0.1)
    # Some close within three weeks, others after six.
    closed = taken["session"] + pd.to_timedelta(np.where(taken.index % 2, 18, 45), "D") <= look
    joined = taken.assign(roi_net=np.where(closed, -0.3, np.nan), outcome=np.where(closed, "known", "open"))
    newest = of_months(joined.astype({"track": "str", "outcome": "str"}), months).iloc[-1]
    assert newest["judged"]
    assert newest["alarm"]


@pytest.mark.parametrize("wrong", [{"minimum_months": 1}, {"minimum_months": 13}, {"minimum_decisions": 0}])
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected 2 <= minimum_months"):
        DecayRules(**wrong)
