"""The success model's report: it begins with the verdict, shows the tables' figures, and is the same each time."""

from __future__ import annotations

import html
import re
from functools import lru_cache

import numpy as np
import pytest

from butterquant_assets.butterfly import evaluation, success_report
from butterquant_assets.butterfly.features import FEATURES
from butterquant_assets.butterfly.success_report import Findings, look
from butterquant_assets.learning import metrics
from butterquant_assets.learning.report import ModelReport
from butterquant_tests.butterfly.market_cases import QUICK, edge_model, edge_walk, tables


@lru_cache
def findings() -> Findings:
    """What training hands to the report, put together once more from its published results."""
    walk, given, model = edge_walk(), tables(edge=True), edge_model()
    folds = [vintage.fold for vintage in walk.vintages[:-1]]
    rows, options = given.training_set, {"label": QUICK.label}
    predictions = walk.predictions | evaluation.baseline_predictions(
        rows, given.analyses, folds, features=FEATURES, **options
    )
    gates = {
        name: evaluation.decide_walk(predictions[name], rows, folds, seed=QUICK.seed, **options)
        for name in ("model", "geometry", "total_score_rule")
    }
    table = evaluation.evaluate_walk(predictions, gates, rows, folds, seed=QUICK.seed, **options)
    verdict = evaluation.verdict(predictions, rows, walk.tested, seed=QUICK.seed, vols_are_proxy=True, **options)
    y = rows.loc[walk.tested, QUICK.label].to_numpy().astype(int)
    matrix = metrics.confusion_matrix(predictions["model"][walk.tested].argmax(axis=1), y)
    return Findings(
        walk, folds, predictions, gates, table, verdict, matrix, rows, QUICK, model.training, evaluation.CLASS_NAMES
    )


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> ModelReport:
    """The report's tables, without pictures."""
    seen: list[ModelReport] = []

    def render(report: ModelReport) -> bytes:
        seen.append(report)
        return b""

    class NoPlots:
        def __getattr__(self, name: str) -> object:
            return lambda *_: b""

    monkeypatch.setattr(success_report, "render_report", render)
    monkeypatch.setattr(success_report, "model_plots", NoPlots())
    monkeypatch.setattr(success_report, "shared_plots", NoPlots())
    look(findings())
    return seen[0]


def text() -> str:
    """The page as a reader sees it, without tags."""
    page = edge_model().files["report.html"].decode()
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<body", 1)[1])))


def test_the_report_is_the_same_for_the_same_findings() -> None:
    again = look(findings())
    assert again.html == edge_model().files["report.html"]
    assert again.plots == edge_model().plots
    assert again.guarantee == edge_model().facts["calibration_guarantee"]


def test_the_report_begins_with_the_verdict() -> None:
    page, sentence = text(), edge_model().facts["verdict"]
    assert sentence in page
    before = page[: page.index(sentence)]
    assert "nats" not in before  # no figure stands before it
    assert "calibration error out of sample is" in page[page.index(sentence) :]


def test_the_report_contains_the_figures_of_the_tables() -> None:
    page, model = text(), edge_model()
    pooled = model.evaluation[model.evaluation["part"] == "walk_forward"].set_index(["predictor", "metric"])["value"]
    for predictor in ("model", "geometry", "class_prior"):
        assert f"{pooled[predictor, 'log_loss']:.4f}" in page
    for vintage in edge_walk().vintages[:-1]:
        assert vintage.name in page
    for name in ("data_versions", "seeds"):
        for key in model.training[name]:
            assert key in page
    for limit in model.training["limits"]:
        assert limit.replace("`", "") in page.replace("`", "")


def test_every_plot_is_a_picture() -> None:
    plots = edge_model().plots
    assert {"confusion matrix", "log-loss by vintage", "ensemble weights", "reliability", "importance"} <= set(plots)
    assert all(content.startswith(b"\x89PNG") for content in plots.values())


def test_the_folds_of_the_report_are_plain_means_that_sum_to_the_verdict(shown: ModelReport) -> None:
    found, given = findings(), tables(edge=True).training_set
    assert shown.folds is not None
    y = given[QUICK.label].to_numpy().astype(int)
    for fold, row in zip(found.folds, shown.folds.to_dict("records"), strict=True):
        losses = {
            name: -np.log(found.predictions[name][fold.test][np.arange(fold.test.sum()), y[fold.test]]).mean()
            for name in ("model", "geometry")
        }
        assert row["model"] == pytest.approx(losses["model"])
        assert row["difference"] == pytest.approx(losses["geometry"] - losses["model"])
        assert row["low"] < row["difference"] < row["high"]
        assert row["episodes"] == given.loc[fold.test, "episode"].nunique()
        assert (row["train_rows"], row["test_rows"]) == (fold.train.sum(), fold.test.sum())
    weighed = (shown.folds["difference"] * shown.folds["test_rows"]).sum() / shown.folds["test_rows"].sum()
    assert weighed == pytest.approx(found.verdict.gain)


def test_the_decisions_of_the_report_are_the_evaluations(shown: ModelReport) -> None:
    found, given = findings(), tables(edge=True).training_set
    assert shown.decisions is not None
    rules = shown.decisions.set_index("rule")
    assert len(rules) == 3 * 3 + 1
    for predictor, gates in found.gates.items():
        for gate, mask in gates.taken.items():
            row = rules.loc[f"{predictor}: {success_report.GATE_NAMES[gate]}"]
            assert row["rows"] == mask.sum()
            assert row["episodes"] == given.loc[mask, "episode"].nunique()
            assert row["mean_roi_net"] == pytest.approx(given.loc[mask, "roi_net"].mean(), nan_ok=True)
    assert rules.loc["every trade", "rows"] == found.walk.tested.sum()
    assert rules.loc["every trade", "low"] < rules.loc["every trade", "mean_roi_net"] < rules.loc["every trade", "high"]


def test_quintiles_of_the_expected_return_hold_every_tested_row_once(shown: ModelReport) -> None:
    found, given = findings(), tables(edge=True).training_set
    table, tested = shown.expected_roi, found.walk.tested
    assert table is not None
    assert len(table) == 5
    assert table["rows"].sum() == tested.sum()
    assert table["rows"].max() - table["rows"].min() <= 1
    assert table["expected"].is_monotonic_increasing
    whole = (table["realised"] * table["rows"]).sum() / table["rows"].sum()
    assert whole == pytest.approx(given.loc[tested, "roi_net"].mean())


def test_the_feature_that_carries_the_edge_is_the_most_important(shown: ModelReport) -> None:
    assert shown.importance is not None
    table = shown.importance.sort_values("increase", ascending=False)
    assert set(table["feature"]) == set(FEATURES)
    assert table["feature"].iloc[0] == "vol_mispricing"
    assert table["low"].iloc[0] > 0


def test_splits_show_each_vintages_rows_and_dates(shown: ModelReport) -> None:
    assert shown.splits is not None
    splits = shown.splits.set_index("part")
    walk, given = findings().walk, tables(edge=True).training_set
    assert len(splits) == 2 * len(walk.vintages) - 1  # the final vintage has met nothing
    for vintage in walk.vintages[:-1]:
        row = splits.loc[f"{vintage.name} test"]
        sessions = given.loc[vintage.fold.test, "session"]
        assert row["rows"] == vintage.fold.test.sum()
        assert (row["first"], row["last"]) == (str(sessions.min().date()), str(sessions.max().date()))


def test_the_calibration_sentence_says_within_or_above_for_each_limit() -> None:
    found = {"ece": 0.031, "ece_limit": 0.030, "ece_limit_over_episodes": 0.040}
    sentence = success_report._calibration_sentence(found)
    assert "0.031" in sentence
    assert "above the 0.030" in sentence
    assert "within the 0.040" in sentence


def test_calibration_of_the_report_is_that_of_the_tested_rows(shown: ModelReport) -> None:
    found, given = findings(), tables(edge=True).training_set
    tested = found.walk.tested
    y = given.loc[tested, QUICK.label].to_numpy().astype(int)
    assert shown.calibration is not None
    assert shown.calibration.ece == pytest.approx(
        metrics.expected_calibration_error(found.predictions["model"][tested], y)
    )
    assert shown.calibration.method == found.walk.final.ensemble.calibrator.method
    counts = shown.calibration.reliability.groupby("class")["count"].sum()
    assert counts.tolist() == [tested.sum()] * 4
