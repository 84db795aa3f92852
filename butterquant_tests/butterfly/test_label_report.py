"""The label report as a whole: its contract, its words, its pictures, and what it finds on real stocks."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from butterquant_assets.butterfly import label_report, report_schemas, sampling
from butterquant_assets.butterfly.analysis import analyse
from butterquant_assets.butterfly.config import AnalysisConfig, CostConfig
from butterquant_assets.butterfly.label_report import LabelReport
from butterquant_assets.butterfly.labels import label_trades
from butterquant_assets.butterfly.report_rows import wide
from butterquant_tests.butterfly.cases import NO_VOLS, analysed, assert_same_bits, made_up_bars, real_bars
from butterquant_tests.butterfly.report_cases import fair_trades, published_three_months, real_vix

COSTS = CostConfig()
FLAT = AnalysisConfig(smile="flat")
NOTHING = pd.DataFrame({"session": pd.Series(dtype="datetime64[us]"), "ticker": pd.Series(dtype="str"), "iv": []})


@pytest.fixture(scope="module")
def made_up() -> LabelReport:
    return label_report.build(*fair_trades(900, noise=0.25), FLAT, COSTS)


def test_the_report_keeps_its_contract_and_covers_every_section(made_up: LabelReport) -> None:
    assert report_schemas.LABEL_REPORT.validate(made_up.table).reasons() == []
    assert set(made_up.table["section"]) == set(report_schemas.LABEL_SECTIONS)


def test_the_contract_notices_an_interval_upside_down_and_episodes_beyond_the_trades(made_up: LabelReport) -> None:
    table = made_up.table.copy()
    low = (table["metric"] == "mean_roi_low") & (table["group"] == "all | mark")
    table.loc[low, "value"] = 9.0
    assert not report_schemas.LABEL_REPORT.validate(table).checks["intervals_hold"].passed
    table = made_up.table.assign(episodes=made_up.table["n"] + 1)
    assert not report_schemas.LABEL_REPORT.validate(table).checks["episodes_fit_trades"].passed


def test_every_section_has_a_small_picture_and_a_sentence_with_its_figures(made_up: LabelReport) -> None:
    assert len(made_up.plots) == 7
    for png in made_up.plots.values():
        image = Image.open(io.BytesIO(png))
        assert image.format == "PNG"
        assert image.width <= 700
        assert len(png) < 60_000
    assert json.loads(json.dumps(made_up.facts, allow_nan=False)) == made_up.facts
    sentences = [text for name, text in made_up.facts.items() if name.startswith("verdict_")]
    assert len(sentences) == 6
    assert all(any(letter.isdigit() for letter in text) for text in sentences)
    tent = wide(made_up.table, "tent", ("stratum",)).set_index("stratum").loc["all"]
    assert f"The tent says {100 * tent['measured_tent']:+.1f} %" in made_up.facts["verdict_tent"]
    assert f"{100 * tent['measured_excess']:.1f} points are manufactured" in made_up.facts["verdict_tent"]
    assert "an artefact of the proxy" in made_up.facts["verdict_proxy"]


def test_a_real_edge_is_not_called_an_artefact() -> None:
    report = label_report.build(*fair_trades(2000, edge=0.3), FLAT, COSTS)
    assert "100 % remain" in report.facts["verdict_proxy"]
    assert "to call the rest an artefact" in report.facts["verdict_proxy"]


def test_the_same_trades_in_another_order_give_the_same_bytes(made_up: LabelReport) -> None:
    analyses, labels, published = fair_trades(900, noise=0.25)
    mixed = (frame.sample(frac=1.0, random_state=3) for frame in (analyses, labels, published))
    again = label_report.build(*mixed, FLAT, COSTS)
    assert_same_bits(again.table, made_up.table)
    assert again.facts == made_up.facts
    assert again.plots == made_up.plots


def test_without_published_volatility_the_report_says_that_the_proxys_part_cannot_be_told() -> None:
    analyses, labels, _ = fair_trades(100)
    report = label_report.build(analyses, labels, NOTHING, FLAT, COSTS)
    assert "cannot be told" in report.facts["verdict_proxy"]
    assert "proxy" not in set(report.table["section"])
    assert len(report.plots) == 6


def test_without_any_label_the_report_is_empty_and_says_so() -> None:
    analyses, labels, published = fair_trades(30)
    report = label_report.build(analyses, labels.assign(missing_reason="after_data_end"), published, FLAT, COSTS)
    assert report.table.empty
    assert report_schemas.LABEL_REPORT.validate(report.table).reasons() == []
    assert report.plots == {}
    assert report.facts["missing_labels"] == {"after_data_end": len(labels)}
    assert "nothing to report" in report.facts["verdict"]


def test_eight_real_analyses_in_one_episode_give_a_report_without_intervals() -> None:
    analyses = analysed().analyses
    labels = label_trades(analyses, made_up_bars(), NO_VOLS, "2016-09-30", AnalysisConfig(), COSTS)
    report = label_report.build(analyses, labels, NOTHING, AnalysisConfig(), COSTS)
    assert report_schemas.LABEL_REPORT.validate(report.table).reasons() == []
    assert "one episode, so no interval" in report.facts["verdict_classes"]
    low = report.table["metric"].isin(["mean_roi_low", "roi_shift_low"])
    assert report.table.loc[low, "value"].isna().all()


@pytest.fixture(scope="module")
def real() -> LabelReport:
    """Ten stocks with published three-month volatility, one session a month of 2013-12 .. 2019-10."""
    published = published_three_months()
    days = sampling.strata(real_vix())
    days = days[days["session"].between(pd.Timestamp("2013-12-01"), pd.Timestamp("2019-10-31"))]
    days = days.groupby(days["session"].dt.to_period("M")).nth(9)
    tickers = pd.DataFrame({"ticker": pd.Series(sorted(published["ticker"].unique()), dtype="str")})
    samples = days.merge(tickers, how="cross").sort_values(["session", "ticker"]).reset_index(drop=True)
    bars, config = real_bars(), AnalysisConfig(iv_level="realised")
    analyses = analyse(samples, bars[bars["ticker"].isin(tickers["ticker"])], NO_VOLS, config, COSTS).analyses
    labels = label_trades(analyses, bars, NO_VOLS, "2022-12-30", config, COSTS)
    return label_report.build(analyses, labels, published, config, COSTS)


@pytest.mark.slow
def test_on_real_stocks_the_proxys_edge_vanishes_under_published_volatility(real: LabelReport) -> None:
    # REFERENCE section 1: from -15 to +14 % by quintile under the proxy, -6 to -2 % under published volatility
    assert report_schemas.LABEL_REPORT.validate(real.table).reasons() == []
    assert real.facts["labelled_trades"] > 680
    found = wide(real.table, "proxy", ("kind", "part")).set_index(["kind", "part"])["mean_roi_mark"]
    assert found["proxy", "Q5 - Q1"] > 0.15
    assert abs(found["published", "Q5 - Q1"]) < 0.15
    assert found["proxy less published", "Q5 - Q1"] > 0.15
    assert found["published", "Q5 - Q1"] < 0.5 * found["proxy", "Q5 - Q1"]


@pytest.mark.slow
def test_on_real_stocks_the_tent_manufactures_what_it_does_on_a_fair_market(real: LabelReport) -> None:
    row = wide(real.table, "tent", ("stratum",)).set_index("stratum").loc["all"]
    assert 0.3 < row["measured_excess"] < 0.6
    assert 0.3 < row["no_edge_tent"] < 0.6
    assert 0.0 < row["no_edge_mark"] < 0.01


@pytest.mark.slow
def test_on_real_stocks_the_documents_width_follows_the_nominal_price(real: LabelReport) -> None:
    found = wide(real.table, "wing_rule", ("rule", "bucket")).set_index(["rule", "bucket"])["width_over_spot"]
    assert found["document", "000 .. 025"] > 3 * found["document", "100 .. 200"]
    ours = found["ours"].drop("all")
    assert ours.max() < 3 * ours.min()
    assert np.isfinite(ours).all()
