"""The report's table, its plots, and Evidently's page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.foundation import drift_plots
from butterquant_assets.foundation.drawing import MAX_BYTES
from butterquant_assets.foundation.errors import DataError
from butterquant_assets.monitoring.decay import DecayRules, calibration_by_month, decisions_by_month
from butterquant_assets.monitoring.drift import DriftRules
from butterquant_assets.monitoring.drift_table import drift_by_month
from butterquant_assets.monitoring.evidently_report import drift_html
from butterquant_assets.monitoring.regime import REGIME_TYPES
from butterquant_assets.monitoring.report import newest, summarise
from butterquant_assets.monitoring.schemas import DRIFT_REPORT
from butterquant_tests.monitoring.drift_cases import rows
from butterquant_tests.monitoring.test_decay import NEVER, decided, predictions

COLUMNS = ["a", "b", "c"]
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def drift() -> pd.DataFrame:
    now = rows(2, 2, COLUMNS, days=20, first="2017-03")
    now.loc[now["session"] >= "2017-04-01", "b"] += 3.0
    return drift_by_month(rows(1, 60, COLUMNS), now, COLUMNS, ["2017-03", "2017-04"], DriftRules())


@pytest.fixture(scope="module")
def regime() -> pd.DataFrame:
    types = {
        "str": "vix_level",
        "float64": 1.0,
        "int64": 20,
        "bool": True,
        "datetime64[us]": pd.Timestamp("2017-03-01"),
    }
    row = {name: types[kind] for name, kind in REGIME_TYPES.items()} | {"alarm": False, "reason": "", "threshold": 3.0}
    return pd.DataFrame([row, row | {"metric": "correlation"}]).astype(REGIME_TYPES)


def test_each_month_and_table_has_one_line_with_the_worst_column_and_all_reasons(
    drift: pd.DataFrame, regime: pd.DataFrame
) -> None:
    table = summarise(drift, drift.head(0), regime)
    assert DRIFT_REPORT.validate(table).reasons() == []
    lines = table.set_index(["month", "table"])
    assert len(lines) == 3
    shifted = lines.loc[(pd.Timestamp("2017-04-01"), "feature_drift")]
    assert (shifted["alarm"], shifted["alarms"], shifted["compared"], shifted["worst"]) == (True, 1, 3, "b")
    assert shifted["reasons"].startswith("b shifted by +")
    assert not lines.loc[(pd.Timestamp("2017-03-01"), "feature_drift"), "alarm"]


def test_the_newest_month_speaks_for_a_table(drift: pd.DataFrame) -> None:
    said = newest(drift)
    assert (said["month"], said["alarm"], said["judged"]) == ("2017-04", True, True)
    assert len(said["reasons"]) == 1
    begun = pd.concat([drift, drift.tail(3).assign(month=pd.Timestamp("2017-05-01"), judged=False, alarm=False)])
    assert newest(begun.assign(reason=begun["reason"].where(begun["judged"], "not judged"))) == said
    nothing = newest(begun[~begun["judged"]].assign(reason="not judged: 3 sessions"))
    assert (nothing["month"], nothing["judged"], len(nothing["reasons"])) == ("2017-05", False, 3)
    assert newest(drift.head(0)) == {"month": "", "alarm": False, "judged": False, "reasons": []}


def test_plots_are_small_and_the_same_for_the_same_figures(drift: pd.DataFrame, regime: pd.DataFrame) -> None:
    live = predictions(2, 3, days=20, first="2015-01")
    kept = calibration_by_month(
        predictions(1, 20), live, ["2015-01", "2015-02", "2015-03"], DriftRules(), seed=1, learnt_until=NEVER
    )
    decay = decisions_by_month(decided(1, 12, 0.0), ["2015-11", "2015-12"], DecayRules(), NEVER)
    for draw in (
        lambda: drift_plots.drift_over_time(drift, "Feature drift"),
        lambda: drift_plots.regime_over_time(regime),
        lambda: drift_plots.calibration_over_time(kept),
        lambda: drift_plots.decisions_over_time(decay),
    ):
        png = draw()
        assert png.startswith(PNG)
        assert len(png) < MAX_BYTES
        assert draw() == png


def test_months_without_a_verdict_can_be_drawn_and_nothing_cannot(drift: pd.DataFrame) -> None:
    unjudged = drift.assign(statistic=np.nan, threshold=np.nan, alarm=False)
    assert drift_plots.drift_over_time(unjudged, "Feature drift").startswith(PNG)
    with pytest.raises(DataError, match="drift_over_time"):
        drift_plots.drift_over_time(drift.head(0), "Feature drift")


def test_a_page_without_rows_or_columns_is_refused() -> None:
    frame = rows(1, 1, COLUMNS)
    with pytest.raises(DataError, match="nothing to show"):
        drift_html(frame.assign(a=np.nan), frame, ["a"], month="2017-03", verdict="quiet", seed=1)


@pytest.mark.slow
def test_the_page_is_self_contained_repeatable_and_says_which_verdict_counts() -> None:
    reference, now = rows(1, 12, COLUMNS), rows(2, 1, COLUMNS, days=20, first="2017-03").assign(c=np.nan)
    page, again = (drift_html(reference, now, COLUMNS, month="2017-03", verdict="<none>", seed=1) for _ in range(2))
    assert page == again
    text = page.decode()
    assert "The verdict of this project" in text
    assert "&lt;none&gt;" in text
    assert "<script src=" not in text
    assert '<link rel="stylesheet" href="http' not in text
