"""The report of a trained model: one HTML file that says first what was found, and then what it rests on.

What belongs here: what a report is made of, and its rendering. What does not: computing any figure in it, what its
sections say (`report_sections`). Equal figures give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import pandas as pd

from butterquant_assets.foundation.errors import DataError
from butterquant_assets.learning import report_html as html
from butterquant_assets.learning.report_sections import SECTIONS

_COLUMNS: dict[str, tuple[str, ...]] = {
    "scores": ("predictor", "metric", "value", "low", "high"),
    "folds": (
        *("boundary", "train_rows", "episodes", "test_rows"),
        *("model", "geometry", "difference", "low", "high"),
    ),
    "weights": ("boundary", "member", "weight"),
    "decisions": ("rule", "threshold", "rows", "episodes", "mean_roi_net", "low", "high"),
    "expected_roi": ("expected", "realised", "low", "high", "rows"),
    "importance": ("feature", "increase", "low", "high"),
    "splits": ("part", "rows", "episodes", "first", "last"),
    "study": ("number", "state", "value"),
}


@dataclass(frozen=True, eq=False)
class CalibrationFindings:
    """How well probabilities mean what they say.

    Parameters
    ----------
    method
        the method chosen
    reason
        why, in a sentence
    methods
        columns ``method``, ``log_loss`` (nats, out of fold), ``ece`` (fraction), ``chosen`` (bool), and if
        known ``gain`` over no calibration and its ``standard_error`` (nats), as
        `calibration.ChosenCalibrator.table` has them; NaN where nothing could be compared
    reliability
        from `reliability.reliability_table`, of calibrated out-of-fold probabilities
    ece, ece_limit
        the calibration error, and the 95th percentile it would have under perfect calibration (fractions)
    brier
        from `reliability.brier_decomposition`, or None
    """

    method: str
    reason: str
    methods: pd.DataFrame
    reliability: pd.DataFrame
    ece: float
    ece_limit: float
    brier: Mapping[str, float] | None = None


@dataclass(frozen=True, eq=False)
class ModelReport:
    """All a report shows, as plain values. A section whose data are None, or empty, is left out.

    Parameters
    ----------
    title, purpose
        what the model is, and what it predicts for whom
    verdict
        what was found, in sentences; stands first
    class_names
        of the predicted classes, in order
    scores
        columns ``predictor``, ``metric``, ``value``, ``low``, ``high``, of the metrics log_loss, brier, accuracy,
        macro_f1, ece (others are ignored); intervals over episodes, NaN where there is none. Predictors in the order
        to show
    scored_on
        which rows that was, for instance ``2,310 out-of-fold rows of 14 episodes``
    model
        name of the model among the predictors
    version
        of the model
    folds
        one row a fold: ``boundary``, ``train_rows``, ``episodes`` (of the test rows), ``test_rows``, ``model`` and
        ``geometry`` (log-loss), ``difference`` (geometry minus model) with ``low``, ``high``
    weights
        ``boundary``, ``member``, ``weight``
    calibration
        see `CalibrationFindings`
    confusion
        counts, true class by row, shape (k, k)
    decisions
        ``rule``, ``threshold`` (NaN: none), ``rows``, ``episodes``, ``mean_roi_net`` with ``low``, ``high`` (fractions
        of the debit, after costs)
    expected_roi
        ``expected``, ``realised``, ``low``, ``high``, ``rows`` by bin of the expected return
    importance
        ``feature``, ``increase``, ``low``, ``high`` (nats), on held-out rows
    study
        table of trials of the hyper-parameter study (`tuning.StudyResult.table`)
    study_logarithmic
        its parameters searched on a logarithmic scale
    splits
        ``part``, ``rows``, ``episodes``, ``first``, ``last`` (dates)
    data
        what the model learnt from, by name: versions, sources, counts
    configuration, seeds
        by name; mappings may be nested
    limits
        what the model must not be used for, and what is not known
    """

    title: str
    purpose: str
    verdict: Sequence[str]
    class_names: Sequence[str]
    scores: pd.DataFrame
    scored_on: str
    model: str = "model"
    version: str | None = None
    folds: pd.DataFrame | None = None
    weights: pd.DataFrame | None = None
    calibration: CalibrationFindings | None = None
    confusion: npt.ArrayLike | None = None
    decisions: pd.DataFrame | None = None
    expected_roi: pd.DataFrame | None = None
    importance: pd.DataFrame | None = None
    study: pd.DataFrame | None = None
    study_logarithmic: Sequence[str] = ()
    splits: pd.DataFrame | None = None
    data: Mapping[str, Any] | None = None
    configuration: Mapping[str, Any] | None = None
    seeds: Mapping[str, int] | None = None
    limits: Sequence[str] = field(default_factory=tuple)


def render_report(report: ModelReport) -> bytes:
    """The report as one HTML file: pictures inside, no script, nothing fetched.

    Parameters
    ----------
    report
        what to show

    Returns
    -------
    UTF-8, the same bytes for the same figures; all text is escaped

    Raises
    ------
    DataError
        if a table lacks a column, the model is not among the predictors, there is no verdict, or the page would take
        more than 2 MB.
    """
    _check(report)
    sections = [(name, content) for name, section in SECTIONS if (content := section(report))]
    lead = '<div class="verdict" role="note" aria-label="Verdict">'
    lead += "".join(html.paragraph(sentence) for sentence in report.verdict) + "</div>"
    lead += html.paragraph(report.purpose, "lead")
    if report.version:
        lead += html.paragraph(f"Version {report.version}", "lead")
    return html.page(report.title, lead, sections)


def _check(report: ModelReport) -> None:
    for name, columns in _COLUMNS.items():
        table = getattr(report, name)
        lacking = [] if table is None else [column for column in columns if column not in table.columns]
        if lacking:
            raise DataError(f"the table {name} of the report lacks {', '.join(lacking)}; it needs {', '.join(columns)}")
    if report.model not in set(report.scores["predictor"]):
        raise DataError(f"{report.model!r} is not among the predictors of the scores; name the model's row")
    if report.scores.duplicated(["predictor", "metric"]).any():
        raise DataError("a predictor has two values of one metric; give the scores of one part only")
    if not any(sentence.strip() for sentence in report.verdict):
        raise DataError("the report has no verdict; say first what was found, even if it is nothing")
