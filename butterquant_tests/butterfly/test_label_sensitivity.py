"""Sensitivity, the proxy's part, and wing rules: known truths are found again, and counts are those of the trades."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from butterquant_assets.butterfly import label_sensitivity, remarking
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.iv_proxy import LegVols, leg_vols_of
from butterquant_assets.butterfly.pricing import label_of
from butterquant_assets.butterfly.report_rows import as_table, wide
from butterquant_assets.foundation.errors import DataError
from butterquant_tests.butterfly.report_cases import fair_trades

COSTS = CostConfig()
FLAT, SMOOTH = AnalysisConfig(smile="flat"), AnalysisConfig()


def _proxy(count: int, noise: float, edge: float) -> pd.DataFrame:
    analyses, labels, published = fair_trades(count, noise=noise, edge=edge)
    trades = remarking.labelled_trades(analyses, labels)
    both = label_sensitivity.published_trades(trades, published)
    assert len(both) == len(trades)
    table = as_table(label_sensitivity.proxy_rows(both, FLAT, COSTS))
    return wide(table, "proxy", ("kind", "part")).set_index(["kind", "part"])


def test_an_edge_that_is_only_the_proxys_noise_does_not_remain_under_published_volatility() -> None:
    found = _proxy(3000, noise=0.25, edge=0.0)
    proxy, published = (found.loc[(kind, "Q5 - Q1")] for kind in ("proxy", "published"))
    assert proxy["mean_roi_mark_low"] > 0.2
    assert published["mean_roi_mark_low"] < 0 < published["mean_roi_mark_high"]
    assert abs(found.loc[("sorted by proxy, marked published", "Q5 - Q1"), "mean_roi_mark"]) < 0.12
    assert found.loc[("proxy less published", "Q5 - Q1"), "mean_roi_mark_low"] > 0.2
    assert 0 < found.loc[("published", "all"), "changed_class"] < 1


def test_an_edge_that_is_real_remains_under_published_volatility() -> None:
    found = _proxy(3000, noise=0.0, edge=0.3)
    published, proxy = (found.loc[(kind, "Q5 - Q1")] for kind in ("published", "proxy"))
    assert published["mean_roi_mark_low"] > 0.2
    assert published["mean_roi_mark"] == pytest.approx(proxy["mean_roi_mark"], rel=1e-6)
    assert found.loc[("proxy less published", "Q5 - Q1"), "mean_roi_mark"] == pytest.approx(0, abs=1e-9)
    assert found.loc[("published", "all"), "changed_class"] == 0


def test_quintiles_hold_equal_numbers_and_rise_in_mispricing() -> None:
    found = _proxy(500, noise=0.2, edge=0.0)
    for kind in ("proxy", "published"):
        parts = [found.loc[(kind, f"Q{k}")] for k in range(1, 6)]
        counts = [part["n"] for part in parts]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) == found.loc[(kind, "all"), "n"]
        assert np.all(np.diff([part["mean_mispricing"] for part in parts]) > 0)


def test_trades_without_a_published_value_at_both_ends_or_already_published_are_left_out() -> None:
    analyses, labels, published = fair_trades(100)
    trades = remarking.labelled_trades(analyses, labels)
    exits = trades["evaluation_session"].iloc[3], trades["ticker"].iloc[3]
    cut = published[~((published["session"] == exits[0]) & (published["ticker"] == exits[1]))]
    assert len(label_sensitivity.published_trades(trades, cut)) < len(trades)
    gap = published.assign(iv=published["iv"].where(published["ticker"] != "T00001"))
    assert "T00001" not in set(label_sensitivity.published_trades(trades, gap)["ticker"])
    assert label_sensitivity.published_trades(trades.assign(iv_source="published"), published).empty
    none = label_sensitivity.published_trades(trades, published.iloc[:0])
    assert label_sensitivity.proxy_rows(none, FLAT, COSTS) == []


def test_unusable_published_volatilities_are_refused() -> None:
    analyses, labels, published = fair_trades(30)
    trades = remarking.labelled_trades(analyses, labels)
    with pytest.raises(DataError, match="two published volatilities"):
        label_sensitivity.published_trades(trades, pd.concat([published, published.iloc[:1]]))
    with pytest.raises(DataError, match="expected more than 0"):
        label_sensitivity.published_trades(trades, published.assign(iv=-published["iv"]))


def test_a_shift_of_one_point_equals_pricing_with_that_point() -> None:
    analyses, labels, _ = fair_trades(200, smile="smooth")
    trades = remarking.labelled_trades(analyses, labels)
    table = as_table(label_sensitivity.sensitivity_rows(trades, COSTS))
    found = wide(table, "sensitivity", ("shift", "where")).set_index(["shift", "where"])
    assert len(found) == 8
    entry, exit_ = leg_vols_of(trades), remarking.exit_vols_of(trades)
    moved = [LegVols(v.lower + 0.01, v.center, v.upper + 0.01) for v in (entry, exit_)]
    roi = remarking.remark(trades, *moved, COSTS).roi
    row = found.loc[("convexity +1", "both ends")]
    assert row["roi_shift"] == pytest.approx(np.nanmean(roi - trades["roi_mark"]), rel=1e-12)
    assert row["changed_class"] == np.mean((label_of(roi) != trades["label_mark"])[~np.isnan(roi)])
    assert row["without_price"] == np.isnan(roi).mean()
    roi = remarking.remark(trades, entry, LegVols(*(v - 0.01 for v in (exit_.lower, exit_.center, exit_.upper))), COSTS)
    assert found.loc[("level -1", "exit only"), "roi_shift"] == pytest.approx(
        np.mean(roi.roi - trades["roi_mark"]), rel=1e-12
    )


def test_trades_that_lose_their_price_under_a_shift_are_counted_not_hidden() -> None:
    analyses, labels, _ = fair_trades(50)
    trades = remarking.labelled_trades(analyses, labels)
    trades.loc[trades.index[:5], ["iv_lower", "iv_center", "iv_upper"]] = 0.005
    table = as_table(label_sensitivity.sensitivity_rows(trades, COSTS))
    found = wide(table, "sensitivity", ("shift", "where")).set_index(["shift", "where"])
    assert found.loc[("level -1", "both ends"), "without_price"] == pytest.approx(5 / len(trades))
    rows = table[(table["group"] == "level -1 | both ends") & (table["metric"] == "changed_class")]
    assert rows["n"].tolist() == [len(trades) - 5]


def test_our_wings_priced_again_are_the_trades_themselves() -> None:
    analyses, labels, _ = fair_trades(300, smile="smooth")
    trades = remarking.labelled_trades(analyses, labels)
    table = as_table(label_sensitivity.wing_rule_rows(trades, SMOOTH, COSTS))
    found = wide(table, "wing_rule", ("rule", "bucket")).set_index(["rule", "bucket"])
    whole = found.loc[("ours", "all")]
    assert whole["mean_roi_mark"] == pytest.approx(trades["roi_mark"].mean(), rel=1e-6)
    assert whole["mean_roi_net"] == pytest.approx(trades["roi_net"].mean(), rel=1e-6)
    assert whole["width_over_spot"] == pytest.approx((trades["width"] / trades["spot"]).median(), rel=1e-12)
    assert whole[[f"share_{k}" for k in range(4)]].sum() == pytest.approx(1)
    buckets = found.loc["ours"].drop("all")
    assert buckets["n"].sum() == whole["n"] == len(trades)
    assert found.loc[("document", "000 .. 025"), "rejected"] > 0
    # the document's widths follow the nominal price, ours do not
    theirs = found.loc["document"].drop("all")["width_over_spot"]
    ours = buckets["width_over_spot"]
    assert theirs.max() / theirs.min() > 3 > ours.max() / ours.min()


def test_price_buckets_are_named_in_the_order_of_price() -> None:
    names = [label_sensitivity.bucket_name(k) for k in range(6)]
    assert names == sorted(names)
    assert names[0] == "000 .. 025"
    assert names[-1] == "500 .."


@pytest.mark.parametrize("factor", [10.0, 0.1, 100.0])
def test_at_ten_times_the_price_our_wings_are_the_same_share_of_spot_and_the_documents_are_not(factor: float) -> None:
    analyses, labels, _ = fair_trades(200, smile="smooth")
    trades = remarking.labelled_trades(analyses, labels)
    names = ["spot", "forecast_price", "exit_spot", "lower_strike", "center_strike", "upper_strike", "width"]
    scaled = trades.assign(**{name: factor * trades[name] for name in names})
    level = remarking.exit_level_of(trades, "smooth")
    rois = {}
    for name, frame in (("as quoted", trades), ("scaled", scaled)):
        for rule in label_sensitivity.RULES:
            chosen = label_sensitivity.strikes_under(frame, rule)
            found = remarking.remark_at_levels(frame, frame["current_iv"].to_numpy(), level, "smooth", COSTS, chosen)
            rois[name, rule] = chosen.width / frame["spot"], found.roi
    for before, after in zip(rois["as quoted", "ours"], rois["scaled", "ours"], strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-7, atol=1e-9)
    differ = np.abs(rois["as quoted", "document"][0] / rois["scaled", "document"][0] - 1) > 0.2
    assert differ.mean() > 0.5
