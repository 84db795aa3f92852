"""Definitions side by side: shares, agreement, and what the tent makes up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import label_definitions, remarking
from butterquant_assets.butterfly.labels import ROI_KINDS
from butterquant_assets.butterfly.report_rows import as_table, wide
from butterquant_tests.butterfly.report_cases import fair_trades


def _trades(count: int = 300) -> pd.DataFrame:
    analyses, labels, _ = fair_trades(count)
    return remarking.labelled_trades(analyses, labels)


def test_shares_and_means_are_those_of_the_rows_by_stratum_and_overall() -> None:
    trades = _trades()
    table = as_table(label_definitions.definition_rows(trades))
    found = wide(table, "definitions", ("stratum", "kind")).set_index(["stratum", "kind"])
    assert len(found) == 16
    for stratum, part in (("all", trades), ("high", trades[trades["stratum"] == "high"])):
        for kind in ROI_KINDS:
            row = found.loc[(stratum, kind)]
            assert row["mean_roi"] == pytest.approx(part[f"roi_{kind}"].mean(), rel=1e-12)
            assert (row["n"], row["episodes"]) == (len(part), part["episode"].nunique())
            for k in range(4):
                assert row[f"share_{k}"] == pytest.approx((part[f"label_{kind}"] == k).mean(), abs=1e-12)
            assert row["mean_roi_low"] < row["mean_roi"] < row["mean_roi_high"]


def test_a_stratum_without_trades_is_left_out() -> None:
    trades = _trades().query("stratum != 'high'").reset_index(drop=True)
    table = as_table(label_definitions.definition_rows(trades))
    assert set(wide(table, "definitions", ("stratum", "kind"))["stratum"]) == {"all", "low", "normal"}


def test_agreement_is_the_trace_of_each_confusion() -> None:
    trades = _trades()
    table = as_table(label_definitions.agreement_rows(trades))
    found = wide(table, "agreement", ("first", "second"))
    assert len(found) == 6
    for row in found.to_dict("records"):
        joint = pd.crosstab(trades[f"label_{row['first']}"], trades[f"label_{row['second']}"], normalize="all")
        for i in range(4):
            for j in range(4):
                expected = joint.get(float(j), pd.Series(dtype=float)).get(float(i), 0.0)
                assert row[f"class_{i}_{j}"] == pytest.approx(expected, abs=1e-12)
        assert row["same_class"] == pytest.approx(sum(row[f"class_{k}_{k}"] for k in range(4)))


def test_on_a_fair_market_the_tent_measures_the_edge_it_is_expected_to_make_up_and_the_mark_none() -> None:
    trades = _trades(6000)
    table = as_table(label_definitions.tent_rows(trades))
    row = wide(table, "tent", ("stratum",)).set_index("stratum").loc["all"]
    assert row["measured_mark_low"] < row["no_edge_mark"] < row["measured_mark_high"]
    assert row["measured_tent_low"] < row["no_edge_tent"] < row["measured_tent_high"]
    assert row["measured_excess"] == pytest.approx(row["measured_tent"] - row["measured_mark"], rel=1e-9)
    assert row["no_edge_excess_low"] > 0.2
    # volatilities are flat here, so that the world with a smile is the same
    assert row["no_edge_smile_mark"] == pytest.approx(row["no_edge_mark"], abs=1e-9)


def test_rois_by_distance_from_the_centre_cover_every_trade_once() -> None:
    trades = _trades()
    table = as_table(label_definitions.distance_rows(trades))
    found = wide(table, "tent_by_distance", ("bin",)).sort_values("distance")
    assert found["n"].sum() == len(trades)
    inside, outside = found[found["distance"] < 1], found[found["distance"] > 1]
    assert (inside["mean_tent"] > inside["mean_expiry"]).all()
    np.testing.assert_allclose(outside["mean_tent"].iloc[1:], -1.0)
    assert (outside["mean_mark"] > outside["mean_tent"]).all()
