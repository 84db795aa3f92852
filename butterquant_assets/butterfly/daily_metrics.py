"""Rows of the warehouse's table daily_metrics: the as-of analysis of a session, and what the model makes of it. Pure.

What belongs here: which column of the source document's table is which figure of ours, and the contract of the receipt.
What does not: analysing (`analysis`), deciding (`decisions`), writing (`metrics_assets`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from butterquant_assets.butterfly.evaluation import expected_roi
from butterquant_assets.butterfly.replay import TimedModel, era, predict_at_the_time
from butterquant_assets.butterfly.schemas import sessions_rule
from butterquant_assets.foundation.contracts import Contract, Rule

Floats = npt.NDArray[np.float64]

KEYS = ["session", "ticker"]
RENAMED = {"time": "session", "current_price": "spot", "predicted_price": "forecast_price"}
# fmt: off
COLUMNS = [
    "time", "ticker", "current_price", "trend_direction", "trend_slope", "dominant_period", "predicted_price",
    "prediction_lower", "prediction_upper", "price_stability", "predicted_vol", "current_iv", "vol_mispricing",
    "iv_percentile", "delta", "gamma", "vega", "theta", "butterfly_type", "max_profit", "max_loss", "profit_ratio",
    "prob_profit", "total_score", "recommendation", "ml_success_prob", "expected_roi", "model_version",
]
# fmt: on
"""Columns of the table, in its order (the source document's)."""
SUCCESSES = slice(2, 4)
"""Classes that count as success: good and excellent, a ROI of 5 % and more."""

DAILY_METRICS = Contract(
    "butterfly/daily_metrics",
    pa.DataFrameSchema(
        {
            "session": pa.Column("datetime64[us]", description="session"),
            "rows": pa.Column("int64", pa.Check.ge(1), description="tickers written for the session"),
            "scored": pa.Column("int64", pa.Check.ge(0), description="of these, with a probability of the model"),
            "model_version": pa.Column("str", description="model of that time; empty before the first one"),
        },
        strict=True,
        ordered=True,
    ),
    ("session",),
    rules=(
        Rule("scored_within_rows", "no more rows scored than written", lambda f: f["scored"] <= f["rows"]),
        Rule(
            "scored_by_a_model",
            "rows are scored exactly where a model is named",
            lambda f: (f["scored"] > 0) == (f["model_version"] != ""),
        ),
        sessions_rule("session"),
    ),
)
"""What was written to the warehouse's table daily_metrics."""


def metric_rows(scan: pd.DataFrame, features: pd.DataFrame, models: Sequence[TimedModel]) -> pd.DataFrame:
    """Rows of daily_metrics.

    Parameters
    ----------
    scan
        columns of `schemas.ANALYSES`
    features
        session, ticker and the 23 features of the same rows
    models
        of one version, in time order; each session is judged by the newest of its time, so no model sees its own
        future

    Returns
    -------
    DataFrame
        `COLUMNS`, sorted by (time, ticker), one row per row of the scan. ``ml_success_prob`` is the probability of the
        classes good and excellent (a ROI of 5 % and more), ``expected_roi`` the sum of p x the mean roi_net of each
        class on training folds (a ratio), ``model_version`` the model of that time; before the first model, and where
        it gives no probability, all three are missing. Prices are USD as quoted, vega is per volatility point, theta
        per calendar day.

    Notes
    -----
    The forecast's band is stored as its width (``band_pct``), from the lowest lower to the highest upper bound of the
    30 steps. ``prediction_lower`` and ``prediction_upper`` lay that width evenly around the mean forecast.
    """
    rows = scan.sort_values(KEYS, kind="stable").reset_index(drop=True)
    probabilities = predict_at_the_time(models, rows[KEYS].merge(features, on=KEYS, how="left", validate="one_to_one"))
    eras = era(models, rows["session"].to_numpy().astype("datetime64[D]"))
    judged: npt.NDArray[np.bool_] = np.asarray(np.isfinite(probabilities).all(axis=1))
    half = rows["forecast_price"] * rows["band_pct"] / 200.0
    made = rows.assign(
        **{name: rows[source] for name, source in RENAMED.items()},
        prediction_lower=rows["forecast_price"] - half,
        prediction_upper=rows["forecast_price"] + half,
        ml_success_prob=np.where(judged, probabilities[:, SUCCESSES].sum(axis=1), np.nan),
        expected_roi=_expected(probabilities, eras, models, judged),
        model_version=_labels(eras, models, judged),
    )
    return made[COLUMNS]


def receipts(rows: pd.DataFrame) -> pd.DataFrame:
    """How many rows of daily_metrics were written for each session, and by which model they were scored."""
    by_session = rows.groupby("time", sort=True)
    table = pd.DataFrame(
        {
            "rows": by_session.size(),
            "scored": by_session["ml_success_prob"].count(),
            "model_version": by_session["model_version"].first().fillna(""),
        }
    )
    table = table.rename_axis("session").reset_index()
    return table.astype({"session": "datetime64[us]", "rows": "int64", "scored": "int64", "model_version": "str"})


def _expected(
    probabilities: Floats, eras: npt.NDArray[np.int64], models: Sequence[TimedModel], judged: npt.NDArray[np.bool_]
) -> Floats:
    found = np.full(len(probabilities), np.nan)
    for number in np.unique(eras[judged]):
        inside = judged & (eras == number)
        found[inside] = expected_roi(probabilities[inside], models[number].class_values)
    return found


def _labels(eras: npt.NDArray[np.int64], models: Sequence[TimedModel], judged: npt.NDArray[np.bool_]) -> pd.Series:
    names = [models[number].label if ok else None for number, ok in zip(eras, judged, strict=True)]
    return pd.Series(names, dtype="str")
