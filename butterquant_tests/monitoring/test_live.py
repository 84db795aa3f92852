"""Reference and live rows: whose they are, and until when they count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.live import (
    known_outcomes,
    learnt_rows,
    live_predictions,
    promised_predictions,
    with_expected_roi,
)

P = {"p0": 0.1, "p1": 0.2, "p2": 0.3, "p3": 0.4}


def frame(sessions: list[str], **columns: object) -> pd.DataFrame:
    days = pd.to_datetime(pd.Series(sessions)).astype("datetime64[us]")
    return pd.DataFrame({"session": days, "ticker": "A", "stratum": "low"}).assign(**columns)


def test_the_reference_ends_where_the_model_was_trained() -> None:
    days = ["2016-01-04", "2016-01-05", "2016-01-20", "2016-03-01"]
    # The second was entered in time and closed too late, the third is of the month of the boundary and was never seen.
    left = pd.to_datetime(["2016-01-15", "2016-02-05", "2016-01-28", "2016-03-11"])
    rows = frame(days, evaluation_session=left)
    last = {"vintage": "2016-02", "train_last_entry": "2016-01-12", "train_last_exit": "2016-01-28"}
    training = {"splits": {"vintages": [{"vintage": "2015-06"}, last]}}
    assert list(learnt_rows(rows, training)["session"].dt.strftime("%m-%d")) == ["01-04"]
    early = {"vintage": "2015-02", "train_last_entry": "2015-01-12", "train_last_exit": "2015-01-28"}
    with pytest.raises(DataError, match="no row up to 2015-01-12"):
        learnt_rows(rows, {"splits": {"vintages": [early]}})


def test_promises_are_the_model_s_own_predictions_of_rows_it_has_learnt_from_since() -> None:
    learnt = frame(["2016-01-04", "2016-01-05"], label_mark=[2.0, 3.0])
    stored = pd.concat(
        [frame(["2016-01-05", "2016-01-04", "2016-01-06"], predictor=name, **P) for name in ("model", "geometry")]
    )
    kept = promised_predictions(stored, learnt, "label_mark")
    assert kept[["label", "p3"]].to_numpy().tolist() == [[2.0, 0.4], [3.0, 0.4]]


def test_predictions_of_a_challenger_and_other_tracks_are_not_the_model_s() -> None:
    days = ["2016-01-04", "2016-01-05", "2016-01-06"]
    decisions = frame(days, track=["ai", "ai", "blend"], route=["champion", "challenger", "champion"], **P)
    assert list(live_predictions(decisions.drop(columns="stratum"), frame(days))["session"].dt.day) == [4]


def test_only_outcomes_that_are_known_and_were_predicted_count() -> None:
    days = ["2016-01-04", "2016-01-05", "2016-01-06", "2016-01-07"]
    decisions = frame(days, track="ai", route="champion", **P).drop(columns="stratum")
    decisions.loc[3, "p0"] = np.nan
    outcomes = frame(
        days,
        evaluation_session=pd.to_datetime(["2016-02-01", "2016-02-02", "2016-03-01", "2016-02-01"]),
        missing_reason=["", "no_bar_on_evaluation", "after_data_end", ""],
        label_mark=[1.0, np.nan, np.nan, 3.0],
    )
    known = known_outcomes(decisions, outcomes, frame(days), "label_mark")
    assert known[["label"]].to_numpy().tolist() == [[1.0]]
    assert list(known.columns) == ["session", "ticker", *P, "stratum", "label"]


def test_expected_returns_are_those_of_one_set_of_class_values() -> None:
    made = with_expected_roi(frame(["2016-01-04"], **P), [-1.0, 0.0, 0.1, 0.5])
    assert made["expected_roi"].iloc[0] == pytest.approx(-0.1 + 0.03 + 0.2)


def test_an_expected_return_does_not_depend_on_the_rows_beside_it() -> None:
    p = pd.DataFrame(np.random.default_rng(1).dirichlet(np.ones(4), 3000), columns=[*P])
    whole = with_expected_roi(p, [-0.4, 0.02, 0.11, 0.37])["expected_roi"]
    for first, rows in ((0, 21), (21, 499), (333, 1001), (1000, 1050)):
        part = with_expected_roi(p.iloc[first : first + rows], [-0.4, 0.02, 0.11, 0.37])["expected_roi"]
        pd.testing.assert_series_equal(part, whole.iloc[first : first + rows], check_exact=True)
