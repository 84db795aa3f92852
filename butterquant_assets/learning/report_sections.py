"""What each section of a model report says, in the order of reading.

What belongs here: sections as HTML, empty where their data are absent. What does not: what a report is made of
(`report`), HTML itself (`report_html`), drawing (`foundation.model_plots`), computing any figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from butterquant_assets.foundation import model_plots, plots, study_plots
from butterquant_assets.learning import report_html as html
from butterquant_assets.learning.report_html import Column, Row

if TYPE_CHECKING:
    from butterquant_assets.learning.report import ModelReport

# Metric, heading, unit and direction, number form; the order of the key figures.
KEY_FIGURES: tuple[tuple[str, str, str, html.Form], ...] = (
    ("log_loss", "Log-loss", "nats, lower is better", "nats"),
    ("brier", "Brier", "0 .. 2, lower is better", "score"),
    ("accuracy", "Accuracy", "higher is better", "percent"),
    ("macro_f1", "Macro F1", "higher is better", "percent"),
    ("ece", "ECE", "lower is better", "percent"),
)
SHOWN_TRIALS = 10


def _key_figures(report: ModelReport) -> str:
    shown = [figure for figure in KEY_FIGURES if (report.scores["metric"] == figure[0]).any()]
    predictors = list(dict.fromkeys(report.scores["predictor"]))
    table = report.scores.set_index(["predictor", "metric"])[["value", "low", "high"]]
    rows: list[Row] = []
    for predictor in predictors:
        row: Row = [_words(predictor)]
        for metric, _, _, form in shown:
            known = (predictor, metric) in table.index
            row.append(_estimate(table.loc[(predictor, metric)], form) if known else html.MISSING)
        rows.append(row)
    columns = [Column("Predictor", numeric=False)] + [Column(heading, unit) for _, heading, unit, _ in shown]
    caption = f"On {report.scored_on}. Beneath each figure: 95 % interval over whole episodes."
    return html.table(caption, columns, rows, marked=[predictors.index(report.model)])


def _folds(report: ModelReport) -> str:
    folds = report.folds
    if folds is None or folds.empty:
        return ""
    rows: list[Row] = [
        [
            _month(row["boundary"]),
            html.number(row["train_rows"], "count"),
            html.number(row["test_rows"], "count"),
            html.number(row["episodes"], "count"),
            html.number(row["model"], "nats"),
            html.number(row["geometry"], "nats"),
            html.estimate(row["difference"], row["low"], row["high"], "gain"),
        ]
        for row in folds.to_dict("records")
    ]
    columns = [
        Column("Test rows from", numeric=False),
        Column("Training rows"),
        Column("Test rows"),
        Column("Episodes", "in the test rows"),
        Column("Model", "log-loss, nats"),
        Column("Geometry", "log-loss, nats"),
        Column("Gain", "nats, > 0: model better"),
    ]
    caption = "Walk-forward folds: each model was trained on rows whose trades had ended before its test rows began."
    picture = html.figure(
        model_plots.fold_losses(folds),
        f"Log-loss of the model and of the geometry baseline in {len(folds)} folds, and their difference; as tabled.",
    )
    return html.table(caption, columns, rows) + picture


def _ensemble(report: ModelReport) -> str:
    weights = report.weights
    if weights is None or weights.empty:
        return ""
    members = list(dict.fromkeys(weights["member"]))
    table = weights.pivot_table(index="boundary", columns="member", values="weight", aggfunc="sum", sort=False)
    rows: list[Row] = [
        [_month(boundary), *(html.number(row[name], "percent") for name in members)]
        for boundary, row in table.iterrows()
    ]
    caption = "Weight of each member by vintage, learnt on out-of-fold predictions of earlier folds."
    columns = [Column("Vintage from", numeric=False)] + [Column(name) for name in members]
    picture = html.figure(model_plots.ensemble_weights(weights), "Stacked ensemble weights by vintage; as tabled.")
    return html.table(caption, columns, rows) + picture


def _calibration(report: ModelReport) -> str:
    found = report.calibration
    if found is None:
        return ""
    passes = found.ece <= found.ece_limit
    sentence = (
        f"Calibration error (ECE) {html.number(found.ece, 'percent')}; perfectly calibrated probabilities would stay "
        f"below {html.number(found.ece_limit, 'percent')} in 95 of 100 samples of these rows, so miscalibration is "
        f"{'not shown' if passes else 'shown'}."
    )
    methods = found.methods
    rows: list[Row] = [
        [
            _words(row["method"]),
            html.number(row["log_loss"], "nats"),
            html.number(row.get("gain"), "gain"),
            html.number(row.get("standard_error"), "nats"),
            html.number(row["ece"], "percent"),
        ]
        for row in methods.to_dict("records")
    ]
    columns = [
        Column("Method", numeric=False),
        Column("Log-loss", "nats, out of fold"),
        Column("Gain", "nats, over none"),
    ]
    columns += [Column("Standard error", "of the gain, over episodes"), Column("ECE", "out of fold")]
    chosen = [place for place, yes in enumerate(methods["chosen"]) if yes]
    parts = [
        html.paragraph(f"Method: {_words(found.method)}. {found.reason}".strip()),
        html.paragraph(sentence),
        html.table("Methods compared out of fold; the chosen one is marked.", columns, rows, marked=chosen),
        _methods_plot(methods),
        "<h3>Reliability by class</h3>",
        html.figure(
            model_plots.class_reliability(found.reliability, report.class_names),
            "Observed frequency against stated probability for each class, with the rows of each bin; as tabled below.",
        ),
        html.details("The bins as a table", _reliability_table(found.reliability, report.class_names)),
    ]
    return "".join(parts) + (_brier(found.brier) if found.brier else "")


def _methods_plot(methods: pd.DataFrame) -> str:
    if methods["log_loss"].isna().all():  # too few rows to compare anything
        return ""
    return html.figure(model_plots.calibration_methods(methods), "Log-loss and ECE of each method; as tabled.")


def _reliability_table(table: pd.DataFrame, class_names: Sequence[str]) -> str:
    rows: list[Row] = [
        [
            class_names[int(row["class"])],
            f"{row['lower']:.2f} .. {row['upper']:.2f}",
            html.number(row["count"], "count"),
            html.number(row["mean_predicted"], "percent"),
            html.number(row["observed"], "percent"),
        ]
        for row in table[table["count"] > 0].to_dict("records")
    ]
    columns = [Column("Class", numeric=False), Column("Bin", "stated probability"), Column("Rows")]
    columns += [Column("Stated", "mean"), Column("Observed", "frequency")]
    return html.table("Reliability of out-of-fold probabilities by class and bin.", columns, rows)


def _brier(parts: Mapping[str, float]) -> str:
    meaning = {
        "brier": "the score itself, summed over classes, 0 .. 2",
        "reliability": "what miscalibration costs; 0 is best",
        "resolution": "what telling rows apart gains; subtracted",
        "uncertainty": "what base rates alone would cost",
        "within_bin": "what binning hides",
    }
    columns = [Column("Part", numeric=False), Column("Value"), Column("Meaning", numeric=False)]
    rows: list[Row] = [
        [_words(name), html.number(value, "score"), meaning.get(name, "")] for name, value in parts.items()
    ]
    caption = "Brier score = reliability - resolution + uncertainty (Murphy 1973) + the part within bins."
    return html.table(caption, columns, rows)


def _confusion(report: ModelReport) -> str:
    if report.confusion is None:
        return ""
    counts, names = np.asarray(report.confusion, dtype=np.int64), list(report.class_names)
    rows: list[Row] = [
        [name, *(html.number(count, "count") for count in row), html.number(row.sum(), "count")]
        for name, row in zip(names, counts, strict=True)
    ]
    columns = [Column("True class", numeric=False), *(Column(name, "predicted") for name in names), Column("All")]
    picture = html.figure(plots.confusion_matrix(counts, names), "Confusion matrix; as tabled.")
    return html.table(f"Rows by true and predicted class, on {report.scored_on}.", columns, rows) + picture


def _decisions(report: ModelReport) -> str:
    content = ""
    if report.decisions is not None and not report.decisions.empty:
        rows: list[Row] = [
            [
                _words(row["rule"]),
                "none" if pd.isna(row["threshold"]) else html.number(row["threshold"], "percent"),
                html.number(row["rows"], "count"),
                html.number(row["episodes"], "count"),
                html.estimate(row["mean_roi_net"], row["low"], row["high"], "signed_percent"),
            ]
            for row in report.decisions.to_dict("records")
        ]
        columns = [
            Column("Rule", numeric=False),
            Column("Threshold", "expected ROI"),
            Column("Trades"),
            Column("Episodes"),
        ]
        columns.append(Column("Mean ROI", "of the debit, after costs"))
        content += html.table("What each rule would have earned; interval 95 % over whole episodes.", columns, rows)
    if report.expected_roi is not None and not report.expected_roi.empty:
        content += html.figure(
            model_plots.expected_roi(report.expected_roi),
            f"Realised against expected return in {len(report.expected_roi)} bins of the expected return.",
            "Where the points lie below the dashed line, the model promised more than the trades gave.",
        )
    return content


def _importance(report: ModelReport) -> str:
    if report.importance is None or report.importance.empty:
        return ""
    ranked = report.importance.sort_values(["increase", "feature"], ascending=[False, True])
    rows: list[Row] = [
        [row["feature"], html.estimate(row["increase"], row["low"], row["high"], "gain")]
        for row in ranked.to_dict("records")
    ]
    columns = [Column("Feature", numeric=False), Column("Increase of the log-loss", "nats")]
    picture = html.figure(
        model_plots.importance(ranked),
        f"Increase of the held-out log-loss by permuted feature; largest: {ranked['feature'].iloc[0]}.",
        "A feature whose interval reaches 0 has not been shown to matter; those that move together share it.",
    )
    return picture + html.details("The figures as a table", html.table("Permutation importance.", columns, rows))


def _study(report: ModelReport) -> str:
    study = report.study
    if study is None or study.empty:
        return ""
    fixed = ("number", "state", "value", "steps", "reason")
    names = [str(name) for name in study.columns if name not in fixed]
    counts = study["state"].value_counts()
    states = ", ".join(f"{counts.get(state, 0)} {state}" for state in ("complete", "pruned", "failed"))
    best = study[study["state"] == "complete"].sort_values(["value", "number"]).head(SHOWN_TRIALS)
    rows: list[Row] = [
        [str(row["number"]), html.number(row["value"], "nats"), *(_parameter(row[name]) for name in names)]
        for row in best.to_dict("records")
    ]
    columns = [Column("Trial", numeric=False), Column("Value", "nats"), *(Column(name) for name in names)]
    content = html.paragraph(f"{len(study)} trials: {states}.")
    content += html.figure(study_plots.study_history(study), "Value of each trial in order, and the best so far.")
    if names:
        drawn = names[: study_plots.MOST_PARAMETERS]
        content += html.figure(
            study_plots.study_slices(study, drawn, report.study_logarithmic), "Value against each parameter."
        )
    return content + html.table(f"The best {len(best)} complete trials.", columns, rows, marked=[0])


def _data(report: ModelReport) -> str:
    content = ""
    if report.splits is not None and not report.splits.empty:
        rows: list[Row] = [
            [
                _words(row["part"]),
                html.number(row["rows"], "count"),
                html.number(row["episodes"], "count"),
                _day(row["first"]),
                _day(row["last"]),
            ]
            for row in report.splits.to_dict("records")
        ]
        columns = [
            Column("Part", numeric=False),
            Column("Rows"),
            Column("Episodes"),
            Column("First entry"),
            Column("Last entry"),
        ]
        content += html.table(
            "Rows by part. Rows of one episode share a market; episodes count as evidence.", columns, rows
        )
    return content + (html.facts("Where the data came from.", report.data) if report.data else "")


def _configuration(report: ModelReport) -> str:
    content = html.facts("Settings of this training.", report.configuration) if report.configuration else ""
    return content + (html.facts("Seeds of all random draws.", report.seeds) if report.seeds else "")


def _limits(report: ModelReport) -> str:
    return html.bullets(report.limits) if report.limits else ""


SECTIONS: tuple[tuple[str, Callable[[ModelReport], str]], ...] = (
    ("Key figures", _key_figures),
    ("Fold by fold", _folds),
    ("Decisions", _decisions),
    ("Calibration", _calibration),
    ("Confusion matrix", _confusion),
    ("Importance of features", _importance),
    ("Ensemble", _ensemble),
    ("Hyper-parameters", _study),
    ("Data and splits", _data),
    ("Configuration and seeds", _configuration),
    ("Limits", _limits),
)


def _words(name: Any) -> str:
    return str(name).replace("_", " ")


def _month(value: Any) -> str:
    return value.strftime("%Y-%m") if hasattr(value, "strftime") else str(value)


def _day(value: Any) -> str:
    return value.strftime("%Y-%m-%d") if hasattr(value, "strftime") else str(value)


def _parameter(value: Any) -> str:
    return value if isinstance(value, str) else html.number(value)


def _estimate(found: pd.Series, form: html.Form) -> html.Cell:
    return html.estimate(found["value"], found["low"], found["high"], form)
